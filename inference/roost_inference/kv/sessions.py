"""The sessions that the engine knows: their last tokens, and the soft pins the platform sets.

A pin names what a session waits for. A session that waits for a tool stays on the device within a
cell budget; one that waits for a person pages out at once, and its blocks are held in RAM and
below. No pin is hard: when nothing else can go, a pinned session goes, too, and is computed again.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from roost_inference.batch import Tokens
from roost_inference.request import EngineSession

SESSIONS_KEPT = 4096
PIN_TTL_S_DEFAULT = 300.0
PIN_TTL_S_MAX = 7 * 86_400.0
REASONS = ("tool", "approval", "idle", "user")
# A session that waits for a person does not go on within seconds.
PAGED_OUT_AT_ONCE = frozenset({"approval"})
KEPT_ON_DEVICE = frozenset({"tool"})
_NO_TOKENS: Tokens = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class Pin:
    """Why a session is kept near, and until when by the clock of the engine."""

    reason: str
    until: float


@dataclass(slots=True)
class SessionRecord:
    """What is known of a session; `tokens` is what its last turn left in the KV."""

    session: EngineSession
    tokens: Tokens
    used_s: float
    turns: int = 0
    pin: Pin | None = None


class Sessions:
    """Bounded; the least recently used is forgotten first. Owned by the engine thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[EngineSession, SessionRecord] = OrderedDict()

    def __iter__(self) -> Iterator[SessionRecord]:
        return iter(tuple(self._known.values()))

    def note(self, session: EngineSession, tokens: Tokens) -> SessionRecord:
        """A turn of the session has left these tokens in the KV."""
        record = self._open(session)
        record.tokens = tokens
        record.turns += 1
        return record

    def _open(self, session: EngineSession) -> SessionRecord:
        record = self._known.get(session)
        if record is None:
            record = self._known[session] = SessionRecord(session, _NO_TOKENS, self._clock())
            while len(self._known) > SESSIONS_KEPT:
                self._known.popitem(last=False)
        record.used_s = self._clock()
        self._known.move_to_end(session)
        return record

    def get(self, session: EngineSession) -> SessionRecord | None:
        """What is known of the session, None if nothing is."""
        return self._known.get(session)

    def pin(self, record: SessionRecord, reason: str, ttl_s: float) -> Pin:
        """Note what the session waits for, for at most PIN_TTL_S_MAX."""
        self._known.move_to_end(record.session)
        record.used_s = self._clock()
        record.pin = Pin(reason, self._clock() + min(ttl_s, PIN_TTL_S_MAX))
        return record.pin

    def forget(self, record: SessionRecord) -> None:
        """The session has ended."""
        self._known.pop(record.session, None)

    def reason(self, session: EngineSession) -> str | None:
        """Why the session is pinned now, None if it is not."""
        record = self._known.get(session)
        if record is None or record.pin is None:
            return None
        if record.pin.until <= self._clock():
            record.pin = None
            return None
        return record.pin.reason
