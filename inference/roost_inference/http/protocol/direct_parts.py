"""Sends parts of an answer without a wait: a task that is woken for each of them costs more."""

from typing import Any, Final, cast

from roost_inference.http.protocol.joined_writes import JoinedWrites

# The extension of an ASGI scope: the DirectParts of its answer.
PARTS: Final = "roost.parts"


class DirectParts:
    """The body of one answer, once its head is sent. cycle: uvicorn's, of this answer alone."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle

    @property
    def is_ready(self) -> bool:
        """Whether a part can be sent now: the body has begun, and the client reads it."""
        cycle = self._cycle
        if cycle.response_complete or cycle.disconnected or cycle.flow.write_paused:
            return False
        return cycle.response_started and cycle.chunked_encoding is True

    def send(self, part: bytes) -> None:
        """Send a part that is not empty, where `is_ready`."""
        self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(part), part))

    def flush(self) -> None:
        """Let what was sent go out before anything else is done in this process."""
        cast(JoinedWrites, self._cycle.transport).flush()
