"""One bot's calls through aiogram, each marked as safe to repeat or not."""

import logging
from contextlib import aclosing
from typing import TypeVar
from urllib.parse import quote

import httpx2

from roost_channels.clock import Clock, SystemClock, steady_of
from roost_channels.errors import TOO_LARGE, Ambiguous, DeliveryError, NotSent, Rejected
from roost_channels.telegram.bot_api import Bot, methods
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.session import CALL_TIMEOUT_S, TelegramSession

logger = logging.getLogger(__name__)

IDENTIFY_TIMEOUT_S = 5
# How long after a failure the bot's name is asked for again; groups need it.
IDENTIFY_AGAIN_S = 3.0
Result = TypeVar("Result")


class TelegramClient:
    """One bot at one Bot API server; every failure is a DeliveryError.

    transport: for simulations, which have no network.
    """

    def __init__(
        self,
        config: TelegramConfig,
        clock: Clock | None = None,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        if config.token is None:
            raise ValueError("telegram.token is not set")
        session = TelegramSession(config.api_base, transport=transport)
        self._bot = Bot(config.token.get_secret_value(), session=session)
        self._clock = clock or SystemClock()
        # By a clock that nobody sets: while the name is unknown, groups can't speak to the bot.
        self._steady = steady_of(self._clock)
        self._username = ""
        self._identify_at = float("-inf")

    async def call(
        self,
        method: methods.TelegramMethod[Result],
        *,
        repeatable: bool = False,
        timeout_s: int = CALL_TIMEOUT_S,
    ) -> Result:
        """Call a method and return its result.

        A result that aiogram's types refuse comes unchecked: its fields may be missing or have
        other types. repeatable: a second call changes nothing, so an unknown outcome counts as not
        sent.
        """
        try:
            return await self._bot(method, request_timeout=timeout_s)
        except Ambiguous as error:
            if repeatable:
                raise _not_sent(error) from error
            raise

    async def download(self, file_id: str, bytes_max: int) -> bytes:
        """The bytes of a file that somebody sent us."""
        file = await self.call(methods.GetFile(file_id=file_id), repeatable=True)
        path = _file_path(getattr(file, "file_path", None))
        session = self._bot.session
        data = bytearray()
        try:
            url = session.api.file_url(self._bot.token, path)
            async with aclosing(session.stream_content(url)) as chunks:
                async for chunk in chunks:
                    data += chunk
                    if len(data) > bytes_max:
                        raise Rejected(f"the file has more than {bytes_max} bytes", code=TOO_LARGE)
        except Ambiguous as error:
            raise _not_sent(error) from error
        return bytes(data)

    async def username(self) -> str:
        """The bot's name, asked once; empty while it can't be had."""
        if not self._username and self._steady() >= self._identify_at:
            try:
                me = await self.call(methods.GetMe(), repeatable=True, timeout_s=IDENTIFY_TIMEOUT_S)
                self._username = str(getattr(me, "username", None) or "")
            except DeliveryError as error:
                self._identify_at = self._steady() + IDENTIFY_AGAIN_S
                logger.warning("the bot's name is unknown for now: %s", error)
        return self._username

    async def close(self) -> None:
        """Close the connections."""
        await self._bot.session.close()


def _file_path(path: object) -> str:
    """The path of a file as it stands in a URL; Rejected for one that leads elsewhere."""
    if not isinstance(path, str) or not path:
        raise Rejected("the file has no path")
    segments = path.split("/")
    if not all(segments) or "\\" in path or {".", ".."} & set(segments):
        raise Rejected("the file's path leads out of the bot's files", code="path")
    return quote(path, safe="/")


def _not_sent(error: Ambiguous) -> NotSent:
    return NotSent(error.description, code=error.code, http_status=error.http_status)
