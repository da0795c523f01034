"""The drafters of an engine: asked together, their guesses judged by what came of earlier ones."""

import logging
from collections.abc import Sequence as Many
from dataclasses import dataclass

from roost_inference.sequence import Sequence
from roost_inference.speculation.acceptance import Acceptance, History
from roost_inference.speculation.drafter import Drafter, Proposal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sequence that may speculate in this step, by at most `limit` tokens."""

    sequence: Sequence
    limit: int


@dataclass(frozen=True, slots=True)
class Option:
    """A usable proposal, and the falling chances that its first, second, … token is accepted."""

    drafter: str
    tokens: Many[int]
    survivals: list[float]

    @property
    def expected(self) -> float:
        return sum(self.survivals)


class Panel:
    """Used by the engine thread. `free` are asked in every step, `costly` where it should pay."""

    def __init__(self, drafters: Many[Drafter], *, depth_max: int, vocabulary_size: int) -> None:
        self.depth_max = depth_max
        self._vocabulary_size = vocabulary_size
        self._drafters = list(drafters)
        self._acceptance = {d.name: Acceptance(d.prior) for d in drafters}
        self._histories: dict[tuple[str, str], History] = {}
        self._sort()

    def __len__(self) -> int:
        return len(self._drafters)

    def best(self, candidates: Many[Candidate]) -> list[Option | None]:
        """The best that the free drafters propose for each sequence."""
        best: list[Option | None] = [None] * len(candidates)
        for drafter in self.free:
            for at, option in enumerate(self.ask(drafter, candidates, self.depth_max)):
                present = best[at]
                if option and (present is None or option.expected > present.expected):
                    best[at] = option
        return best

    def ask(self, drafter: Drafter, candidates: Many[Candidate], depth: int) -> list[Option | None]:
        """The drafter's proposals, judged. One that fails is dropped: guesses are not needed."""
        sequences = [candidate.sequence for candidate in candidates]
        histories = [self._history(drafter, sequence) for sequence in sequences]
        try:
            proposals = drafter.propose(sequences, depth)
        except Exception:
            log.exception("the drafter %s failed and is not used any more", drafter.name)
            self._drop(drafter)
            return [None] * len(candidates)
        acceptance = self._acceptance[drafter.name]
        options: list[Option | None] = []
        for candidate, history, proposal in zip(candidates, histories, proposals, strict=True):
            proposal = self._usable(candidate.sequence, proposal)
            history.proposal, history.at = proposal, len(candidate.sequence.tokens)
            survivals = acceptance.survivals(proposal, history) if proposal else []
            del survivals[min(candidate.limit, _until_end(candidate, proposal)) :]
            options.append(
                Option(drafter.name, proposal.tokens, survivals) if proposal and survivals else None
            )
        return options

    def expected(self, drafter: Drafter, candidate: Candidate) -> list[float]:
        """What may be expected of the drafter for the sequence before it is asked."""
        history = self._history(drafter, candidate.sequence)
        longest = Proposal(range(self.depth_max))
        return self._acceptance[drafter.name].survivals(longest, history)[: candidate.limit]

    def end(self, sequence: Sequence, *, finished: bool) -> None:
        """The sequence is gone; `finished` as for Drafter.forget."""
        for drafter in self._drafters:
            self._histories.pop((drafter.name, sequence.id), None)
            drafter.forget(sequence, finished=finished)

    @property
    def kept(self) -> set[str]:
        """The sequences of which something is kept."""
        return {sequence for _, sequence in self._histories}

    def close(self) -> None:
        for drafter in self._drafters:
            drafter.close()

    def _sort(self) -> None:
        self.free = [drafter for drafter in self._drafters if drafter.cost_ms(1, 1) == 0.0]
        self.costly = [drafter for drafter in self._drafters if drafter.cost_ms(1, 1) > 0.0]

    def _drop(self, drafter: Drafter) -> None:
        self._drafters.remove(drafter)
        self._sort()
        for key in [key for key in self._histories if key[0] == drafter.name]:
            del self._histories[key]
        drafter.close()

    def _history(self, drafter: Drafter, sequence: Sequence) -> History:
        """The drafter's history with the sequence, its last proposal judged."""
        key = (drafter.name, sequence.id)
        history = self._histories.get(key)
        if history is None:
            history = self._histories[key] = History()
        elif history.proposal is not None:
            generated = sequence.tokens.view[history.at :].tolist()
            self._acceptance[drafter.name].learn(history, generated)
        return history

    def _usable(self, sequence: Sequence, proposal: Proposal | None) -> Proposal | None:
        """The proposal without what can't be accepted: unknown tokens, and what the grammar
        forbids."""
        if proposal is None or not proposal.tokens:
            return None
        tokens, size = proposal.tokens, self._vocabulary_size
        if not 0 <= min(tokens) <= max(tokens) < size:
            known = next(at for at, token in enumerate(tokens) if not 0 <= token < size)
            tokens = tokens[:known]
        grammar = sequence.sampler.grammar
        if grammar is not None and tokens:
            tokens = tokens[: grammar.allowed_prefix(tokens)]
        return Proposal(tokens, proposal.slot) if tokens else None


def _until_end(candidate: Candidate, proposal: Proposal | None) -> int:
    """How many tokens of the proposal can be accepted: none after one that ends the text."""
    sampler = candidate.sequence.sampler
    if proposal is None or sampler.ignore_end or sampler.end_tokens.isdisjoint(proposal.tokens):
        return candidate.limit
    tokens = proposal.tokens
    return 1 + next(at for at, token in enumerate(tokens) if token in sampler.end_tokens)
