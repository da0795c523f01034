"""The Bot API over HTTP; the only place here that makes requests.

aiogram is not used at run time: importing it costs seconds of CPU and 150 MB, its models refuse
answers that newer servers give, and its polling acknowledges before anything is stored. The tests
hold the fake server to aiogram, and this client to the fake.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from roost_channels.clock import Clock, SystemClock
from roost_channels.errors import DeliveryError, Rejected
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.errors import refused, unanswered

logger = logging.getLogger(__name__)

CALL_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 100
# After a failed look at our own name, groups wait this long for the next.
IDENTIFY_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that goes with a call."""

    name: str
    mime_type: str
    data: bytes


class TelegramClient:
    """One bot's connection to one Bot API server; every failure is a DeliveryError.

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
        base, token = config.api_base.rstrip("/"), config.token.get_secret_value()
        self._methods = f"{base}/bot{token}"
        self._files = f"{base}/file/bot{token}"
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx2.Limits(max_connections=CONNECTIONS_MAX),
            transport=transport,
        )
        self._clock = clock or SystemClock()
        self._username = ""
        self._identify_at = 0.0

    async def call(
        self,
        method: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        uploads: Mapping[str, Upload] | None = None,
        repeatable: bool = False,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Any:
        """The result of a method as it came: an unknown field must not make a sent message
        doubtful. Parameters that are None are left out.

        repeatable: making the call twice changes nothing.
        """
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))
        url = f"{self._methods}/{method}"
        try:
            if uploads:
                response = await self._http.post(
                    url, data=_form(given), files=_parts(uploads), timeout=timeout
                )
            else:
                response = await self._http.post(url, json=given, timeout=timeout)
        except (httpx2.HTTPError, OSError) as error:
            raise unanswered(error, repeatable=repeatable) from error
        answer = _decoded(response)
        if response.is_success and isinstance(answer, dict) and answer.get("ok") is True:
            return answer.get("result")
        raise refused(response.status_code, answer, repeatable=repeatable)

    async def download(self, file_id: str, bytes_max: int) -> bytes:
        """The bytes of a file that somebody sent us."""
        found = await self.call("getFile", {"file_id": file_id}, repeatable=True)
        path = found.get("file_path") if isinstance(found, dict) else None
        if not path:
            raise Rejected(f"file {file_id} has no path")
        data = bytearray()
        try:
            async with self._http.stream("GET", f"{self._files}/{path}") as response:
                if response.status_code != 200:
                    await response.aread()
                    raise refused(response.status_code, _decoded(response), repeatable=True)
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > bytes_max:
                        raise Rejected(f"the file has more than {bytes_max} bytes")
        except (httpx2.HTTPError, OSError) as error:
            raise unanswered(error, repeatable=True) from error
        return bytes(data)

    async def username(self) -> str:
        """The bot's name, asked once; empty while it can't be had."""
        if not self._username and self._clock.time() >= self._identify_at:
            try:
                me = await self.call("getMe", repeatable=True, timeout_s=5)
                self._username = str(me.get("username") or "")
            except DeliveryError as error:
                self._identify_at = self._clock.time() + IDENTIFY_AGAIN_S
                logger.warning("the bot's name is unknown for now: %s", error)
        return self._username

    async def close(self) -> None:
        await self._http.aclose()


def _decoded(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _form(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Beside files everything is a form field; what is nested travels as JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in parameters.items()
    }


def _parts(uploads: Mapping[str, Upload]) -> dict[str, tuple[str, bytes, str]]:
    return {name: (up.name, up.data, up.mime_type) for name, up in uploads.items()}
