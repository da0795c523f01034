"""Who runs: sequences leave the queue when they fit, and go back when others need their place.

    waiting ──admit──▶ running (prefilling → decoding) ──finish──▶ resident in the KV cache
       ▲                  │
       └────preempt───────┘   when cells run out, or a higher class wants the place

The queue says who is next (queue.py). The last in rank is preempted first: rank is the class, then
the arrival. Its KV stays as a resident and is paged out as every other is, so it goes on where it
was. The first in rank is never preempted and always fits alone, so every sequence comes to its end.
"""

from bisect import insort
from operator import attrgetter

from roost_inference.kv.cache import KvCache
from roost_inference.kv.match import NO_MATCH, PrefixMatch, common_prefix
from roost_inference.scheduling.background_prefill import BackgroundPrefill
from roost_inference.scheduling.queue import WaitingQueue
from roost_inference.sequence import Sequence

# Cells kept free for each running sequence when another is admitted: fewer preemptions.
DECODE_RESERVE_CELLS = 32
# A sequence of more than this share of all cells is long. It joins others only if a smaller share
# stays free, so that long ones never take the place of all short ones.
LONG_SHARE = 1 / 4
SPARE_SHARE = 1 / 16
# Waiting sequences looked at in one step: matching prefixes takes time.
ADMISSIONS_PER_STEP = 16

_rank = attrgetter("rank")


class Admission:
    """Holds every unfinished sequence: `running` in rank, and `waiting`."""

    def __init__(self, cache: KvCache, background: BackgroundPrefill, *, max_running: int) -> None:
        self.running: list[Sequence] = []
        self.waiting = WaitingQueue()
        self.preemptions_total = 0
        self._cache = cache
        self._background = background
        self._max_running = max_running
        # Nobody was admitted, and nothing has changed since that could let anybody in.
        self._is_full = False

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence: a new one, or one that was preempted."""
        self.waiting.add(sequence)
        self._is_full = False

    def remove(self, sequence: Sequence) -> None:
        """It is finished or aborted: its computed KV stays for the next turn."""
        if sequence in self.running:
            self._leave(sequence)
            self._cache.retire(sequence)
        else:
            self._cache.forget(sequence)
            self.waiting.remove(sequence)
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
            if self._cache.is_fetching(sequence) or self._is_being_computed(sequence, match):
                self.waiting.remove(sequence)
                deferred.append(sequence)
                continue
            fitting = self._make_place(sequence, match)
            if fitting is None:
                if self._let_pass(sequence, now):
                    continue
                self._is_full = not deferred
                break
            self._start(sequence, fitting, now)
        for sequence in deferred:
            self.waiting.add(sequence)

    def preempt(self, sequence: Sequence) -> None:
        """Send a running sequence back to the queue; what it has computed stays in the cache."""
        self._leave(sequence)
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

    def _leave(self, sequence: Sequence) -> None:
        """The sequence runs no longer; a piece of it in the background is discarded."""
        if self._background.computes(sequence):
            self._background.stop()
        self.running.remove(sequence)

    def _match(self, sequence: Sequence) -> PrefixMatch:
        """The prefix that the sequence can begin with; the KV of one that is being computed in
        the background can't be copied, and a prompt whose logprobs are wanted is computed."""
        if sequence.tells_prompt:
            return NO_MATCH
        sequence.was_alone = not self.running
        sources = [other for other in self.running if not self._background.computes(other)]
        return self._cache.match(sequence, sources)

    def _is_being_computed(self, sequence: Sequence, match: PrefixMatch) -> bool:
        """Whether a running prompt is about to compute more of this one's prefix than it could
        begin with now, so that waiting is cheaper. One of a lower class is not waited for."""
        if sequence.tells_prompt:
            return False
        wanted = sequence.tokens.view[:-1]
        return any(
            common_prefix(other.tokens.view, wanted) > match.length
            for other in self.running
            if not other.is_decoding
            and other.service <= sequence.service
            and other.request.session.cache_salt == sequence.request.session.cache_salt
        )

    def _start(self, sequence: Sequence, match: PrefixMatch, now: float) -> None:
        self._cache.claim(match, sequence)
        self.waiting.admit(sequence)
        if sequence.started_s is None:
            sequence.started_s = now
            sequence.cached_tokens = sequence.computed
        insort(self.running, sequence, key=_rank)

    def _let_pass(self, first: Sequence, now: float) -> bool:
        """Admit a short sequence of the same tenant while the first has no place."""
        small = self.waiting.smallest_behind(first)
        if small is None or len(self.running) >= self._max_running:
            return False
        match = self._match(small)
        if self._cache.is_fetching(small) or self._is_being_computed(small, match):
            return False
        fitting = self._fitting(small, match)
        if fitting is None:
            return False
        first.overtaken += small.pending
        self._start(small, fitting, now)
        return True

    def _make_place(self, sequence: Sequence, match: PrefixMatch) -> PrefixMatch | None:
        """What the sequence can be admitted with, those of a lower class preempted if need be;
        None if it has to wait."""
        while True:
            if len(self.running) < self._max_running:
                fitting = self._fitting(sequence, match)
                if fitting is not None:
                    return fitting
            last = self.running[-1]
            is_lower = last.service > sequence.service and not last.is_promoted
            if not is_lower or not self._cache.keeps_evicted:
                return None
            self.preempt(last)
            match = self._match(sequence)

    def _fitting(self, sequence: Sequence, match: PrefixMatch) -> PrefixMatch | None:
        """The match if the sequence fits with it, NO_MATCH if it fits only without; None if it has
        to wait."""
        reserved = sum(s.pending + DECODE_RESERVE_CELLS for s in self.running)
        cells = self._cache.ledger.total
        if self.running and len(sequence.tokens) > LONG_SHARE * cells:
            reserved += int(SPARE_SHARE * cells)
        for option in (match, NO_MATCH):
            if self._cache.fits(option, len(sequence.tokens) - option.held + reserved):
                return option
        # Alone, a sequence always fits: its length is bounded by the context.
        return None if self.running else NO_MATCH
