"""uvicorn's protocol within bounds: heads, steps of a request, and clients that read nothing.

The parser of httptools has no bound of its own, and reads a next request while an answer is
written. So it is fed message by message: a head when all of it has come, then its body.
"""

import asyncio
import logging
import re
from dataclasses import replace
from enum import Enum
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from roost_inference.http.connections import (
    CONNECTIONS_MIN,
    DESCRIPTORS_RESERVED,
    ConnectionLimits,
    ConnectionTable,
    raise_descriptor_limit,
)
from roost_inference.http.log_limit import limit_repeats
from roost_inference.http.protocol.answers import (
    BUSY,
    INVALID,
    TOO_LARGE,
    TOO_SLOW,
    Refusal,
    UnknownLength,
)
from roost_inference.http.protocol.direct_parts import PARTS, DirectParts
from roost_inference.http.protocol.joined_writes import JoinedWrites
from roost_inference.http.protocol.leaving import LEAVING, Leaving
from roost_inference.wire.ids import id_in_head, request_id

# Lines of a request's head. Each costs time to parse, and again whenever a header is looked up.
HEAD_LINES_MAX: Final = 200
# Of a head that has not come whole, and of what stands between the pieces of a body.
HEAD_BYTES_MAX: Final = 16 * 1024

_HEAD_END = re.compile(rb"\n\r?\n")
# Nothing here speaks another protocol. The parser would take the body for one.
_UPGRADE = re.compile(rb"\nupgrade[ \t]*:[^\n]*", re.IGNORECASE)

log = logging.getLogger(__name__)


class Step(Enum):
    """What the client has to send next. NOTHING: its request is being answered."""

    HEAD = "head"
    BODY = "body"
    NOTHING = "nothing"


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the limits of its table."""

    table: ConnectionTable
    address = ""
    _step = Step.HEAD
    _unread = b""  # what was received and not parsed yet
    _head = b""  # the newest, as far as it has come
    _body_left: int | None = 0  # bytes; None for a body in chunks
    _between = 0  # bytes since a part of a body in chunks has come
    _is_last = False  # whether the connection closes behind the present answer
    _timer: asyncio.TimerHandle | None = None
    _timed: Any = None
    _unread_timer: asyncio.TimerHandle | None = None
    _leaving: Leaving

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, or answer 503 and close it."""
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self.table.admit(self):
            log.warning("too many connections are open; one was refused")
            self.transport = transport
            transport.write(BUSY.encoded(request_id()))
            transport.close()
            return
        joined = JoinedWrites(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, joined))
        self._leaving = Leaving(self.flow.resume_reading)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read what the client sent."""
        if self.flow is None or self._is_last or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        searched = len(self._unread)
        self._unread = self._unread + data if self._unread else bytes(data)
        self._read_on(searched)
        self._watch()

    def _read_on(self, searched: int = 0) -> None:
        """Parse as far as the client may be read now. searched: bytes without the end of a head."""
        try:
            while self._unread and not self.transport.is_closing():
                if self._step is Step.NOTHING:
                    self.flow.pause_reading()
                    return
                if self._step is Step.BODY:
                    self._read_body()
                elif not self._read_head(searched):
                    return
                searched = 0
        except httptools.HttpParserError:
            if self._is_last:
                self._end_with_answer()
            else:
                self.logger.warning("Invalid HTTP request received.")
                self._refuse(INVALID)

    def _read_head(self, searched: int) -> bool:
        """Parse the head if all of it has come; False if not."""
        data = self._unread
        if not searched:
            data = self._unread = data.lstrip(b"\r\n")
        end = _HEAD_END.search(data, max(0, searched - 2))
        stop = end.end() if end else len(data)
        self._head = data[:stop]
        if data.count(b"\n", 0, stop) > HEAD_LINES_MAX + 1:
            self._refuse(TOO_LARGE)
            return False
        if end is None:
            if stop > HEAD_BYTES_MAX:
                self._refuse(TOO_LARGE)
            return False
        self._unread, self._body_left = data[stop:], 0
        head = self._head
        self.parser.feed_data(_UPGRADE.sub(b"", head) if b"upgrade" in head.lower() else head)
        return True

    def _read_body(self) -> None:
        data, left = self._unread, self._body_left
        if left is not None:
            self._unread = data[left:]
            self._body_left = left - (len(data) - len(self._unread))
            self.parser.feed_data(data if len(data) <= left else data[:left])
            return
        self._unread = b""
        self._between += len(data)
        self.parser.feed_data(data)
        if self._between > HEAD_BYTES_MAX and self._step is Step.BODY:
            self._refuse(TOO_LARGE)  # extensions of chunks, or headers behind them

    def on_message_begin(self) -> None:
        """A head begins. One behind a body in chunks, whose end only the parser knows, is not read:
        the connection closes behind the answer, and the client asks again.
        """
        if self._step is Step.NOTHING or self._body_left is None:
            self._is_last = True
            raise httptools.HttpParserError
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind a body count for nothing."""
        if self._step is Step.HEAD:
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """Hand the request to the app."""
        hosts, length, is_chunked = 0, 0, False
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                is_chunked = True
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise httptools.HttpParserError
        super().on_headers_complete()
        extensions: Any = {LEAVING: self._leaving.watch, PARTS: DirectParts(self.cycle)}
        self.scope["extensions"] = extensions
        self._step, self._between = Step.BODY, 0
        self._body_left = None if is_chunked else length
        if self.scope["http_version"] == "1.0":
            self.cycle.chunked_encoding = False  # its end is that of the connection
            self.cycle.expected_content_length = UnknownLength()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body for the app."""
        self._between = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has come whole."""
        super().on_message_complete()
        self._step = Step.HEAD if self.cycle.response_complete else Step.NOTHING

    def on_response_complete(self) -> None:
        """An answer is sent; the time for the next request begins."""
        super().on_response_complete()
        cast(JoinedWrites, self.transport).flush()  # nothing follows that it could wait for
        if self._step is Step.NOTHING:
            self._step = Step.HEAD
        if self._unread and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self._read_on()
        self._watch()
        if self.transport.is_closing():
            self._limit_unread()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which no next request came."""
        super().timeout_keep_alive_handler()
        self._limit_unread()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.table.release(self)
        for timer in (self._timer, self._unread_timer):
            if timer is not None:
                timer.cancel()
        if self.flow is not None:
            super().connection_lost(exc)
            self._leaving.left()

    def pause_writing(self) -> None:
        """The client does not read; it may go on like that for a while."""
        super().pause_writing()
        self._limit_unread()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._unread_timer is not None and not self.transport.is_closing():
            self._unread_timer.cancel()
            self._unread_timer = None
        super().resume_writing()

    def close_now(self) -> None:
        """Close without waiting for what is unsent."""
        self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer a request that can't be read, unless its answer has begun; then close."""
        self._unread = b""
        if self._step is Step.HEAD or not self.cycle.response_started:
            self.transport.write(refusal.encoded(id_in_head(self._head)))
        self.transport.close()
        self._limit_unread()

    def _end_with_answer(self) -> None:
        """Read no more, and close behind the answer under way."""
        self._unread = b""
        if self.cycle.response_complete:
            self.transport.close()
            self._limit_unread()
        else:
            self.cycle.keep_alive = False
            self._step = Step.NOTHING

    def _limit_unread(self) -> None:
        """Close for good if the client does not read what it was sent."""
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.table.limits.unread_s, self.close_now)

    def _watch(self) -> None:
        """Give the step that the client is in its time, once."""
        is_waiting = self._step is not Step.NOTHING
        self.table.note(self, is_waiting=is_waiting)
        # A next request on the same connection is another step of the same kind.
        current = (self._step, self.cycle) if is_waiting else None
        if current == self._timed:
            return
        self._timed = current
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if is_waiting:
            limits = self.table.limits
            time_s = limits.head_s if self._step is Step.HEAD else limits.body_s
            self._timer = self.loop.call_later(time_s, self._too_slow)

    def _too_slow(self) -> None:
        """Tell a client that sent half a request, unless an answer has begun; then close."""
        is_half = self._step is Step.BODY or self._unread
        has_answer = self._step is Step.BODY and self.cycle.response_started
        if is_half and not has_answer and not self.transport.is_closing():
            self.transport.write(TOO_SLOW.encoded(id_in_head(self._head)))
        self.transport.close()
        self._limit_unread()


def bounded_protocol(limits: ConnectionLimits) -> type[HttpToolsProtocol]:
    """The protocol of one port, for uvicorn's `http`; raises the process's limit of descriptors."""
    available = raise_descriptor_limit() - DESCRIPTORS_RESERVED
    fitting = max(CONNECTIONS_MIN, min(limits.connections, available))
    shared = ConnectionTable(replace(limits, connections=fitting))
    limit_repeats("uvicorn.error", "asyncio", __name__)

    class Protocol(BoundedProtocol):
        table = shared

    return Protocol
