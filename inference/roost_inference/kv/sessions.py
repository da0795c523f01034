"""What the engine knows of sessions: their last tokens, and the soft pins the platform sets.

A pin says what a session waits for. Shortly expected ones (tool) stay on the device within a cell
budget; those that wait for a person page out at once and are held in RAM and below. No pin is
hard: when nothing else can go, a pinned session goes, too, and is computed again.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from roost_inference.batch import Tokens

SESSIONS_KEPT = 4096
PIN_TTL_S_DEFAULT = 300.0
PIN_TTL_S_MAX = 7 * 86_400.0
REASONS = ("tool", "approval", "idle", "user")
# Whoever waits for a person is not back within seconds.
PAGED_OUT_AT_ONCE = frozenset({"approval"})
KEPT_ON_DEVICE = frozenset({"tool"})
_NO_TOKENS: Tokens = np.zeros(0, np.int32)

SessionKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pin:
    reason: str
    until: float


@dataclass(slots=True)
class Session:
    """`tokens` is what its last turn left in the KV."""

    session_id: str
    cache_salt: str
    tokens: Tokens
    used_s: float
    turns: int = 0
    pin: Pin | None = None

    @property
    def key(self) -> SessionKey:
        return (self.cache_salt, self.session_id)


class Sessions:
    """Bounded; the least recently used is forgotten first. Owned by the engine thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: OrderedDict[SessionKey, Session] = OrderedDict()

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._known.values()))

    def note(self, session_id: str, cache_salt: str, tokens: Tokens) -> Session:
        """A turn of the session has left these tokens in the KV."""
        session = self._open(session_id, cache_salt)
        session.tokens = tokens
        session.turns += 1
        return session

    def _open(self, session_id: str, cache_salt: str) -> Session:
        key = (cache_salt, session_id)
        session = self._known.get(key)
        if session is None:
            session = Session(session_id, cache_salt, _NO_TOKENS, self._clock())
            self._known[key] = session
            while len(self._known) > SESSIONS_KEPT:
                self._known.popitem(last=False)
        session.used_s = self._clock()
        self._known.move_to_end(key)
        return session

    def get(self, session_id: str, cache_salt: str) -> Session | None:
        """The session of that id, if it was made with this salt."""
        return self._known.get((cache_salt, session_id))

    def pin(self, session: Session, reason: str, ttl_s: float) -> Pin:
        """Say what the session waits for; at most PIN_TTL_S_MAX seconds."""
        self._known.move_to_end(session.key)
        session.used_s = self._clock()
        session.pin = Pin(reason, self._clock() + min(ttl_s, PIN_TTL_S_MAX))
        return session.pin

    def forget(self, session: Session) -> None:
        self._known.pop(session.key, None)

    def reason(self, session_id: str | None, cache_salt: str) -> str | None:
        """Why the session is pinned now, None if it is not."""
        if session_id is None:
            return None
        session = self._known.get((cache_salt, session_id))
        if session is None or session.pin is None:
            return None
        if session.pin.until <= self._clock():
            session.pin = None
            return None
        return session.pin.reason
