"""aiogram's Bot as a typed client: requests built by its methods, answers kept as raw JSON."""

import logging
from typing import Any

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import AiogramError, ClientDecodeError
from aiogram.methods import GetMe, Response, TelegramMethod

from roost_channels.clock import Clock, SystemClock
from roost_channels.config import TelegramConfig
from roost_channels.errors import DeliveryError
from roost_channels.telegram.errors import translate

logger = logging.getLogger(__name__)

CALL_TIMEOUT_S = 30
# After a failed look at our own name, groups wait this long for the next.
IDENTIFY_AGAIN_S = 30.0


class RawSession(AiohttpSession):
    """Gives results as they came: an unknown field must not make a sent message doubtful."""

    def check_response(
        self, bot: Bot, method: TelegramMethod[Any], status_code: int, content: str
    ) -> Response[Any]:
        try:
            answer = self.json_loads(content)
        except ValueError as error:
            raise ClientDecodeError("Failed to decode object", error, content) from error
        if 200 <= status_code < 300 and isinstance(answer, dict) and answer.get("ok") is True:
            return Response[Any].model_construct(ok=True, result=answer.get("result"))
        return super().check_response(bot, method, status_code, content)

    async def close(self) -> None:
        """aiogram waits a quarter of a second for TLS to end; plain HTTP has none."""
        if self.api.base.startswith("https:"):
            await super().close()
        elif self._session is not None:
            await self._session.close()


class TelegramClient:
    """One bot's connection to one Bot API server; every failure is a DeliveryError.

    session: for simulations, which have no network.
    """

    def __init__(
        self,
        config: TelegramConfig,
        clock: Clock | None = None,
        *,
        session: RawSession | None = None,
    ) -> None:
        if config.token is None:
            raise ValueError("telegram.token is not set")
        server = TelegramAPIServer.from_base(config.api_base)
        self._bot = Bot(config.token.get_secret_value(), session=session or RawSession(api=server))
        self._clock = clock or SystemClock()
        self._username = ""
        self._identify_at = 0.0

    async def call(
        self,
        method: TelegramMethod[Any],
        *,
        repeatable: bool = False,
        timeout_s: int = CALL_TIMEOUT_S,
    ) -> Any:
        """The raw result of a method. repeatable: making the call twice changes nothing."""
        try:
            return await self._bot(method, request_timeout=timeout_s)
        except (AiogramError, OSError, TimeoutError) as error:
            raise translate(error, repeatable=repeatable) from error

    async def username(self) -> str:
        """The bot's name, asked once; empty while it can't be had."""
        if not self._username and self._clock.time() >= self._identify_at:
            try:
                me = await self.call(GetMe(), repeatable=True, timeout_s=5)
                self._username = str(me.get("username") or "")
            except DeliveryError as error:
                self._identify_at = self._clock.time() + IDENTIFY_AGAIN_S
                logger.warning("the bot's name is unknown for now: %s", error)
        return self._username

    async def close(self) -> None:
        await self._bot.session.close()
