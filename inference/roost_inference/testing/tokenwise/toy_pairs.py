"""For tests: a network that guesses token by token from the toy backend's hidden states."""

from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from roost_inference.backend import Features, Logits, Payload
from roost_inference.batch import Tokens
from roost_inference.scheduling.cost import StepCost
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal
from roost_inference.speculation.hidden.feature_drafter import HiddenCosts
from roost_inference.speculation.hidden.tokenwise import TokenwiseDrafter
from roost_inference.testing.toy import SIZE, next_token
from roost_inference.testing.toy_hidden import TappedToy


@dataclass(slots=True)
class HeldPairs:
    """The cells of a sequence from a position on: the token there that its features tell of, -1
    where they are those of another position, and the token behind it."""

    begin: int = 0
    pairs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def end(self) -> int:
        """One past the last position."""
        return self.begin + len(self.pairs)

    def text(self) -> list[int]:
        """All tokens up to the newest one; empty where one is not known."""
        tokens = [token for token, _ in self.pairs]
        is_whole = self.begin == 0 and -1 not in tokens
        return [*tokens, self.pairs[-1][1]] if is_whole and tokens else []


class ToyPairs:
    """Guesses right where it knows all tokens before, and nonsense otherwise or if it `lies`. It
    raises AssertionError where the real one would compute with a wrong cache."""

    can_export = True

    def __init__(
        self,
        *,
        cells: int = 600,
        sequences: int = 16,
        outputs: int = 64,
        rows: int = 64,
        lies: bool = False,
    ) -> None:
        self.cells, self.sequences, self.outputs, self.rows = cells, sequences, outputs, rows
        self.lies = lies
        self.held = [HeldPairs() for _ in range(sequences)]
        self.batches: list[int] = []
        self.is_closed = False
        self._guesses: list[int] = []
        # By the number that stands for a state: the text before its token.
        self._texts: list[list[int]] = []

    def append(self, ids: Tokens, positions: Tokens, tokens: Tokens, features: Features) -> None:
        """See PairNetwork."""
        self._begin(len(ids))
        for id, position, token, (before, told) in zip(
            ids.tolist(), positions.tolist(), tokens.tolist(), features.tolist(), strict=True
        ):
            assert told in (position, position + 1), "features of another position"
            self._add(id, position, (int(before) if told == position else -1, token))
        self._guesses, self._texts = self._guesses[-self.rows :], self._texts[-self.rows :]

    def go_on(self, ids: Tokens, positions: Tokens, tokens: Tokens, states: Features) -> None:
        """See PairNetwork."""
        texts = [self._texts[int(number)] for number in states[:, 0]]
        assert len(ids) <= self.rows
        self._begin(len(ids))
        for id, position, token, text in zip(
            ids.tolist(), positions.tolist(), tokens.tolist(), texts, strict=True
        ):
            held = self.held[id]
            assert text == held.text(), "the state of another row"
            self._add(id, position, (held.pairs[-1][1] if text else -1, token))

    def _begin(self, rows: int) -> None:
        self.batches.append(rows)
        self._guesses, self._texts = [], []
        used = sum(len(held.pairs) for held in self.held)
        assert used + rows <= self.cells, "no cells are left"

    def _add(self, id: int, position: int, pair: tuple[int, int]) -> None:
        held = self.held[id]
        if not held.pairs:
            held.begin = position
        assert position == held.end, "a hole or a repeat"
        held.pairs.append(pair)
        text = held.text()
        self._guesses.append(next_token(text) if text and not self.lies else 255)
        self._texts.append(text)

    def states(self, count: int) -> Features:
        """See PairNetwork."""
        assert count <= len(self._texts)
        return np.arange(count, dtype=np.float32)[:, None]

    def logits(self, row: int) -> Logits:
        """See FeatureNetwork."""
        logits = np.zeros(SIZE, np.float32)
        logits[self._guesses[row]] = 1.0
        return logits

    def share(self, source: int, target: int, end: int) -> None:
        """See FeatureNetwork."""
        held, other = self.held[target], self.held[source]
        assert not held.pairs and other.begin < end <= other.end
        held.begin, held.pairs = other.begin, other.pairs[: end - other.begin]

    def remove(self, sequence: int, start: int) -> None:
        """See FeatureNetwork."""
        held = self.held[sequence]
        del held.pairs[max(start - held.begin, 0) :]

    def export(self, sequence: int, start: int, end: int) -> Payload:
        """See FeatureNetwork."""
        held = self.held[sequence]
        assert held.begin <= start < end <= held.end
        pairs = held.pairs[start - held.begin : end - held.begin]
        return np.array([start, 0, *chain(*pairs)], np.int32).view(np.uint8)

    def attach(self, sequence: int, payload: Payload) -> int:
        """See FeatureNetwork."""
        held, (start, _, *flat) = self.held[sequence], payload.view(np.int32).tolist()
        if held.end != start:
            return 0
        held.pairs += zip(flat[::2], flat[1::2], strict=True)
        return held.end

    def close(self) -> None:
        """See FeatureNetwork."""
        assert not self.is_closed
        self.is_closed = True


class CheckedPairs(TokenwiseDrafter):
    """Compares what its network holds with the texts, each time it guesses."""

    network: ToyPairs

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """See Drafter."""
        proposals = super().propose(sequences, depth)
        for sequence, proposal in zip(sequences, proposals, strict=True):
            if proposal is None:
                continue
            followed = self._following.get(sequence)
            assert followed is not None and followed.waiting == 1
            held, text = self.network.held[followed.sequence_id], sequence.tokens.view
            assert not held.pairs or held.end == len(text) - 2, "not all that is known is held"
            for at, (token, behind) in enumerate(held.pairs, held.begin):
                assert token in (-1, text[at]) and behind == text[at + 1], "another text"
        return proposals


def toy_pairs(backend: TappedToy, network: ToyPairs | None = None) -> CheckedPairs:
    """A drafter over both, at next to no cost."""
    network = network or ToyPairs()
    drafter = CheckedPairs(network, backend, HiddenCosts(StepCost()), depth_max=8)
    drafter.network = network
    drafter.cost_ms = lambda sequences, depth: 1e-3  # type: ignore[method-assign]
    return drafter
