"""One HTTP exchange of the gateway: a bounded body in, an answer out, ended when the client leaves.

Plain ASGI: a request costs one task beside its own, which waits for the client's leaving.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import pydantic_core
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from roost_inference.errors import BodyTooLarge, InvalidRequest
from roost_platform.gateway.ids import new_call_id

# A client that still sends reads the refusal only if we read on a little.
LINGER_S = 2.0
LINGER_BYTES_MAX = 64 * 2**20
REQUEST_ID_CHARACTERS_MAX = 128
# More would hold the event loop for longer than others may wait.
JSON_VALUES_MAX = 400_000
STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encode(value: Any) -> bytes:
    """JSON as it goes over the wire."""
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(value).encode()


class ClientGone(Exception):
    """The client has closed its connection."""


class Exchange:
    """A request and its response. request_id: the client's, if it sent a plain one, else ours.

    parameters: what the path has in the place of `{name}`. before_end: runs before the last part of
    an answer goes out, once, so that what the answer tells is true by then.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.headers = Headers(scope=scope)
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self._receive = receive
        self._send = send
        self._body_is_read = False
        self.has_begun = False
        self.parameters: dict[str, str] = {}
        self.before_end: Callable[[], Awaitable[None]] | None = None
        given = self.headers.get("x-request-id", "")
        is_plain = given.isascii() and given.isprintable() and " " not in given
        is_usable = is_plain and 0 < len(given) <= REQUEST_ID_CHARACTERS_MAX
        self.call_id = new_call_id()
        self.request_id = given if is_usable else f"req_{self.call_id}"

    @property
    def secret(self) -> str:
        """The key of the request: `Authorization: Bearer` in any case, or `x-api-key`."""
        scheme, _, credentials = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and credentials.strip():
            return credentials.strip()
        return self.headers.get("x-api-key", "").strip()

    @property
    def query(self) -> dict[str, str]:
        """The parameters after `?`; the last one counts of those with one name."""
        return dict(parse_qsl(self.scope.get("query_string", b"").decode("latin-1")))

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge before more than `limit` bytes are kept."""
        declared = self.headers.get("content-length", "")
        if self.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise InvalidRequest("Send the body without compression")
        parts: list[bytes] = []
        size = 0
        if declared.isdigit() and int(declared) > limit:
            await self._refuse_body(0, limit)
        while not self._body_is_read:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            self._body_is_read = not message.get("more_body", False)
            if size > limit:
                await self._refuse_body(size, limit)
            parts.append(part)
        return b"".join(parts)

    async def json(self, limit: int) -> dict[str, Any]:
        """The body as a JSON object. Raises InvalidRequest, BodyTooLarge."""
        body = await self.body(limit)
        if body.count(b",") + body.count(b"[") + body.count(b"{") > JSON_VALUES_MAX:
            raise InvalidRequest(f"The body has more than {JSON_VALUES_MAX} values")
        try:
            value = pydantic_core.from_json(body, allow_inf_nan=False, cache_strings="keys")
        except ValueError as error:
            raise InvalidRequest(f"The body is not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise InvalidRequest("The body has to be a JSON object")
        return value

    async def _refuse_body(self, size: int, limit: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self._body_is_read and size < LINGER_BYTES_MAX:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    size += len(message.get("body", b""))
                    self._body_is_read = not message.get("more_body", False)
        raise BodyTooLarge(f"The body is larger than {limit} bytes")

    @contextlib.asynccontextmanager
    async def until_gone(self) -> AsyncIterator[None]:
        """Cancel what runs inside once the client has gone; it then raises ClientGone.

        Before the first byte, in the stream and without one: it is one and the same wait.
        """
        working = asyncio.current_task()
        assert working is not None
        is_gone = False

        async def watch() -> None:
            nonlocal is_gone
            while (await self._receive())["type"] != "http.disconnect":
                pass
            is_gone = True
            working.cancel()

        watching = asyncio.create_task(watch())
        try:
            yield
        except asyncio.CancelledError:
            if is_gone and working.uncancel() == 0:
                raise ClientGone from None
            raise
        finally:
            watching.cancel()

    async def begin_stream(self, headers: Mapping[str, str] | None = None) -> None:
        """Send the head of a stream of events."""
        self.has_begun = True
        await self._send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*STREAM_HEADERS, *self._own_headers(headers)],
            }
        )

    async def send_part(self, part: bytes) -> None:
        """Send a part of a stream."""
        await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def pass_on(self, message: Message) -> None:
        """Send a message of another exchange, whose answer is this one's as well."""
        self.has_begun = True
        await self._send(message)

    async def end_stream(self, part: bytes = b"") -> None:
        """Send the last part of a stream."""
        await self._prepare_end()
        await self._send({"type": "http.response.body", "body": part, "more_body": False})

    async def answer(
        self, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer as JSON."""
        await self._prepare_end()
        self.has_begun = True
        body = encode(value)
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    *self._own_headers(headers),
                ],
            }
        )
        sent = b"" if self.method == "HEAD" else body
        await self._send({"type": "http.response.body", "body": sent, "more_body": False})

    async def _prepare_end(self) -> None:
        prepare, self.before_end = self.before_end, None
        if prepare is not None:
            await prepare()

    def _own_headers(self, headers: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
        id = self.request_id.encode()
        own = [(b"x-request-id", id), (b"request-id", id)]  # OpenAI's name and Anthropic's
        if headers:
            own += [(name.encode(), value.encode()) for name, value in headers.items()]
        if not self._body_is_read and self.method not in ("GET", "HEAD"):
            own.append((b"connection", b"close"))
        return own
