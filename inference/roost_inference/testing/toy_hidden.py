"""For tests: hidden states of the toy backend, and a network that guesses by them."""

from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import numpy as np

from roost_inference.backend import DecodeStatus, Features, Logits, Payload, Rows
from roost_inference.batch import Batch, Tokens
from roost_inference.scheduling.cost import StepCost
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Proposal
from roost_inference.speculation.hidden.drafter import HiddenDrafter
from roost_inference.speculation.hidden.feature_drafter import HiddenCosts
from roost_inference.testing.toy import SIZE, ToyBackend, next_token

MASK = 0


class TappedToy(ToyBackend):
    """A toy backend whose decodes keep hidden states: of each row its token and its position."""

    is_tapped = False
    kept: Features | None = None
    tapped_decodes = 0

    def switch(self, *, on: bool) -> None:
        """See Taps."""
        self.is_tapped = on

    def features(self, rows: Rows) -> Features | None:
        """See Taps."""
        return None if self.kept is None else self.kept[rows]

    def decode(self, batch: Batch) -> DecodeStatus:
        """See ToyBackend."""
        status = super().decode(batch)
        self.kept = None
        if self.is_tapped and status is DecodeStatus.DONE:
            self.tapped_decodes += 1
            both = [batch.tokens[: batch.size], batch.positions[: batch.size]]
            self.kept = np.stack(both, 1).astype(np.float32)
        return status


@dataclass(slots=True)
class HeldText:
    """The tokens that a network holds of a sequence, from a position on."""

    begin: int = 0
    tokens: list[int] = field(default_factory=list)

    @property
    def end(self) -> int:
        """One past the last position."""
        return self.begin + len(self.tokens)


class ToyNetwork:
    """Guesses right where it knows all tokens before, and nonsense otherwise or if it `lies`. It
    raises AssertionError where the real one would compute with a wrong cache."""

    mask = MASK
    can_export = True

    def __init__(
        self, *, cells: int = 600, sequences: int = 16, outputs: int = 64, lies: bool = False
    ) -> None:
        self.cells, self.sequences, self.outputs = cells, sequences, outputs
        self.lies = lies
        self.held = [HeldText() for _ in range(sequences)]
        self.blocks: list[int] = []
        self.is_closed = False
        self._guesses: list[int] = []

    def inject(self, ids: Tokens, positions: Tokens, features: Features) -> None:
        """See BlockNetwork."""
        for number, position, (token, told) in zip(
            ids.tolist(), positions.tolist(), features.tolist(), strict=True
        ):
            held = self.held[number]
            assert position == told, "features of another position"
            if not held.tokens:
                held.begin = position
            assert position == held.end, "a hole or a repeat"
            held.tokens.append(int(token))
        self._check_room(0)

    def compute(self, ids: Tokens, positions: Tokens, tokens: Tokens) -> None:
        """See BlockNetwork."""
        self._check_room(len(ids))
        assert len(ids) <= self.outputs
        self.blocks.append(len(ids))
        self._guesses = []
        text: list[int] = []
        before = -1
        for number, position, token in zip(
            ids.tolist(), positions.tolist(), tokens.tolist(), strict=True
        ):
            held = self.held[number]
            if number != before:
                assert position == held.end or not held.tokens, "a block elsewhere than at the end"
                is_whole = len(held.tokens) == position and not self.lies
                text = [*held.tokens, token] if is_whole else []
                self._guesses.append(-1)
            else:
                assert token == MASK
                self._guesses.append(next_token(text) if text else 255)
                text = [*text, self._guesses[-1]] if text else []
            before = number

    def _check_room(self, more: int) -> None:
        assert sum(len(held.tokens) for held in self.held) + more <= self.cells, "no cells are left"

    def logits(self, row: int) -> Logits:
        """See BlockNetwork."""
        logits = np.zeros(SIZE, np.float32)
        logits[self._guesses[row]] = 1.0
        return logits

    def share(self, source: int, target: int, end: int) -> None:
        """See BlockNetwork."""
        held, other = self.held[target], self.held[source]
        assert not held.tokens and other.begin < end <= other.end
        held.begin, held.tokens = other.begin, other.tokens[: end - other.begin]

    def remove(self, sequence: int, start: int) -> None:
        """See BlockNetwork."""
        held = self.held[sequence]
        del held.tokens[max(start - held.begin, 0) :]

    def export(self, sequence: int, start: int, end: int) -> Payload:
        """See FeatureNetwork."""
        held = self.held[sequence]
        assert held.begin <= start < end <= held.end
        tokens = held.tokens[start - held.begin : end - held.begin]
        return np.array([start, *tokens], np.int32).view(np.uint8)

    def attach(self, sequence: int, payload: Payload) -> int:
        """See FeatureNetwork."""
        held, (start, *tokens) = self.held[sequence], payload.view(np.int32).tolist()
        if held.end != start:
            return 0
        held.tokens += tokens
        self._check_room(0)
        return held.end

    def close(self) -> None:
        """See BlockNetwork."""
        assert not self.is_closed
        self.is_closed = True


class CheckedDrafter(HiddenDrafter):
    """Compares what its network holds with the texts, each time it guesses."""

    network: ToyNetwork

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """See Drafter."""
        proposals = super().propose(sequences, depth)
        for sequence, proposal in zip(sequences, proposals, strict=True):
            if proposal is None:
                continue
            followed = self._following.get(sequence)
            assert followed is not None
            held = self.network.held[followed.sequence_id]
            assert held.end == len(sequence.tokens) - 1, "not all that was computed is held"
            text = sequence.tokens.view[held.begin : held.end].tolist()
            assert text == held.tokens, "the network holds another text"
        return proposals


def toy_hidden(
    backend: TappedToy, network: ToyNetwork | None = None, *, costs: HiddenCosts | None = None
) -> CheckedDrafter:
    """A drafter over both, at next to no cost unless `costs` says otherwise."""
    network = network or ToyNetwork()
    costs = costs or HiddenCosts(StepCost(), tap_ms=1e-6)
    cheap = costs.tap_ms == 1e-6
    drafter = CheckedDrafter(network, backend, costs, depth_max=8)
    drafter.network = network
    if cheap:
        drafter.cost_ms = lambda sequences, depth: 1e-3  # type: ignore[method-assign]
    return drafter
