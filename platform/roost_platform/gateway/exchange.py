"""One HTTP exchange of the gateway: a bounded body in, an answer out."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from roost_inference.errors import BodyTooLarge
from roost_inference.http.protocol.direct_parts import PARTS, DirectParts
from roost_platform.gateway.encoding import encode
from roost_platform.gateway.errors import EncodedBody
from roost_platform.gateway.guards.admission import Grow
from roost_platform.gateway.guards.bodies import read_object
from roost_platform.gateway.ids import new_call_id
from roost_platform.gateway.leaving import ClientGone, UntilGone

# A client that still sends reads the refusal only if what it sends is taken, and thrown away.
LINGER_S = 2.0
LINGER_BYTES_MAX = 64 * 2**20
STRANGERS_BYTES_MAX = 2**20  # before the key is known
REQUEST_ID_CHARACTERS_MAX = 128
NOSNIFF = (b"x-content-type-options", b"nosniff")
# No page of another site may embed an answer, and no page is made of one.
OWN_SITE = (b"cross-origin-resource-policy", b"same-origin")
ANSWER_HEADERS = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    NOSNIFF,
    OWN_SITE,
)
STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
    NOSNIFF,
    OWN_SITE,
)


class Exchange:
    """A request and its response. request_id: the client's, if it sent a plain one, else ours.

    parameters: what the path has in the place of `{name}`. before_end: runs before the last part of
    an answer goes out, once, so that what the answer tells is true by then. is_counted: whether the
    call has its row of usage, or a refusal that is counted.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        # Looked up a dozen times; of a name that comes twice the first one counts.
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self._receive = receive
        self._send = send
        extensions: Mapping[str, Any] = scope.get("extensions") or {}
        self._parts: DirectParts | None = extensions.get(PARTS)
        self._body_is_read = False
        self._linger_bytes = STRANGERS_BYTES_MAX
        self.body_bytes = 0
        self.grow: Grow | None = None  # is told of each part of the body before it is kept
        self.has_begun = False
        self.is_counted = False
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
        """The whole body. Raises BodyTooLarge before more than `limit` bytes are kept, and what
        `grow` raises.
        """
        self._linger_bytes = LINGER_BYTES_MAX
        if self.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise EncodedBody("Send the body without compression")
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise BodyTooLarge(f"The body is larger than {limit} bytes")
        parts: list[bytes] = []
        while not self._body_is_read:
            part = await self._next_part()
            if self.body_bytes > limit:
                raise BodyTooLarge(f"The body is larger than {limit} bytes")
            if self.grow is not None:
                self.grow(len(part))
            parts.append(part)
        return b"".join(parts)

    async def json(self, limit: int) -> dict[str, Any]:
        """The body as a JSON object; see `body`. Raises InvalidRequest, BodyTooLarge."""
        return await read_object(await self.body(limit))

    async def _next_part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        self.body_bytes += len(part)
        self._body_is_read = not message.get("more_body", False)
        return part

    async def _take_the_rest(self) -> None:
        """Throw away what a refused client still sends; otherwise it would read no refusal.

        A client that waits to be told to go on, sends more than is taken, or does not tell how much
        it sends before its key is known, is cut off.
        """
        declared = self.headers.get("content-length", "")
        if self._linger_bytes == STRANGERS_BYTES_MAX:
            most = int(declared) if declared.isdigit() else STRANGERS_BYTES_MAX + 1
            if most > STRANGERS_BYTES_MAX:
                return
        if "expect" in self.headers:
            return
        with contextlib.suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(LINGER_S):
                while not self._body_is_read and self.body_bytes < self._linger_bytes:
                    await self._next_part()

    def until_gone(self) -> UntilGone:
        """Cancel what runs inside once the client has gone; it then raises ClientGone."""
        return UntilGone(self.scope, self._receive)

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

    @property
    def takes_parts(self) -> bool:
        """Whether `send_part_now` can send: a stream has begun, and its client reads. Our own ports
        tell it; others never do.
        """
        return self._parts is not None and self._parts.is_ready

    def send_part_now(self, part: bytes) -> None:
        """Send a part of a stream without a wait, where `takes_parts`."""
        if self._parts is not None:
            self._parts.send(part)

    def flush(self) -> None:
        """Let what was sent go out before anything else is done. Only our own ports can."""
        if self._parts is not None:
            self._parts.flush()

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
                    *ANSWER_HEADERS,
                    (b"content-length", str(len(body)).encode()),
                    *self._own_headers(headers),
                ],
            }
        )
        sent = b"" if self.method == "HEAD" else body
        if self._is_still_sent:
            await self._send({"type": "http.response.body", "body": sent, "more_body": True})
            await self._take_the_rest()
            sent = b""
        await self._send({"type": "http.response.body", "body": sent, "more_body": False})

    async def _prepare_end(self) -> None:
        prepare, self.before_end = self.before_end, None
        if prepare is not None:
            await prepare()

    @property
    def _is_still_sent(self) -> bool:
        """Whether there is a body that nobody has read."""
        has_body = "content-length" in self.headers or "transfer-encoding" in self.headers
        return has_body and not self._body_is_read and self.headers.get("content-length") != "0"

    def _own_headers(self, headers: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
        id = self.request_id.encode()
        own = [(b"x-request-id", id), (b"request-id", id)]  # OpenAI's name and Anthropic's
        if headers:
            own += [(name.encode(), value.encode()) for name, value in headers.items()]
        if self._is_still_sent:
            own.append((b"connection", b"close"))
        return own
