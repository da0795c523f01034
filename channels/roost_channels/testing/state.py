"""The state that every fake has: its clock, its faults, its record of calls, and changes."""

import asyncio
from dataclasses import dataclass, field

from roost_channels.testing.clock import Clock
from roost_channels.testing.faults import FaultBook
from roost_channels.testing.loopback import CallLog


@dataclass(slots=True)
class FakeState:
    """The base of a provider's state. event: set, and replaced by a new one, at each change.

    number: how many changes there were.
    """

    clock: Clock
    faults: FaultBook = field(default_factory=FaultBook, kw_only=True)
    log: CallLog = field(default_factory=CallLog, kw_only=True)
    event: asyncio.Event = field(default_factory=asyncio.Event, kw_only=True)
    number: int = field(default=0, kw_only=True)

    def now(self) -> float:
        """The clock's time, in seconds since the epoch."""
        return self.clock.time()

    def changed(self) -> None:
        """Wake everyone who waits for a change of the state."""
        self.number += 1
        self.event.set()
        self.event = asyncio.Event()
