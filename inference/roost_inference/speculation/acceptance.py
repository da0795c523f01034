"""How likely a drafter's tokens are accepted, learned from every guess, verified or not."""

from collections.abc import Callable
from dataclasses import dataclass, field

from roost_inference.speculation.drafter import SLOTS, Proposal

# Weight of the newest outcome in a drafter's rate for a slot, once there are many; at first the
# prior counts as PRIOR_OUTCOMES of them.
SMOOTHING = 0.03
PRIOR_OUTCOMES = 6
# Outcomes of one sequence that a slot's rate learns from. The rate is for a sequence of which
# nothing is known yet; a single long copy would teach it that every chance match goes on.
LESSONS_MAX = 2
# The drafter's rate counts as much as this many outcomes of the sequence itself.
PRIOR_WEIGHT = 3.0
# What a sequence's outcomes keep of their weight with each newer one.
DECAY = 0.9
# A token with less chance than this is never worth a row, nor is any after it.
SURVIVAL_MIN = 0.03


@dataclass(slots=True)
class History:
    """One drafter's luck with one sequence: recent outcomes, how many each slot's rate learned
    from, and the proposal awaiting its own."""

    accepted: float = 0.0
    tried: float = 0.0
    lessons: bytearray = field(default_factory=lambda: bytearray(SLOTS))
    proposal: Proposal | None = None
    at: int = 0


@dataclass(slots=True)
class Acceptance:
    """Rates of one drafter, by slot."""

    prior: Callable[[int], float]
    rates: list[float] = field(init=False)
    _outcomes: list[int] = field(default_factory=lambda: [PRIOR_OUTCOMES] * SLOTS)

    def __post_init__(self) -> None:
        self.rates = [self.prior(slot) for slot in range(SLOTS)]

    def learn(self, history: History, generated: list[int]) -> None:
        """Compare the last proposal with what really came, `generated` from its place on. This
        works for tokens that were never verified too, so a drafter that is not used keeps being
        judged at no cost."""
        proposal = history.proposal
        if proposal is None:
            return
        history.proposal = None
        for place, (guess, token) in enumerate(zip(proposal.tokens, generated, strict=False)):
            slot = min(proposal.slot + place, SLOTS - 1)
            outcome = 1.0 if guess == token else 0.0
            if history.lessons[slot] < LESSONS_MAX:
                history.lessons[slot] += 1
                self._outcomes[slot] += 1
                weight = max(SMOOTHING, 1.0 / self._outcomes[slot])
                self.rates[slot] += weight * (outcome - self.rates[slot])
            history.accepted = DECAY * history.accepted + outcome
            history.tried = DECAY * history.tried + 1.0
            if not outcome:
                break

    def survivals(self, proposal: Proposal, history: History) -> list[float]:
        """For each token the chance that it and all before it are accepted, as far as that is
        at least SURVIVAL_MIN."""
        chances: list[float] = []
        chance, before = 1.0, 0.0
        weight = PRIOR_WEIGHT + history.tried
        for place in range(len(proposal.tokens)):
            slot = min(proposal.slot + place, SLOTS - 1)
            rate = self.rates[slot]
            if self._outcomes[slot] == PRIOR_OUTCOMES:  # never seen: no worse than the one before
                rate = max(rate, before)
            before = rate
            chance *= (PRIOR_WEIGHT * rate + history.accepted) / weight
            if chance < SURVIVAL_MIN:
                break
            chances.append(chance)
        return chances
