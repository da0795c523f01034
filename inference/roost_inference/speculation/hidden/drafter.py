"""Drafts with a small network that reads the target's hidden states, as DFlash does.

Of each token that the target computes, the inputs of some of its layers are given to the drafter,
which keeps keys and values made of them. To guess, it computes one block for each sequence: the
last token, whose hidden states nobody has yet, and masks in the place of the tokens that may
follow.
"""

import math
import time
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from roost_inference.backend import Features, Logits, Rows
from roost_inference.batch import Tokens
from roost_inference.scheduling.cost import StepCost
from roost_inference.scheduling.drafts import Verified
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal
from roost_inference.speculation.hidden.following import Followed, Following

# Features wait until there are so many rows of a sequence, or until it is to be guessed: rows cost
# less together.
WAITING_ROWS_MAX = 64


class Taps(Protocol):
    """The hidden states of the target's last decode."""

    def switch(self, *, on: bool) -> None:
        """Let decodes keep hidden states from now on, or no more."""
        ...

    def features(self, rows: Rows) -> Features | None:
        """[rows, width] features of these rows of the last decode; None if it kept none."""
        ...


class BlockNetwork(Protocol):
    """A network that guesses a block of tokens; see llama.drafting.DraftContext."""

    mask: int
    cells: int
    sequences: int
    outputs: int

    def inject(self, ids: Tokens, positions: Tokens, features: Features) -> None:
        """Append keys and values of tokens with these features."""
        ...

    def compute(self, ids: Tokens, positions: Tokens, tokens: Tokens) -> None:
        """Compute these rows, all with logits."""
        ...

    def logits(self, row: int) -> Logits:
        """A view of a row's logits."""
        ...

    def share(self, source: int, target: int, end: int) -> None:
        """Give an empty sequence the positions of another before `end`, in shared cells."""
        ...

    def remove(self, sequence: int, start: int) -> None:
        """Remove positions from `start` on."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


@dataclass(frozen=True, slots=True)
class HiddenCosts:
    """What the drafter costs: a block by its rows, to give features to the network (each time, and
    each row), and to keep them in a step of the target."""

    block: StepCost
    inject_ms: float = 0.0
    inject_row_ms: float = 0.0
    tap_ms: float = 0.0


class HiddenDrafter:
    """Implements ObservingDrafter. Owns its network.

    Tokens whose KV was found in a cache have no hidden states, so the network begins behind them,
    unless a sequence that began alike was followed. That weakens its guesses and nothing else.
    """

    name = "hidden"

    def __init__(
        self,
        network: BlockNetwork,
        taps: Taps,
        costs: HiddenCosts,
        *,
        depth_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """depth_max: guesses of one block at most; clock: see Engine's step_clock."""
        self._network = network
        self._taps = taps
        self._costs = costs
        self._depth_max = depth_max
        self._clock = clock
        self._following = Following(network.sequences, network.cells)
        self._is_closed = False
        taps.switch(on=True)

    def prior(self, slot: int) -> float:
        """As published drafters do; small ones learn soon that they do worse."""
        return 0.6 * 0.9**slot

    def cost_ms(self, sequences: int, depth: int) -> float:
        """A block for each sequence, and what following them costs."""
        if depth > self._depth_max:
            return math.inf
        rows, costs = sequences * (depth + 1), self._costs
        injecting = costs.inject_ms + rows * costs.inject_row_ms
        return costs.block.busy_ms(rows, outputs=rows) + injecting + costs.tap_ms

    def observe(self, verified: Many[Verified]) -> None:
        """See ObservingDrafter. The features are copied; the network reads them later."""
        if not verified:
            return
        first = verified[0].rows
        rows = first if len(verified) == 1 else [row for one in verified for row in one.rows]
        features = self._taps.features(np.asarray(rows, np.intp))
        if features is None:
            return
        at, full = 0, []
        for one in verified:
            count = len(one.rows)
            held = self._following.follow(one.sequence)
            if held is not None:
                removed = held.add(one.start, features[at : at + count])
                self._following.remove(held, removed)
                if held.waiting >= WAITING_ROWS_MAX:
                    full.append(held)
            at += count
        if full:
            self._inject(full)

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """The likeliest token of each place of a block. Raises EngineFailed."""
        depth = min(depth, self._depth_max)
        places = [at for at, sequence in enumerate(sequences) if self._is_known(sequence)]
        places = places[: self._network.outputs // (depth + 1)]
        proposals: list[Proposal | None] = [None] * len(sequences)
        if not places or depth < 1:
            return proposals
        held = [one for at in places if (one := self._following.get(sequences[at])) is not None]
        rows = len(places) * (depth + 1)
        waiting = sum(one.waiting for one in held)
        if not self._following.make_room(waiting + rows):
            return proposals
        self._inject([one for one in held if one.pending])
        started = self._clock()
        tokens: Tokens = np.full((len(places), depth + 1), self._network.mask, np.int32)
        tokens[:, 0] = [sequences[at].tokens.last for at in places]
        starts = np.array([one.end for one in held], np.int32)
        positions: Tokens = np.add.outer(starts, np.arange(depth + 1)).astype(np.int32)
        ids: Tokens = np.repeat(np.array([one.sequence_id for one in held], np.int32), depth + 1)
        try:
            self._network.compute(ids, positions.reshape(-1), tokens.reshape(-1))
            for number, at in enumerate(places):
                first, sampler = number * (depth + 1) + 1, sequences[at].sampler
                proposals[at] = Proposal(
                    [sampler.guess(self._network.logits(first + n), n) for n in range(depth)]
                )
        finally:
            for one in held:
                self._network.remove(one.sequence_id, one.end)
        elapsed_ms = (self._clock() - started) * 1000
        self._costs.block.observe(rows, 0.0, elapsed_ms, outputs=rows)
        return proposals

    def _is_known(self, sequence: Sequence) -> bool:
        """Whether the features came of tokens up to the one before the last."""
        held = self._following.get(sequence)
        return held is not None and held.end == len(sequence.tokens) - 1

    def _inject(self, held: list[Followed]) -> None:
        """Give the network what waits; where it has no room, the features are dropped."""
        if not self._following.make_room(sum(one.waiting for one in held)):
            for one in held:
                one.lose()
            held = []
        for change in self._following.changes:
            if change.source is None:
                self._network.remove(change.sequence_id, change.at)
            else:
                self._network.share(change.source, change.sequence_id, change.at)
        self._following.changes.clear()
        if not held:
            return
        taken = [one.take() for one in held]
        ids = np.repeat(
            np.array([one.sequence_id for one in held], np.int32),
            [len(positions) for positions, _ in taken],
        )
        self._network.inject(
            ids,
            np.concatenate([positions for positions, _ in taken]),
            np.concatenate([features for _, features in taken]),
        )

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        """Keep what is known of a sequence that has ended for one that begins like it, as long as
        there is room."""
        self._following.end(sequence)

    def rest(self) -> None:
        """See ObservingDrafter."""
        self._taps.switch(on=False)
        self._following.clear()

    def wake(self) -> None:
        """See ObservingDrafter."""
        self._taps.switch(on=True)

    def close(self) -> None:
        """Close the network; safe to call twice."""
        if not self._is_closed:
            self._is_closed = True
            self._taps.switch(on=False)
            self._following.clear()
            self._network.close()
