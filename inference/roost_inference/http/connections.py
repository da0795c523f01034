"""Bounds on the connections of a port: how many, from whom, and how long each step may take.

uvicorn alone waits for ever for a request's head and body, and takes every connection.
"""

import asyncio
import logging
import re
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from roost_inference.http.joined_writes import JoinedWrites
from roost_inference.http.log_limit import limit_repeats

# Descriptors that a process needs besides its connections: database, model, logs, clients.
DESCRIPTORS_RESERVED = 200
DESCRIPTORS_MAX = 65_536
CONNECTIONS_MIN = 16
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 31\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
    b"Too many connections are open.\n"
)
# Lines of a request's head. Each costs time to parse, and again whenever a header is looked up.
HEAD_LINES_MAX = 200
TOO_MANY_HEADERS = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 34\r\nconnection: close\r\n\r\n"
    b"The request has too many headers.\n"
)
TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 27\r\nconnection: close\r\n\r\n"
    b"The request came too slow.\n"
)

_HEAD_END = re.compile(rb"\n\r?\n")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one port; times in seconds.

    head_s: from the connection, or from the answer before, to the end of a request's head.
    body_s: from the end of the head to the end of the body.
    unread_s: how long an answer waits for a client that reads none of it.
    per_address: connections of one address. shares_address: addresses without that bound, because
        many clients stand behind them, such as a proxy's.
    """

    connections: int = 1024
    per_address: int = 256
    head_s: float = 10.0
    body_s: float = 60.0
    unread_s: float = 60.0
    shares_address: Callable[[str], bool] = lambda address: False


class ConnectionTable:
    """The open connections of a port, and who of them waits for a request of its client.

    A client that only holds connections open does no harm: at the bound, the connection that has
    been silent for the longest time makes room for a new one.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._open: set[BoundedProtocol] = set()
        self._by_address: Counter[str] = Counter()
        # In the order of their last sign of life.
        self._waiting: dict[BoundedProtocol, None] = {}

    def admit(self, connection: "BoundedProtocol") -> bool:
        """Take a connection in; False if the port or its address has too many in use."""
        address = connection.address
        is_crowded = self._by_address[
            address
        ] >= self.limits.per_address and not self.limits.shares_address(address)
        if is_crowded and not self._make_room(address):
            return False
        if len(self._open) >= self.limits.connections and not self._make_room(None):
            return False
        self._open.add(connection)
        self._by_address[address] += 1
        return True

    def release(self, connection: "BoundedProtocol") -> None:
        """Forget a connection that is closed; one that was never taken in is ignored."""
        self._waiting.pop(connection, None)
        if connection in self._open:
            self._open.discard(connection)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    def note(self, connection: "BoundedProtocol", *, is_waiting: bool) -> None:
        """The connection gave a sign of life; whether it waits for more of its client."""
        self._waiting.pop(connection, None)
        if is_waiting and connection in self._open:
            self._waiting[connection] = None

    def _make_room(self, address: str | None) -> bool:
        for connection in self._waiting:
            if address is None or connection.address == address:
                self.release(connection)
                connection.close_now()
                return True
        return False


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol with the limits of its table."""

    table: ConnectionTable
    address = ""
    _timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _step: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, or answer 503 and close it."""
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self.table.admit(self):
            log.warning("too many connections are open; one was refused")
            self.transport = transport
            transport.write(BUSY)
            transport.close()
            return
        joined = JoinedWrites(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, joined))
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read what the client sent."""
        if self.flow is None or self.transport.is_closing():
            return
        super().data_received(data)
        self._watch()

    def handle_events(self) -> None:
        """Read the next request, unless its head has too many lines."""
        if self.conn.their_state is h11.IDLE and _has_long_head(self.conn.trailing_data[0]):
            self.transport.write(TOO_MANY_HEADERS)
            self.transport.close()
            self._limit_unread()
            return
        super().handle_events()

    def on_response_complete(self) -> None:
        """An answer is sent; the time for the next request begins."""
        super().on_response_complete()
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

    def _limit_unread(self) -> None:
        """Close for good if the client does not read what it was sent."""
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.table.limits.unread_s, self.close_now)

    def _watch(self) -> None:
        """Give the step that the client is in its time, once."""
        step = self.conn.their_state
        is_waiting = step in (h11.IDLE, h11.SEND_BODY)
        self.table.note(self, is_waiting=is_waiting)
        # A next request on the same connection is another step in the same state.
        current = (step, self.cycle) if is_waiting else None
        if current == self._step:
            return
        self._step = current
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if is_waiting:
            limits = self.table.limits
            time_s = limits.head_s if step is h11.IDLE else limits.body_s
            self._timer = self.loop.call_later(time_s, self._too_slow)

    def _too_slow(self) -> None:
        """Tell a client that sent half a request, unless an answer has begun; then close."""
        is_half = self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]
        has_answer = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if is_half and not has_answer and not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
        self.transport.close()
        self._limit_unread()


def _has_long_head(data: bytes) -> bool:
    data = data.lstrip(b"\r\n")
    end = _HEAD_END.search(data)
    return data.count(b"\n", 0, end.start() if end else len(data)) > HEAD_LINES_MAX


def bounded_protocol(limits: ConnectionLimits) -> type[H11Protocol]:
    """The protocol of one port, for uvicorn's `http`; raises the process's limit of descriptors."""
    available = raise_descriptor_limit() - DESCRIPTORS_RESERVED
    fitting = max(CONNECTIONS_MIN, min(limits.connections, available))
    shared = ConnectionTable(replace(limits, connections=fitting))
    limit_repeats("uvicorn.error", "asyncio", __name__)

    class Protocol(BoundedProtocol):
        table = shared

    return Protocol


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files as far as allowed; returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return soft
        return wanted
    return DESCRIPTORS_MAX if soft == resource.RLIM_INFINITY else soft
