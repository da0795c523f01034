"""Learns how likely a drafter's tokens are accepted, from every guess, verified or not."""

from collections.abc import Callable
from dataclasses import dataclass, field

from roost_inference.speculation.drafter import SLOTS, Proposal

# Weight of the newest outcome in a drafter's rate for a slot, once there are many; at first the
# prior counts as PRIOR_OUTCOMES of them.
SMOOTHING = 0.03
PRIOR_OUTCOMES = 6
# How many outcomes of one sequence a common rate learns from: a single long copy would teach it
# that every short match goes on.
LESSONS_MAX = 2
# The rate of a slot counts as much as this many outcomes of whatever slot.
PRIOR_WEIGHT = 3.0
# What the outcomes of a sequence keep of their weight with each newer one.
DECAY = 0.9
# A token with less chance than this is never worth a row, nor is any after it.
SURVIVAL_MIN = 0.03


@dataclass(slots=True)
class Rates:
    """Acceptance by slot, and how many outcomes each is made of; the prior counts as some."""

    values: list[float]
    outcomes: list[int] = field(default_factory=lambda: [PRIOR_OUTCOMES] * SLOTS)

    def learn(self, slot: int, outcome: float) -> None:
        """Move the rate of a slot towards an outcome, 1 accepted or 0 not."""
        self.outcomes[slot] += 1
        weight = max(SMOOTHING, 1.0 / self.outcomes[slot])
        self.values[slot] += weight * (outcome - self.values[slot])

    def copy(self) -> "Rates":
        """The same rates, to be learned on their own."""
        return Rates(self.values.copy(), self.outcomes.copy())


@dataclass(slots=True)
class History:
    """How one drafter fared with one sequence: the sequence's own rates, its recent outcomes, how
    many of them each common rate has learned from, and the proposal whose outcome is awaited,
    made when the sequence had `at` tokens."""

    rates: Rates | None = None
    accepted: float = 0.0
    tried: float = 0.0
    lessons: bytearray = field(default_factory=lambda: bytearray(SLOTS))
    proposal: Proposal | None = None
    at: int = 0


@dataclass(slots=True)
class Acceptance:
    """What is known of one drafter. A new sequence begins with the `common` rates and goes on with
    rates of its own."""

    prior: Callable[[int], float]
    common: Rates = field(init=False)

    def __post_init__(self) -> None:
        self.common = Rates([self.prior(slot) for slot in range(SLOTS)])

    def learn(self, history: History, generated: list[int]) -> None:
        """Compare the last proposal with the tokens that were generated in its place. Tokens need
        not have been verified, so an unused drafter goes on learning at no cost."""
        proposal = history.proposal
        if proposal is None:
            return
        history.proposal = None
        own = history.rates = history.rates or self.common.copy()
        for place, (guess, token) in enumerate(zip(proposal.tokens, generated, strict=False)):
            slot = min(proposal.slot + place, SLOTS - 1)
            outcome = 1.0 if guess == token else 0.0
            own.learn(slot, outcome)
            if history.lessons[slot] < LESSONS_MAX:
                history.lessons[slot] += 1
                self.common.learn(slot, outcome)
            history.accepted = DECAY * history.accepted + outcome
            history.tried = DECAY * history.tried + 1.0
            if not outcome:
                break

    def survivals(self, proposal: Proposal, history: History) -> list[float]:
        """For each token the chance that it and all tokens before it are accepted, as long as the
        chance is at least SURVIVAL_MIN."""
        chances: list[float] = []
        chance, before = 1.0, 0.0
        weight = PRIOR_WEIGHT + history.tried
        rates = history.rates or self.common
        for place in range(len(proposal.tokens)):
            slot = min(proposal.slot + place, SLOTS - 1)
            rate = rates.values[slot]
            if (
                rates.outcomes[slot] == PRIOR_OUTCOMES
            ):  # never learned: no worse than the one before
                rate = max(rate, before)
            before = rate
            chance *= (PRIOR_WEIGHT * rate + history.accepted) / weight
            if chance < SURVIVAL_MIN:
                break
            chances.append(chance)
        return chances
