"""Who runs: sequences leave the queue when they fit, and go back when others need their place.

    waiting ──admit──▶ running (prefilling → decoding) ──finish──▶ resident in the KV cache
       ▲                  │
       └────preempt───────┘   when cells run out, or a higher class wants the place

Who is admitted next is the queue's to say (waiting.py). Preempted is the last in rank: class, then
arrival. Its KV stays as a resident, and is paged out as every other is, so it goes on where it
was. The first in rank is never preempted and always fits alone, so every sequence comes to its end.
"""

from bisect import insort
from collections.abc import Callable
from operator import attrgetter

from roost_inference.kv.cache import KvCache
from roost_inference.kv.match import NO_MATCH, Match
from roost_inference.scheduling.prefill_order import is_being_read
from roost_inference.scheduling.queue import WaitingLine
from roost_inference.sequence import Sequence

# Cells kept free for each running sequence when another is admitted: fewer preemptions.
DECODE_RESERVE_CELLS = 32
# Waiting sequences looked at in one step: matching prefixes takes time.
ADMISSIONS_PER_STEP = 16

_rank = attrgetter("rank")


class Places:
    """Holds every unfinished sequence."""

    def __init__(
        self,
        cache: KvCache,
        *,
        max_running: int,
        context_length: int,
        is_beside: Callable[[Sequence], bool],
        stop_beside: Callable[[], None],
    ) -> None:
        """is_beside: whether a piece of the sequence is being computed beside the steps, see
        beside.py; stop_beside gives that up."""
        # In rank.
        self.running: list[Sequence] = []
        self.waiting = WaitingLine()
        self.preemptions_total = 0
        self._cache = cache
        self._max_running = max_running
        self._context_length = context_length
        self._is_beside = is_beside
        self._stop_beside = stop_beside
        # Nobody was admitted, and nothing has changed since that could let anybody in.
        self._is_full = False

    def add(self, sequence: Sequence) -> None:
        self.waiting.add(sequence)
        self._is_full = False

    def remove(self, sequence: Sequence) -> None:
        """It is finished or aborted: its computed KV stays for the next turn."""
        if self._is_beside(sequence):
            self._stop_beside()
        if sequence in self.running:
            self.running.remove(sequence)
            self._cache.retire(sequence)
        else:
            self._cache.forget(sequence)
            self.waiting.take(sequence)
        self.waiting.settle(sequence)
        self._is_full = False

    def admit(self, now: float) -> None:
        """Move waiting sequences to running, each in its turn, as long as they fit."""
        if self._is_full or not len(self.waiting):
            return
        deferred: list[Sequence] = []
        for _ in range(ADMISSIONS_PER_STEP):
            sequence = self.waiting.next()
            if sequence is None:
                break
            match = self._match(sequence)
            if self._cache.is_fetching(sequence) or is_being_read(
                sequence, match.length, self.running
            ):
                self.waiting.take(sequence)
                deferred.append(sequence)
                continue
            found = self._room(sequence, match)
            if found is None:
                self._is_full = not deferred
                break
            self._start(sequence, found, now)
        for sequence in deferred:
            self.waiting.add(sequence)

    def preempt(self, sequence: Sequence) -> None:
        """Back to the queue; what it has computed stays in the cache."""
        if self._is_beside(sequence):
            self._stop_beside()
        self.running.remove(sequence)
        self._cache.release(sequence)
        self.waiting.settle(sequence)
        sequence.preemptions += 1
        self.preemptions_total += 1
        self.add(sequence)

    def check(self) -> None:
        """Raise AssertionError if ranks, states or accounts do not add up."""
        self.waiting.check(self.running)
        assert len(self.running) <= self._max_running, "too many run"
        assert self.running == sorted(self.running, key=_rank), "running is out of rank"
        for sequence in self.running:
            assert sequence.pending > 0, "a running sequence has nothing to compute"
        for sequence in self.waiting:
            assert sequence.sequence_id is None and sequence.computed == 0, "waits with KV"

    def _match(self, sequence: Sequence) -> Match:
        return self._cache.match(sequence, [s for s in self.running if not self._is_beside(s)])

    def _start(self, sequence: Sequence, match: Match, now: float) -> None:
        self._cache.claim(match, sequence)
        self.waiting.admit(sequence, self._context_length)
        if sequence.started_s is None:
            sequence.started_s = now
            sequence.cached_tokens = sequence.computed
        insort(self.running, sequence, key=_rank)

    def _room(self, sequence: Sequence, match: Match) -> Match | None:
        """What it can be admitted with, those of a lower class preempted if need be; None if it
        has to wait."""
        while True:
            if len(self.running) < self._max_running:
                found = self._fitting(sequence, match)
                if found is not None:
                    return found
            last = self.running[-1]
            if last.carried or last.service <= sequence.service or self._cache.pager is None:
                return None
            self.preempt(last)
            match = self._match(sequence)

    def _fitting(self, sequence: Sequence, match: Match) -> Match | None:
        """The match, or none of it if only that leaves room; None if it has to wait."""
        reserved = sum(s.pending + DECODE_RESERVE_CELLS for s in self.running)
        for option in (match, NO_MATCH):
            if self._cache.fits(option, len(sequence.tokens) - option.held + reserved):
                return option
        # Alone, a sequence always fits: its length is bounded by the context.
        return None if self.running else NO_MATCH
