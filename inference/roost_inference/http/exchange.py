"""One HTTP exchange: a bounded body in, an answer out, no computing for a client that left."""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from roost_inference.errors import BodyTooLarge, EngineError, QueueFull
from roost_inference.http.generation import Generation, Piece
from roost_inference.http.preparation import Preparation
from roost_inference.http.replies import (
    DONE,
    KEEP_ALIVE,
    Chunks,
    Wanted,
    completion,
    error_body,
    event,
)
from roost_inference.wire.chat_call import ChatCall

KEEP_ALIVE_S = 15.0
# A client that still sends reads the refusal only if we read on a little.
LINGER_S = 2.0
LINGER_BYTES_MAX = 64 * 2**20
# Supervisors, containers and Prometheus read these without a key: a state and figures, no texts.
OPEN_PATHS = frozenset({"/health", "/metrics"})

T = TypeVar("T")

log = logging.getLogger(__name__)


def error_response(error: EngineError) -> JSONResponse:
    """The error in OpenAI's shape, with Retry-After where another try may succeed."""
    headers = {}
    if isinstance(error, QueueFull):
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    elif error.http_status == 503:
        headers["retry-after"] = "1"
    if isinstance(error, BodyTooLarge):
        headers["connection"] = "close"
    return JSONResponse(error_body(error), status_code=error.http_status, headers=headers)


async def read_body(request: Request, limit: int) -> bytes:
    """The body if it has at most `limit` bytes, whatever its header says; else BodyTooLarge."""
    chunks: list[bytes] = []
    size = 0
    declared = request.headers.get("content-length", "")
    stream = request.stream()
    if not (declared.isdigit() and int(declared) > limit):
        async for chunk in stream:
            size += len(chunk)
            if size > limit:
                break
            chunks.append(chunk)
        else:
            return b"".join(chunks)
    chunks.clear()
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(LINGER_S):
            async for chunk in stream:
                size += len(chunk)
                if size > limit + LINGER_BYTES_MAX:
                    break
    raise BodyTooLarge(f"The request body is larger than {limit} bytes")


async def while_connected(
    receive: Receive, preparation: Preparation, work: Coroutine[Any, Any, T]
) -> T:
    """The result of the work. Once the client disconnects, cancels the work, abandons the
    preparation and raises ClientDisconnect. Call it after the body has been read."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not working.done():
            preparation.abandon()
            working.cancel()
            await asyncio.wait((working,))
    if working.cancelled():
        raise ClientDisconnect
    return working.result()


class Unauthorized(EngineError):
    """The API key is missing or wrong."""

    http_status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class RequireKey:
    """ASGI wrapper: all but OPEN_PATHS needs `Authorization: Bearer KEY`."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 without the key, else pass the request on."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            scheme, _, sent = Headers(scope=scope).get("authorization", "").partition(" ")
            is_right = hmac.compare_digest(sent.strip().encode(), self._key)
            if scheme.lower() != "bearer" or not is_right:
                await error_response(Unauthorized())(scope, receive, send)
                return
        await self._app(scope, receive, send)


class AnswerResponse:
    """An ASGI response made of a generation. The generation is cancelled as soon as the client
    has gone, before the first token, in mid-stream, or while a whole answer is gathered."""

    def __init__(self, generation: Generation, call: ChatCall) -> None:
        self._generation = generation
        self._call = call
        self._created = int(time.time())
        self._sent_s = 0.0

    def cancel(self) -> None:
        """Stop the generation; for an answer that nobody will read. Any thread may call it."""
        self._generation.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, and stop the generation once the client has gone."""
        produce = self._stream if self._call.stream else self._whole
        producer = asyncio.ensure_future(produce(scope, receive, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((producer, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Whatever ended the wait: a leaving client, the answer's end, a shutdown.
            self._generation.cancel()
            gone.cancel()
            if not producer.done():
                producer.cancel()
                await asyncio.wait((producer,))
        if not producer.cancelled():
            producer.result()

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        pieces: list[Piece] = []
        try:
            async with contextlib.aclosing(self._generation.pieces()) as batches:
                async for batch in batches:
                    pieces += batch
        except EngineError as error:
            await error_response(error)(scope, receive, send)
            return
        answer = completion(
            pieces,
            id=self._generation.id,
            model=self._generation.model,
            created=self._created,
            wanted=_wanted(self._call),
            prompt_tokens=self._generation.prompt_tokens,
        )
        await JSONResponse(answer)(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        chunks = Chunks(
            id=self._generation.id,
            model=self._generation.model,
            created=self._created,
            wanted=_wanted(self._call),
            opening=self._generation.opening,
            prompt_tokens=self._generation.prompt_tokens,
        )
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _send_part(send, chunks.first())
        try:
            await self._send_pieces(send, chunks)
        except EngineError as error:
            # Too late for a status: the error is the last event.
            await _send_part(send, event(error_body(error)) + DONE)
        await _send_part(send, b"", more=False)

    async def _send_pieces(self, send: Send, chunks: Chunks) -> None:
        self._sent_s = asyncio.get_running_loop().time()
        keeper = asyncio.ensure_future(self._keep_alive(send))
        try:
            async with contextlib.aclosing(self._generation.pieces()) as batches:
                async for batch in batches:
                    parts = [chunk for piece in batch for chunk in chunks.of(piece)]
                    await _send_part(send, b"".join(parts))
                    self._sent_s = asyncio.get_running_loop().time()
        finally:
            keeper.cancel()
            await asyncio.wait((keeper,))

    async def _keep_alive(self, send: Send) -> None:
        """Send a comment whenever nothing else was sent for KEEP_ALIVE_S. This is a task of its
        own: a timeout around every piece would add a third to what a piece costs."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._sent_s + KEEP_ALIVE_S - loop.time())
            if loop.time() >= self._sent_s + KEEP_ALIVE_S:
                await _send_part(send, KEEP_ALIVE)
                self._sent_s = loop.time()


def _wanted(call: ChatCall) -> Wanted:
    """What the request wants to see of its answer."""
    options = call.stream_options
    has_usage = options is not None and bool(options.include_usage)
    return Wanted(
        choices=call.n or 1,
        logprobs=bool(call.logprobs),
        tokens_as_ids=bool(call.return_tokens_as_token_ids),
        token_ids=bool(call.return_token_ids),
        usage=has_usage,
        running_usage=call.wants_running_usage,
    )


async def _send_part(
    send: Callable[..., Awaitable[None]], body: bytes, *, more: bool = True
) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _disconnected(receive: Receive) -> None:
    """Return when the client has closed the connection. Reads the raw channel: wrappers such as
    BaseHTTPMiddleware hide this message from the endpoint."""
    while (await receive())["type"] != "http.disconnect":
        pass
