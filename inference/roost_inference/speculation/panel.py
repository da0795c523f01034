"""The drafters of an engine, and the chances of what they propose, learned from earlier guesses."""

import logging
import math
from collections.abc import Sequence as Many
from dataclasses import dataclass

from roost_inference.scheduling.drafts import Verified
from roost_inference.sequence import Sequence
from roost_inference.speculation.acceptance import Acceptance, History
from roost_inference.speculation.drafter import Drafter, ObservingDrafter, Proposal
from roost_inference.speculation.rest import Rest

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
        """How many of the tokens should be accepted."""
        return sum(self.survivals)


class DrafterPanel:
    """The `free` drafters propose in every step, the `costly` ones where that should pay. Used by
    the engine thread."""

    def __init__(self, drafters: Many[Drafter], *, depth_max: int, vocabulary_size: int) -> None:
        self.depth_max = depth_max
        self._vocabulary_size = vocabulary_size
        self._drafters = list(drafters)
        self._acceptance = {d.name: Acceptance(d.prior) for d in drafters}
        self._histories: dict[tuple[str, str], History] = {}
        self.free = [drafter for drafter in drafters if drafter.cost_ms(1, 1) == 0.0]
        self.costly = [drafter for drafter in drafters if drafter.cost_ms(1, 1) > 0.0]
        self._rests = {d.name: Rest(d) for d in drafters if isinstance(d, ObservingDrafter)}

    def __len__(self) -> int:
        return len(self._drafters)

    def best(self, candidates: Many[Candidate]) -> list[Option | None]:
        """The best that the free drafters propose for each sequence."""
        best: list[Option | None] = [None] * len(candidates)
        for drafter in tuple(self.free):
            for at, option in enumerate(self.propose(drafter, candidates, self.depth_max)):
                present = best[at]
                if option and (present is None or option.expected > present.expected):
                    best[at] = option
        return best

    def propose(
        self, drafter: Drafter, candidates: Many[Candidate], depth: int
    ) -> list[Option | None]:
        """The drafter's proposals with their chances. A drafter that raises, or answers with
        anything but a proposal or None for each sequence, is dropped: nobody needs its guesses."""
        if drafter not in self._drafters:
            return [None] * len(candidates)
        sequences = [candidate.sequence for candidate in candidates]
        histories = [self._history(drafter, sequence) for sequence in sequences]
        try:
            answer = drafter.propose(sequences, depth)
            if len(answer) != len(sequences):
                raise ValueError(f"{len(answer)} proposals for {len(sequences)} sequences")
            proposals = [
                self._usable(sequence, proposal)
                for sequence, proposal in zip(sequences, answer, strict=True)
            ]
            acceptance = self._acceptance[drafter.name]
            return [
                self._option(drafter, acceptance, *judged)
                for judged in zip(candidates, histories, proposals, strict=True)
            ]
        except Exception:
            self._drop(drafter)
            return [None] * len(candidates)

    def _option(
        self,
        drafter: Drafter,
        acceptance: Acceptance,
        candidate: Candidate,
        history: History,
        proposal: Proposal | None,
    ) -> Option | None:
        """The proposal with its chances, None if no token of it is worth a row. The history learns
        from it later, whether it is verified or not."""
        history.proposal, history.at = proposal, len(candidate.sequence.tokens)
        if proposal is None:
            return None
        survivals = acceptance.survivals(proposal, history)
        del survivals[min(candidate.limit, _until_end(candidate, proposal)) :]
        return Option(drafter.name, proposal.tokens, survivals) if survivals else None

    def expected(self, drafter: Drafter, candidate: Candidate) -> list[float]:
        """The chances of the drafter's tokens for the sequence, before it proposes any."""
        history = self._history(drafter, candidate.sequence)
        longest = Proposal(range(self.depth_max))
        return self._acceptance[drafter.name].survivals(longest, history)[: candidate.limit]

    def cost_ms(self, drafter: Drafter, sequences: int, depth: int) -> float:
        """What the drafter expects `propose` to take; infinity for one that can't say."""
        try:
            return float(drafter.cost_ms(sequences, depth))
        except Exception:
            self._drop(drafter)
            return math.inf

    @property
    def observes(self) -> bool:
        """Whether a drafter follows the steps now."""
        return any(not rest.is_resting for rest in self._rests.values())

    def observe(self, verified: Many[Verified]) -> None:
        """Tell the drafters that follow the steps of these tokens."""
        for drafter in tuple(self._drafters):
            rest = self._rests.get(drafter.name)
            if rest is not None and not rest.is_resting and isinstance(drafter, ObservingDrafter):
                try:
                    drafter.observe(verified)
                except Exception:
                    self._drop(drafter)

    def rest_of(self, drafter: Drafter) -> Rest | None:
        """When the drafter rests; None for one that never does."""
        return self._rests.get(drafter.name)

    def note_use(self, drafter: Drafter, *, used: bool) -> None:
        """Answers were computed with guesses of this drafter, or without; it may rest or wake."""
        rest = self._rests.get(drafter.name)
        if rest is not None:
            try:
                rest.note(used=used)
            except Exception:
                self._drop(drafter)

    def end(self, sequence: Sequence, *, finished: bool) -> None:
        """The sequence is gone; `finished` as for Drafter.forget."""
        for drafter in tuple(self._drafters):
            self._histories.pop((drafter.name, sequence.id), None)
            rest = self._rests.get(drafter.name)
            try:
                drafter.forget(sequence, finished=finished)
                if rest is not None:
                    rest.note_end()
            except Exception:
                self._drop(drafter)

    @property
    def kept(self) -> set[str]:
        """The ids of the sequences of which something is kept."""
        return {sequence for _, sequence in self._histories}

    def close(self) -> None:
        """Close every drafter."""
        for drafter in self._drafters:
            _close(drafter)

    def _drop(self, drafter: Drafter) -> None:
        """Use a drafter no more, because of the exception that is being handled."""
        log.exception("the drafter %s failed and is not used any more", drafter.name)
        for drafters in (self._drafters, self.free, self.costly):
            if drafter in drafters:
                drafters.remove(drafter)
        self._rests.pop(drafter.name, None)
        for key in [key for key in self._histories if key[0] == drafter.name]:
            del self._histories[key]
        _close(drafter)

    def _history(self, drafter: Drafter, sequence: Sequence) -> History:
        """The drafter's history with the sequence, after it has learned from the last proposal."""
        key = (drafter.name, sequence.id)
        history = self._histories.get(key)
        if history is None:
            history = self._histories[key] = History()
        elif history.proposal is not None:
            generated = sequence.tokens.view[history.at :].tolist()
            self._acceptance[drafter.name].learn(history, generated)
        return history

    def _usable(self, sequence: Sequence, proposal: Proposal | None) -> Proposal | None:
        """The proposal up to the first token that can't be accepted, because the vocabulary does
        not have it or the grammar forbids it; None if nothing is left."""
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


def _close(drafter: Drafter) -> None:
    try:
        drafter.close()
    except Exception:
        log.exception("the drafter %s was not closed", drafter.name)


def _until_end(candidate: Candidate, proposal: Proposal) -> int:
    """How many tokens of the proposal can be accepted: none after one that ends the text."""
    sampler = candidate.sequence.sampler
    if sampler.ignore_end or sampler.end_tokens.isdisjoint(proposal.tokens):
        return candidate.limit
    tokens = proposal.tokens
    return 1 + next(at for at, token in enumerate(tokens) if token in sampler.end_tokens)
