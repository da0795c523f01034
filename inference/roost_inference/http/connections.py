"""Bounds on the connections of a port: how many, from whom, and how long each step may take.

uvicorn alone waits for ever for a request's head and body, and takes every connection.
"""

import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

# Descriptors that a process needs besides its connections: database, model, logs, clients.
DESCRIPTORS_RESERVED = 200
DESCRIPTORS_MAX = 65_536
CONNECTIONS_MIN = 16


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


class OpenConnection(Protocol):
    """What the table needs of a connection. address: of its client."""

    address: str

    def close_now(self) -> None:
        """Close without waiting for what is unsent."""
        ...


class ConnectionTable:
    """The open connections of a port, and who of them waits for a request of its client.

    A client that only holds connections open does no harm: at the bound, the connection that has
    been silent for the longest time makes room for a new one.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._open: set[OpenConnection] = set()
        self._by_address: Counter[str] = Counter()
        # In the order of their last sign of life.
        self._waiting: dict[OpenConnection, None] = {}

    def admit(self, connection: OpenConnection) -> bool:
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

    def release(self, connection: OpenConnection) -> None:
        """Forget a connection that is closed; one that was never taken in is ignored."""
        self._waiting.pop(connection, None)
        if connection in self._open:
            self._open.discard(connection)
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]

    def note(self, connection: OpenConnection, *, is_waiting: bool) -> None:
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
