"""Blocks that another machine has put into a shared tier, found by their keys.

What is absent is remembered for a while: prompts that nobody else has cost one look-up and no more.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence

from roost_inference.kv.handover.source import SourceError
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.tier import KeyedTier, TierError

ABSENT_S = 10.0
ABSENT_KEPT = 4096


class AbsentKeys:
    """Keys that a tier did not have lately. Any thread may use it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self._until.get(key, 0.0) > self._clock()

    def add(self, key: bytes) -> None:
        """The key was not there just now."""
        with self._lock:
            self._until[key] = self._clock() + ABSENT_S
            self._until.move_to_end(key)
            while len(self._until) > ABSENT_KEPT:
                self._until.popitem(last=False)


class ObjectSource:
    """Implements KvSource over a tier; nobody keeps blocks for us there, so nothing is released."""

    def __init__(
        self,
        tier: KeyedTier,
        store: BlockStore,
        absent: AbsentKeys,
        clock: Callable[[], float],
    ) -> None:
        self.name = tier.name
        self._tier = tier
        self._store = store
        self._absent = absent
        self._clock = clock

    def read(self, keys: Sequence[bytes], deadline: float) -> Generator[memoryview, None, None]:
        """See KvSource."""
        for key in keys:
            if key in self._absent:
                return
            if self._clock() >= deadline:
                raise SourceError("too_slow")
            try:
                data = self._tier.get(key)
            except TierError as error:
                self._store.note_failure(self.name, str(error))
                raise SourceError("tier_failed", str(error)) from error
            if data is None:
                self._absent.add(key)
                return
            yield data

    def renew(self) -> None:
        """Nothing is leased."""

    def release(self) -> None:
        """Nothing is leased."""
