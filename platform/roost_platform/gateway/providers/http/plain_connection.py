"""One connection over plain HTTP/1.1: bounded heads, bodies in parts, and an end to silences.

The parser of httptools has no bound of its own. So it is fed a head when all of it has come.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

import httptools

from roost_inference.errors import EngineUnavailable
from roost_platform.gateway.due_timer import DueTimer
from roost_platform.gateway.providers.http.losses import lost

HEAD_BYTES_MAX: Final = 128 * 1024
HEAD_LINES_MAX: Final = 256
INTERIM_MAX: Final = 8  # answers such as 103 before the one that counts
BETWEEN_BYTES_MAX: Final = 16 * 1024  # between two parts of a body in chunks, and behind the last
UNREAD_BYTES_MAX: Final = 128 * 1024  # of a body; the provider waits then
PART_BYTES: Final = 256 * 1024  # of a request that is sent in parts
NO_BODY: Final = (204, 304)
# What other clients read as well.
LENIENT: Final = ("headers", "optional_cr_before_lf", "spaces_after_chunk_size")
_HEAD_END = re.compile(rb"\n\r?\n")
_BROKEN = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class PlainResponse:
    """An answer over such a connection; see Response. status: 0 until its head has come."""

    def __init__(self, connection: "PlainConnection") -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_whole = False
        self.error: EngineUnavailable | None = None
        self.unread: list[bytes] = []
        self.size = 0  # of what is unread
        self.take: Callable[[bytes], bool] | None = None
        self._connection = connection
        self._is_closed = False

    @property
    def is_ended(self) -> bool:
        """Whether its body was read to the end."""
        return self.is_whole and not self.unread

    def parts(self) -> AsyncIterator[bytes]:
        """More of its body; see Response."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self.unread:
            if self.is_whole:
                raise StopAsyncIteration
            if self.error is not None:
                raise self.error
            await self._connection.wait(self._connection.silence_s)
        taken, self.unread, self.size = self.unread, [], 0
        self._connection.go_on()
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """Show it each part that is waited for; see Response."""
        self.take = take

    def close(self) -> None:
        """End it; see Response."""
        if not self._is_closed:
            self._is_closed = True
            self._connection.release()


class PlainConnection(asyncio.Protocol):
    """Sends one request after another. silence_s: the longest wait for the head of an answer, or
    for more of its body; sending_s: for a large request to be sent. released: is called when an
    answer is closed; ended: when the connection is.
    """

    def __init__(
        self,
        silence_s: float,
        sending_s: float,
        released: Callable[["PlainConnection"], None],
        ended: Callable[["PlainConnection"], None],
    ) -> None:
        self.silence_s = silence_s
        self.idle_since = 0.0
        self._sending_s = sending_s
        self._released = released
        self._tell_lost = ended
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**{f"lenient_{one}": True for one in LENIENT})
        self._response = PlainResponse(self)  # nothing is asked yet
        self._response.is_whole = True
        self._head = b""  # as far as it has come
        self._in_head = True
        self._headers: dict[str, str] = {}
        self._is_chunked = self._ends_with_connection = False
        self._between = self._interim = 0
        self._is_sent = self._may_be_kept = False
        self._is_paused = self._is_full = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer = DueTimer(self._loop, self._end_wait)

    @property
    def is_reusable(self) -> bool:
        """Whether it can take a next request."""
        return self._may_be_kept and self._transport is not None

    async def ask(self, head: bytes, content: bytes) -> PlainResponse:
        """The answer to this request, once its head has come."""
        if self._transport is None:
            raise lost(None)
        response = self._response = PlainResponse(self)
        self._in_head, self._head, self._interim, self._may_be_kept = True, b"", 0, False
        self._is_sent = len(content) <= PART_BYTES
        if self._is_sent:
            self._transport.write(head + content)
        else:
            await self._send(response, head, content)
        while not response.status:
            if response.error is not None:
                raise response.error
            await self.wait(self.silence_s)
        return response

    async def _send(self, response: PlainResponse, head: bytes, content: bytes) -> None:
        """Send a large request. An answer that comes before its end is all that counts."""
        due = self._loop.time() + self._sending_s
        transport = cast(asyncio.Transport, self._transport)
        transport.write(head)
        for start in range(0, len(content), PART_BYTES):
            while self._is_full and not (response.status or response.error):
                await self.wait(due - self._loop.time())
            if response.status or response.error:
                return
            transport.write(content[start : start + PART_BYTES])
        self._is_sent = True

    async def wait(self, seconds: float) -> None:
        """Wait for news of the answer. Raises TimeoutError."""
        self._waiter = self._loop.create_future()
        self._timer.start(seconds)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._timer.stop()

    def _end_wait(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    @property
    def _is_waited_for(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def release(self) -> None:
        """The answer is closed."""
        if not self._response.is_whole:
            self._may_be_kept = False
        self._released(self)

    def abort(self) -> None:
        """Close at once."""
        self._may_be_kept = False
        if self._transport is not None:
            self._transport.abort()

    def go_on(self) -> None:
        """What has come was read."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._transport = self._parser = None  # the parser holds this connection
        self._timer.close()
        response = self._response
        if not response.is_whole and response.error is None:
            if exc is None and response.status and self._ends_with_connection:
                response.is_whole = True
            else:
                response.error = lost(exc)
        self._wake()
        self._tell_lost(self)

    def pause_writing(self) -> None:
        """The provider reads slower than we send."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._is_full = False
        self._wake()

    def data_received(self, data: bytes) -> None:
        """Read more of the answer."""
        response = self._response
        if response.is_whole:  # nobody has asked for this
            self.abort()
            return
        status = response.status
        try:
            while self._in_head and data:
                data = self._read_head(data)
            if data and self._parser is not None:
                self._between += len(data)
                self._parser.feed_data(data)
                if self._is_chunked and self._between > BETWEEN_BYTES_MAX:
                    raise httptools.HttpParserError
        except _BROKEN:
            if not response.is_whole:
                response.error = lost(None, "its answer is not HTTP")
            self.abort()
        # What brings neither a head nor a part of the body is no sign of life.
        if response.size or response.is_whole or response.error or status != response.status:
            self._wake()
        if response.size > UNREAD_BYTES_MAX and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def _read_head(self, data: bytes) -> bytes:
        """Parse the head if all of it has come; returns what stands behind it."""
        searched = max(0, len(self._head) - 2)
        data = self._head + data if self._head else data.lstrip(b"\r\n")
        end = _HEAD_END.search(data, searched)
        stop = end.end() if end else len(data)
        if stop > HEAD_BYTES_MAX or data.count(b"\n", 0, stop) > HEAD_LINES_MAX:
            raise httptools.HttpParserError
        if end is None or self._parser is None:
            self._head = data
            return b""
        self._head = b""
        self._headers, self._is_chunked = {}, False
        self._parser.feed_data(data[:stop])
        return data[stop:]

    def on_message_begin(self) -> None:
        """A message begins; none may stand behind the answer."""
        if self._response.is_whole:
            raise httptools.HttpParserError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind a body count for nothing."""
        if not self._in_head:
            return
        known, text = name.decode("latin-1").lower(), value.decode("latin-1").rstrip(" \t")
        self._headers.setdefault(known, text)
        if known == "transfer-encoding":
            self._is_chunked = text.lower().endswith("chunked")

    def on_headers_complete(self) -> None:
        """The head has come."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            if self._interim > INTERIM_MAX:
                raise httptools.HttpParserError
            return
        self._in_head, self._between = False, 0
        self._ends_with_connection = not (
            self._is_chunked or "content-length" in self._headers or status in NO_BODY
        )
        self._response.status, self._response.headers = status, self._headers

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._between = 0
        response = self._response
        take = response.take if self._is_waited_for and not response.unread else None
        if take is not None and take(body):
            self._timer.start(self.silence_s)
            return
        response.unread.append(body)
        response.size += len(body)

    def on_message_complete(self) -> None:
        """The answer has come whole, or one that only tells that another comes."""
        if self._in_head or self._parser is None:
            return
        self._response.is_whole = True
        self._may_be_kept = self._is_sent and self._parser.should_keep_alive()
