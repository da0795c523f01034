"""Joins what is written within one pass of the event loop, so that it goes out in one piece."""

import asyncio
from typing import Any, Final

JOINED_BYTES_MAX: Final = 64 * 1024  # more goes out at once, so that a slow reader is noticed


class JoinedWrites:
    """A transport whose writes of one pass of the loop cost one call of the system: the head of an
    answer, its first part, and several parts that were ready together.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send this with what follows it in the same pass."""
        if not data:
            return
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > JOINED_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send what was written so far."""
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            if not self._transport.is_closing():
                self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Close once all is sent."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._parts, self._size = [], 0
        self._transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
