"""Drafts token by token with a small network that reads the target's hidden states: EAGLE-3.

Its cell at a position is made of the features of the token there and of the token behind it. The
features of the last token but one and the last token give the first guess; each guess and the state
that its row left give the next one.
"""

from collections.abc import Sequence as Many
from typing import Protocol

import numpy as np

from roost_inference.backend import Features
from roost_inference.batch import Tokens
from roost_inference.output.sampler import Sampler
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal
from roost_inference.speculation.hidden.feature_drafter import FeatureDrafter, FeatureNetwork
from roost_inference.speculation.hidden.following import Text

Pairs = tuple[Tokens, Tokens, Tokens, Features]

# Guesses of one proposal at most. Published networks are trained for fewer.
DEPTH_MAX = 8


class PairNetwork(FeatureNetwork, Protocol):
    """A network whose rows are a token and the state before it; see llama.drafting.PairContext."""

    rows: int

    def append(self, ids: Tokens, positions: Tokens, tokens: Tokens, features: Features) -> None:
        """Compute rows of tokens, each with the features of the token before it."""
        ...

    def go_on(self, ids: Tokens, positions: Tokens, tokens: Tokens, states: Features) -> None:
        """Compute rows of tokens, each with the state that the row before it left."""
        ...

    def states(self, count: int) -> Features:
        """[count, width] what the first rows of the last batch left, a copy."""
        ...


class TokenwiseDrafter(FeatureDrafter[PairNetwork]):
    """A FeatureDrafter that guesses one token after the other, for all sequences at once.

    The row of the newest features waits: the token behind it may not be known yet, and its cell is
    made anew for each proposal.
    """

    ahead = 1

    def cost_ms(self, sequences: int, depth: int) -> float:
        """A row for each sequence and guess, and what following them costs."""
        if depth > self._depth_max:
            return float("inf")
        costs = self._costs
        injecting = costs.inject_ms + sequences * (depth + 1) * costs.inject_row_ms
        steps = (depth - 1) * costs.block.busy_ms(sequences, outputs=sequences)
        return steps + injecting + costs.tap_ms

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """See Drafter. Raises EngineFailed."""
        depth = min(depth, self._depth_max)
        proposals: list[Proposal | None] = [None] * len(sequences)
        texts, places = list[Text](), list[int]()
        for at, sequence in enumerate(sequences):
            text = self._following.text(sequence)
            if text and text.held.waiting and text.held.end == len(sequence.tokens) - 1:
                texts.append(text)
                places.append(at)
        limit = min(self._network.rows, self._network.outputs)
        texts, places = texts[:limit], places[:limit]
        if not texts or depth < 1:
            return proposals
        self._restore(texts)
        waiting = sum(text.held.waiting for text in texts)
        if not self._following.make_room(waiting + len(texts) * (depth - 1)):
            return proposals
        self._apply_changes()
        try:
            samplers = [sequences[at].sampler for at in places]
            guesses = self._guesses(texts, samplers, depth)
        finally:
            for text in texts:
                self._network.remove(text.held.sequence_id, text.held.given)
        for at, tokens in zip(places, guesses, strict=True):
            proposals[at] = Proposal(tokens)
        return proposals

    def _guesses(self, texts: list[Text], samplers: list[Sampler], depth: int) -> list[list[int]]:
        """For each sequence its guesses."""
        rows = self._seed(texts)
        guesses: list[list[int]] = [[] for _ in texts]
        ids = np.array([text.held.sequence_id for text in texts], np.int32)
        ends = np.array([text.held.end for text in texts], np.int32)
        states = self._network.states(rows[-1] + 1)[rows]
        for ahead in range(depth):
            for own, sampler, row in zip(guesses, samplers, rows, strict=True):
                own.append(sampler.guess(self._network.logits(row), ahead))
            if ahead + 1 == depth:
                break
            started = self._clock()
            tokens = np.array([own[-1] for own in guesses], np.int32)
            self._network.go_on(ids, ends + ahead, tokens, states)
            rows = list(range(len(texts)))
            states = self._network.states(len(texts))
            elapsed_ms = (self._clock() - started) * 1000
            self._costs.block.observe(len(texts), 0.0, elapsed_ms, outputs=len(texts))
        return guesses

    def _seed(self, texts: list[Text]) -> list[int]:
        """Compute what waits; gives the rows of the newest features, in ascending order."""
        together = sum(text.held.waiting for text in texts) <= self._network.rows
        before = [self._taken(text) for text in texts if text.held.waiting > 1]
        last = [self._pairs(text, text.held.given, text.held.rows()) for text in texts]
        if before and not together:
            self._append(before)
            before = []
        self._append([*before, *last])
        first = sum(len(pairs[0]) for pairs in before)
        return list(range(first, first + len(last)))

    def _give(self, texts: list[Text]) -> None:
        self._append([self._taken(text) for text in texts if text.held.waiting > 1])

    def _taken(self, text: Text) -> Pairs:
        """The rows that wait but for the newest one, which are in the KV from now on."""
        start, (_, features) = text.held.given, text.held.take(but=1)
        return self._pairs(text, start, features)

    def _pairs(self, text: Text, start: int, rows: Features) -> Pairs:
        """Rows from a position on: ids, positions, tokens and features."""
        positions = np.arange(start, start + len(rows), dtype=np.int32)
        tokens = text.tokens[start + 1 : start + 1 + len(rows)]
        return np.full(len(rows), text.held.sequence_id, np.int32), positions, tokens, rows

    def _append(self, pairs: list[Pairs]) -> None:
        if pairs:
            ids, positions, tokens, features = (
                np.concatenate([each[column] for each in pairs]) for column in range(4)
            )
            self._network.append(ids, positions, tokens, features)
