"""The leases of an engine that offers KV: their states and bounds. No I/O, no clock, no lock.

    OFFERED ──fetch──▶ FETCHING ──release──▶ DONE
       │ └──release──▶ RELEASED    │
       └────────── time ───────────┴───────▶ EXPIRED

A lease that has ended stays ended: signals that come late change nothing. It is a soft pin: its
blocks leave last, and where they have left, the reader computes them.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# Of leases that have ended, whose state is still told to signals that come late.
ENDED_KEPT = 256


class LeaseState(StrEnum):
    """See the drawing above."""

    OFFERED = "offered"
    FETCHING = "fetching"
    DONE = "done"
    RELEASED = "released"
    EXPIRED = "expired"


OPEN_STATES = frozenset((LeaseState.OFFERED, LeaseState.FETCHING))


@dataclass(slots=True)
class Lease:
    """One prompt's blocks, kept for a reader until `until`. size: their bytes."""

    id: str
    keys: frozenset[bytes]
    size: int
    until: float
    state: LeaseState = LeaseState.OFFERED

    @property
    def is_open(self) -> bool:
        """Whether blocks may be read under it."""
        return self.state in OPEN_STATES


class LeaseTable:
    """All leases of an engine. Every method gets the time now; what is overdue has expired then."""

    def __init__(self, *, lease_s: float, leases_max: int, bytes_max: int) -> None:
        self.lease_s = lease_s
        self.ended: dict[LeaseState, int] = dict.fromkeys(LeaseState, 0)
        self._leases_max = leases_max
        self._bytes_max = bytes_max
        self._open: dict[str, Lease] = {}
        self._ended: OrderedDict[str, Lease] = OrderedDict()

    def open(self, now: float) -> int:
        """How many leases are open."""
        self._expire(now)
        return len(self._open)

    def leased_bytes(self, now: float) -> int:
        """Bytes under open leases; blocks of several leases count for each."""
        self._expire(now)
        return sum(lease.size for lease in self._open.values())

    def offer(self, id: str, keys: Sequence[bytes], size: int, now: float) -> Lease | str:
        """Open a lease, or say in a word why there is none: older ones are never displaced, as
        their readers come sooner."""
        if not keys:
            return "nothing_stored"
        if len(self._open) >= self._leases_max:
            self._expire(now)
        if len(self._open) >= self._leases_max:
            return "too_many_leases"
        if self.leased_bytes(now) + size > self._bytes_max:
            return "too_many_bytes"
        lease = self._open[id] = Lease(id, frozenset(keys), size, now + self.lease_s)
        return lease

    def fetch(self, id: str, now: float) -> Lease | None:
        """The reader reads, which renews the lease; None if it is not open."""
        lease = self._renewed(id, now)
        if lease is not None:
            lease.state = LeaseState.FETCHING
        return lease

    def renew(self, id: str, now: float) -> LeaseState | None:
        """The reader gives a sign of life. Returns the state, None for an unknown lease."""
        self._renewed(id, now)
        return self.state(id)

    def release(self, id: str, now: float) -> LeaseState | None:
        """The reader needs nothing more. Returns the state, None for an unknown lease."""
        self._expire(now)
        lease = self._open.get(id)
        if lease is not None:
            was_read = lease.state is LeaseState.FETCHING
            self._end(lease, LeaseState.DONE if was_read else LeaseState.RELEASED)
        return self.state(id)

    def state(self, id: str) -> LeaseState | None:
        """The state of a lease, None for one that is unknown or has ended long ago."""
        lease = self._open.get(id) or self._ended.get(id)
        return None if lease is None else lease.state

    def _renewed(self, id: str, now: float) -> Lease | None:
        self._expire(now)
        lease = self._open.get(id)
        if lease is not None:
            lease.until = now + self.lease_s
        return lease

    def _expire(self, now: float) -> None:
        for lease in [lease for lease in self._open.values() if lease.until <= now]:
            self._end(lease, LeaseState.EXPIRED)

    def _end(self, lease: Lease, state: LeaseState) -> None:
        lease.state = state
        self.ended[state] += 1
        del self._open[lease.id]
        self._ended[lease.id] = lease
        while len(self._ended) > ENDED_KEPT:
            self._ended.popitem(last=False)
