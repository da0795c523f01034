"""Plans the drafts of a step with drafters, and learns from what became of them.

In each step every free drafter proposes. The controller picks for each sequence the proposal and
the depth that pay, and the engine verifies the picked tokens in the same decode. A drafter that
costs time proposes only where that is expected to pay, and now and then to keep its rates true.
"""

import math
import threading
from collections.abc import Callable
from collections.abc import Sequence as Many

from roost_inference.batch import TILE_ROWS
from roost_inference.kv.paging_protocol import NO_COMPANION, Companion
from roost_inference.request import DrafterFigures, SpeculationFigures
from roost_inference.scheduling.cost import StepCost
from roost_inference.scheduling.drafts import Draft, Verified
from roost_inference.sequence import Sequence
from roost_inference.speculation.controller import choose_depths, choose_even_depth, fill_tile
from roost_inference.speculation.drafter import Drafter
from roost_inference.speculation.figures import DrafterCounters, RequestCounters
from roost_inference.speculation.panel import Candidate, DrafterPanel, Option
from roost_inference.speculation.rest import PROBE_STEPS as RESTING_PROBE_STEPS

# Drafted tokens in one step over all sequences; each needs a row of logits. Beyond one tile of
# rows the kernels get dearer again.
DRAFT_ROWS_MAX = 64
# A drafter that costs time and is not used proposes PROBE_DEPTH tokens once in PROBE_STEPS steps.
PROBE_DEPTH = 2
PROBE_STEPS = 64
# Once in this many steps a likely proposal is verified twice as deep as seems to pay, and at least
# this deep: the machine may have become faster since its cost was last measured.
COST_PROBE_STEPS = 64
COST_PROBE_DEPTH = 4
COST_PROBE_SURVIVAL = 0.6
# Depths considered for drafters that cost time.
COSTLY_DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16)


class Speculator:
    """Implements Speculation with drafters."""

    def __init__(
        self,
        drafters: Many[Drafter],
        cost: StepCost,
        *,
        depth_max: int,
        vocabulary_size: int,
        companion: Companion = NO_COMPANION,
    ) -> None:
        """cost: the engine's curve; whoever computes the steps keeps it true. companion: see
        Speculation."""
        self.cost, self.companion = cost, companion
        self.depth_max = depth_max
        self._panel = DrafterPanel(drafters, depth_max=depth_max, vocabulary_size=vocabulary_size)
        self._requests: dict[str, RequestCounters] = {}
        self._counters = {d.name: DrafterCounters() for d in drafters}
        self._lock = threading.Lock()
        self._unused = 0
        self._shallow = 0

    def plan(
        self,
        sequences: Many[Sequence],
        *,
        tokens_max: int,
        step_ms_max: float = math.inf,
        even: bool = False,
    ) -> Many[Draft | None]:
        """See Speculation; at most DRAFT_ROWS_MAX tokens in all."""
        drafts_max = min(tokens_max, DRAFT_ROWS_MAX)
        if drafts_max <= 0 or not len(self._panel):
            return ()
        # One token comes from the target itself, so a draft never needs to reach the limit.
        candidates = [
            Candidate(sequence, 0 if sequence.repeats_exactly else sequence.tokens_left - 1)
            for sequence in sequences
        ]
        options = self._panel.best(candidates)
        costly = tuple(self._panel.costly)
        if not costly and not any(options):
            return ()
        rows = len(candidates)
        context = sum(len(candidate.sequence.tokens) for candidate in candidates) / rows
        drafts_max = min(drafts_max, max(TILE_ROWS - rows, 0))

        def cost_ms(drafts: int) -> float:
            total = rows + drafts
            ms = self.cost.busy_ms(total, total * context, total)
            return ms if ms <= step_ms_max else math.inf

        for drafter in costly:
            used = self._consider(drafter, candidates, options, cost_ms, drafts_max)
            self._panel.note_use(drafter, used=used)
        survivals = [option.survivals if option else [] for option in options]
        if even:
            depths = choose_even_depth(survivals, cost_ms, drafts_max).depths
            return [self._draft(o, d) for o, d in zip(options, depths, strict=True)]
        depths = choose_depths(survivals, cost_ms, drafts_max).depths
        depths = self._probed(depths, survivals, drafts_max)
        available = [
            min(len(option.tokens), candidate.limit) if option else 0
            for option, candidate in zip(options, candidates, strict=True)
        ]
        depths = fill_tile(depths, available, cost_ms, drafts_max)
        return [self._draft(o, d) for o, d in zip(options, depths, strict=True)]

    def _probed(
        self, depths: tuple[int, ...], survivals: Many[Many[float]], drafts_max: int
    ) -> tuple[int, ...]:
        """The depths; now and then one of them is deeper than what seems to pay."""
        likely = [sum(1 for s in chances if s >= COST_PROBE_SURVIVAL) for chances in survivals]
        at = max(range(len(likely)), key=lambda at: likely[at] - depths[at])
        if likely[at] <= depths[at]:
            return depths
        self._shallow += 1
        if self._shallow % COST_PROBE_STEPS:
            return depths
        deeper = min(likely[at], max(COST_PROBE_DEPTH, 2 * depths[at]))
        deeper = min(deeper, depths[at] + drafts_max - sum(depths))
        return (*depths[:at], deeper, *depths[at + 1 :])

    def verified(self, sequence: Sequence, draft: Draft, accepted: int) -> None:
        """See Speculation."""
        counters = self._requests.setdefault(sequence.id, RequestCounters())
        counters.add(draft.drafter, len(draft.tokens), accepted)
        with self._lock:
            self._counters[draft.drafter].add(len(draft.tokens), accepted)

    @property
    def observes(self) -> bool:
        """See Speculation."""
        return self._panel.observes

    def observe(self, verified: Many[Verified]) -> None:
        """See Speculation."""
        self._panel.observe(verified)

    def end(self, sequence: Sequence, *, finished: bool) -> SpeculationFigures | None:
        """See Speculation."""
        self._panel.end(sequence, finished=finished)
        counters = self._requests.pop(sequence.id, None)
        return None if counters is None else counters.figures(self.depth_max)

    def figures(self) -> dict[str, DrafterFigures]:
        """Totals by drafter."""
        with self._lock:
            return {name: counters.figures() for name, counters in self._counters.items()}

    def close(self) -> None:
        """Close the drafters."""
        self._panel.close()

    def check(self, sequences: Many[Sequence]) -> None:
        """Raise AssertionError if anything is kept for a sequence that has ended. For tests."""
        ids = {sequence.id for sequence in sequences}
        kept = self._panel.kept | set(self._requests)
        assert kept <= ids, f"speculation keeps {kept - ids}"

    def _consider(
        self,
        drafter: Drafter,
        candidates: Many[Candidate],
        options: list[Option | None],
        cost_ms: Callable[[int], float],
        drafts_max: int,
    ) -> bool:
        """Let the drafter propose for the sequences without a proposal, if that should pay. Returns
        whether it should."""
        open_at = [at for at, option in enumerate(options) if option is None]
        rest = self._panel.rest_of(drafter)
        if not open_at or (rest is not None and rest.is_resting):
            return False
        open_candidates = [candidates[at] for at in open_at]
        depth = self._costly_depth(drafter, open_candidates, open_at, options, cost_ms, drafts_max)
        self._unused = 0 if depth else self._unused + 1
        if depth == 0:
            if self._unused % (PROBE_STEPS if rest is None else RESTING_PROBE_STEPS) == 0:
                self._panel.propose(drafter, open_candidates, min(PROBE_DEPTH, self.depth_max))
            return False
        proposed = self._panel.propose(drafter, open_candidates, depth)
        for at, option in zip(open_at, proposed, strict=True):
            options[at] = option
        return True

    def _costly_depth(
        self,
        drafter: Drafter,
        open_candidates: Many[Candidate],
        open_at: Many[int],
        options: Many[Option | None],
        cost_ms: Callable[[int], float],
        drafts_max: int,
    ) -> int:
        """The depth at which the drafter should propose, 0 if that should not pay."""
        expected = [self._panel.expected(drafter, candidate) for candidate in open_candidates]
        survivals: list[list[float]] = [option.survivals if option else [] for option in options]
        best, best_rate = 0, choose_depths(survivals, cost_ms, drafts_max).rate
        for depth in COSTLY_DEPTHS:
            if depth > self.depth_max:
                break
            for at, chances in zip(open_at, expected, strict=True):
                survivals[at] = chances[:depth]
            drafting_ms = self._panel.cost_ms(drafter, len(open_candidates), depth)
            if not math.isfinite(drafting_ms):
                break

            def with_drafting(drafts: int, extra: float = drafting_ms) -> float:
                return cost_ms(drafts) + extra

            choice = choose_depths(survivals, with_drafting, drafts_max)
            if any(choice.depths) and choice.rate > best_rate:
                best, best_rate = depth, choice.rate
        return best

    def _draft(self, option: Option | None, depth: int) -> Draft | None:
        if option is None or depth == 0:
            return None
        return Draft(option.drafter, tuple(option.tokens[:depth]))
