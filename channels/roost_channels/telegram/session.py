"""The HTTP under aiogram's Bot: our client and time limits, and every failure a DeliveryError."""

import logging
from collections.abc import AsyncGenerator
from typing import Any, get_args, get_origin

import httpx2
from pydantic import BaseModel, ValidationError

from roost_channels.http.bodies import decoded, read_answer
from roost_channels.telegram.bot_api import BaseSession, Bot, TelegramAPIServer, methods, types
from roost_channels.telegram.errors import refused, unanswered

logger = logging.getLogger(__name__)

CALL_TIMEOUT_S = 30
CONNECT_TIMEOUT_S = 10
CONNECTIONS_MAX = 100
OCTETS = "application/octet-stream"
# Only the id of a sent message is used; reading the whole message is a third of a send's cost.
_READ_AS: dict[type, type[BaseModel]] = {types.Message: types.MessageId}


class Upload(types.BufferedInputFile):
    """A file that goes with a call; aiogram's own has no MIME type."""

    def __init__(self, data: bytes, name: str, mime_type: str = "") -> None:
        super().__init__(data, filename=name)
        self.mime_type = mime_type or OCTETS


class TelegramSession(BaseSession):
    """Carries aiogram's calls over httpx2. Redirects are not followed: the URL holds the token.

    transport: for simulations, which have no network.
    """

    def __init__(
        self, api_base: str, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        super().__init__(TelegramAPIServer.from_base(api_base), timeout=CALL_TIMEOUT_S)
        self._http = httpx2.AsyncClient(
            timeout=_limits(CALL_TIMEOUT_S),
            limits=httpx2.Limits(max_connections=CONNECTIONS_MAX),
            transport=transport,
        )

    async def make_request(
        self, bot: Bot, method: methods.TelegramMethod[Any], timeout: int | None = None
    ) -> Any:
        """The result of a call. Raises Ambiguous where the request left and no proof came back."""
        url = self.api.api_url(bot.token, method.__api_method__)
        body = await self._encode(bot, method)
        limits = _limits(self.timeout if timeout is None else timeout)
        try:
            async with self._http.stream("POST", url, timeout=limits, **body) as response:
                answer = decoded(await read_answer(response))
        except (httpx2.HTTPError, OSError) as error:
            raise unanswered(error) from error
        if response.is_success and isinstance(answer, dict) and answer.get("ok") is True:
            return _read(method.__returning__, answer.get("result"))
        raise refused(response.status_code, answer)

    async def stream_content(
        self,
        url: str,
        headers: dict[str, Any] | None = None,
        timeout: int = CALL_TIMEOUT_S,
        chunk_size: int = 65536,
        raise_for_status: bool = True,
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a file, as they come."""
        try:
            async with self._http.stream(
                "GET", url, headers=headers, timeout=_limits(timeout)
            ) as response:
                if raise_for_status and response.status_code != 200:
                    answer = decoded(await read_answer(response))
                    raise refused(response.status_code, answer)
                async for chunk in response.aiter_bytes(chunk_size):
                    yield chunk
        except (httpx2.HTTPError, OSError) as error:
            raise unanswered(error) from error

    async def close(self) -> None:
        """Close the HTTP client."""
        await self._http.aclose()

    async def _encode(self, bot: Bot, method: methods.TelegramMethod[Any]) -> dict[str, Any]:
        """What httpx2 makes the body of: JSON, or a form where files go along."""
        uploads: dict[str, types.InputFile] = {}
        parameters = method.model_dump(exclude_none=True, warnings=False)
        fields = self.prepare_value(parameters, bot=bot, files=uploads, _dumps_json=False)
        if not uploads:
            return {"json": fields}
        form = {
            name: value if isinstance(value, str) else self.json_dumps(value)
            for name, value in fields.items()
        }
        files = {
            name: (
                upload.filename or name,
                b"".join([chunk async for chunk in upload.read(bot)]),
                upload.mime_type if isinstance(upload, Upload) else OCTETS,
            )
            for name, upload in uploads.items()
        }
        return {"data": form, "files": files}


def _limits(timeout_s: float) -> httpx2.Timeout:
    return httpx2.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S))


def _read(kind: Any, result: Any) -> Any:
    """A result as aiogram's type of it.

    A result that the type refuses, as a newer server may give one, proves the call all the same:
    its fields are then taken as they came.
    """
    if get_origin(kind) is list and isinstance(result, list):
        return [_read(get_args(kind)[0], item) for item in result]
    model = _READ_AS.get(kind, kind) if isinstance(kind, type) else None
    if model is None or not issubclass(model, BaseModel) or not isinstance(result, dict):
        return result
    try:
        return model.model_validate(result)
    except ValidationError as error:
        logger.info("a result that aiogram's %s refuses: %s", model.__name__, error)
        return model.model_construct(**result)
