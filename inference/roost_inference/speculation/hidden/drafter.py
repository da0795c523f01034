"""Drafts with a small network that reads the target's hidden states, as DFlash does.

To guess, it computes one block for each sequence: the last token, whose hidden states nobody has
yet, and masks in the place of the tokens that may follow.
"""

import math
from collections.abc import Sequence as Many
from typing import Protocol

import numpy as np

from roost_inference.backend import Features
from roost_inference.batch import Tokens
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal
from roost_inference.speculation.hidden.feature_drafter import FeatureDrafter, FeatureNetwork
from roost_inference.speculation.hidden.following import Text


class BlockNetwork(FeatureNetwork, Protocol):
    """A network that guesses a block of tokens; see llama.drafting.DraftContext."""

    mask: int

    def inject(self, ids: Tokens, positions: Tokens, features: Features) -> None:
        """Append keys and values of tokens with these features."""
        ...

    def compute(self, ids: Tokens, positions: Tokens, tokens: Tokens) -> None:
        """Compute these rows, all with logits."""
        ...


class HiddenDrafter(FeatureDrafter[BlockNetwork]):
    """A FeatureDrafter that guesses a block at once."""

    def cost_ms(self, sequences: int, depth: int) -> float:
        """A block for each sequence, and what following them costs."""
        if depth > self._depth_max:
            return math.inf
        rows, costs = sequences * (depth + 1), self._costs
        injecting = costs.inject_ms + rows * costs.inject_row_ms
        return costs.block.busy_ms(rows, outputs=rows) + injecting + costs.tap_ms

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """The likeliest token of each place of a block. Raises EngineFailed."""
        depth = min(depth, self._depth_max)
        places = [at for at, sequence in enumerate(sequences) if self._is_known(sequence)]
        places = places[: self._network.outputs // (depth + 1)]
        proposals: list[Proposal | None] = [None] * len(sequences)
        if not places or depth < 1:
            return proposals
        texts = [text for at in places if (text := self._following.text(sequences[at]))]
        rows = len(places) * (depth + 1)
        self._restore(texts)
        if not self._following.make_room(sum(text.held.waiting for text in texts) + rows):
            return proposals
        self._inject([text for text in texts if text.held.pending])
        held = [text.held for text in texts]
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

    def _give(self, texts: list[Text]) -> None:
        taken = [text.held.take() for text in texts]
        ids = np.repeat(
            np.array([text.held.sequence_id for text in texts], np.int32),
            [len(positions) for positions, _ in taken],
        )
        self._network.inject(
            ids,
            np.concatenate([positions for positions, _ in taken]),
            np.concatenate([features for _, features in taken]),
        )
