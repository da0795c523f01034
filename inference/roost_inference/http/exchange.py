"""One HTTP exchange: a bounded body in, an answer out, no computing for a client that left."""

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from roost_inference.errors import BodyTooLarge, EngineError, EngineUnavailable, QueueFull
from roost_inference.http.generation import Generation, Piece
from roost_inference.http.preparation import Preparation
from roost_inference.http.replies import (
    DONE,
    KEEP_ALIVE,
    PLAIN_FORM,
    AnswerForm,
    Chunks,
    Wanted,
    completion,
    error_body,
    event,
    fingerprint_of,
)
from roost_inference.wire.chat_call import ChatCall

KEEP_ALIVE_S = 15.0
# A client that still sends reads the refusal only if we read on a little.
LINGER_S = 2.0
LINGER_BYTES_MAX = 64 * 2**20
T = TypeVar("T")
Part = TypeVar("Part")
Contra = TypeVar("Contra", contravariant=True)

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
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
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


class Answering(Protocol[Part]):
    """What is generated, and sent as it comes. build: of the engine."""

    @property
    def build(self) -> str:
        """See Generation."""
        ...

    def pieces(self) -> AsyncGenerator[list[Part], None]:
        """See Generation."""
        ...

    def cancel(self) -> None:
        """See Generation."""
        ...


class AnswerWriter(Protocol[Contra]):
    """Makes the events of a stream."""

    def first(self) -> bytes:
        """What comes before any piece; may be empty."""
        ...

    def of(self, piece: Contra) -> Iterator[bytes]:
        """The events of a piece; those of the last one end the stream."""
        ...


class StreamedResponse(ABC, Generic[Part]):
    """An ASGI response made of a generation. The generation is cancelled as soon as the client
    has gone, before the first token, in mid-stream, or while a whole answer is gathered."""

    def __init__(self, generation: Answering[Part], form: AnswerForm, *, is_stream: bool) -> None:
        self._generation = generation
        self._form = replace(form, fingerprint=fingerprint_of(generation.build))
        self._is_stream = is_stream
        self._has_client_left = False
        self._created = int(time.time())
        self._sent_s = 0.0

    @abstractmethod
    def writer(self) -> AnswerWriter[Part]:
        """What writes the answer as a stream."""

    @abstractmethod
    def whole(self, pieces: list[Part]) -> dict[str, Any]:
        """The answer as one object."""

    def cancel(self) -> None:
        """Stop the generation; for an answer that nobody will read. Any thread may call it."""
        self._generation.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, and stop the generation once the client has gone."""
        produce = self._stream if self._is_stream else self._whole
        producer = asyncio.ensure_future(produce(scope, receive, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((producer, gone), return_when=asyncio.FIRST_COMPLETED)
            self._has_client_left = gone.done()
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
        pieces: list[Part] = []
        try:
            async with contextlib.aclosing(self._generation.pieces()) as batches:
                async for batch in batches:
                    pieces += batch
        except (EngineError, asyncio.CancelledError) as error:
            await error_response(self._told(error))(scope, receive, send)
            return
        await JSONResponse(self.whole(pieces))(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = self.writer()
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _send_part(send, writer.first())
        try:
            await self._send_pieces(send, writer)
        except (EngineError, asyncio.CancelledError) as error:
            # Too late for a status: the error is the last event.
            await _send_part(send, event(error_body(self._told(error))) + DONE)
        await _send_part(send, b"", more=False)

    def _told(self, error: EngineError | asyncio.CancelledError) -> EngineError:
        """What the client is told of an answer that has no end. Raises the cancellation if the
        client has gone; otherwise it is the server that stops."""
        if isinstance(error, EngineError):
            return error
        if self._has_client_left:
            raise error
        return EngineUnavailable("The engine is stopping")

    async def _send_pieces(self, send: Send, writer: AnswerWriter[Part]) -> None:
        self._sent_s = asyncio.get_running_loop().time()
        keeper = asyncio.ensure_future(self._keep_alive(send))
        try:
            async with contextlib.aclosing(self._generation.pieces()) as batches:
                async for batch in batches:
                    parts = [event for piece in batch for event in writer.of(piece)]
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


class AnswerResponse(StreamedResponse[Piece]):
    """The answer to a chat."""

    def __init__(
        self, generation: Generation, call: ChatCall, form: AnswerForm = PLAIN_FORM
    ) -> None:
        super().__init__(generation, form, is_stream=bool(call.stream))
        self._answer = generation
        self._call = call

    def writer(self) -> Chunks:
        """See StreamedResponse."""
        return Chunks(
            id=self._answer.id,
            model=self._answer.model,
            created=self._created,
            wanted=_wanted(self._call),
            opening=self._answer.opening,
            prompt_tokens=self._answer.prompt_tokens,
            form=self._form,
        )

    def whole(self, pieces: list[Piece]) -> dict[str, Any]:
        """See StreamedResponse."""
        return completion(
            pieces,
            id=self._answer.id,
            model=self._answer.model,
            created=self._created,
            wanted=_wanted(self._call),
            prompt_tokens=self._answer.prompt_tokens,
            form=self._form,
        )


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
