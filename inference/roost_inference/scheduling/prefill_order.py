"""In which order running sequences read their prompts."""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many

from roost_inference.kv.match import common_prefix
from roost_inference.request import ServiceClass
from roost_inference.scheduling.fairness import QUANTUM_TOKENS, Floors
from roost_inference.sequence import Account, Sequence


class PromptTurns:
    """By class with a floor, in a class by tenant, of a tenant short ones first, then in order of
    arrival: what is read in a moment does not wait for what takes long."""

    def __init__(self) -> None:
        self._floors = Floors()
        self._current: Account | None = None

    def order(self, prompts: Many[Sequence], is_long: Callable[[Sequence], bool]) -> Many[Sequence]:
        """Who reads first in this step."""
        if len(prompts) == 1:
            return prompts
        lowest: dict[ServiceClass, float] = {}
        for sequence in prompts:
            served, service = _served(sequence), sequence.service
            lowest[service] = min(lowest.get(service, served), served)

        def turn(sequence: Sequence) -> tuple[int, float, bool, int]:
            service, served = sequence.service, _served(sequence)
            is_due = service is not min(lowest) and self._floors.is_due(service)
            if sequence.account is self._current and served <= lowest[service] + QUANTUM_TOKENS:
                served = -1.0
            place = -service if is_due else service
            return (place, served, is_long(sequence), sequence.order)

        return sorted(prompts, key=turn)

    def read(self, sequence: Sequence, tokens: int, prompts: Many[Sequence]) -> None:
        """So many tokens of the sequence are in the step, while all of these want to read."""
        self._current = sequence.account
        if len(prompts) > 1:
            self._floors.take(sequence.service, tokens, {s.service for s in prompts})


def _served(sequence: Sequence) -> float:
    return 0.0 if sequence.account is None else sequence.account.served


def is_being_read(sequence: Sequence, held: int, running: Iterable[Sequence]) -> bool:
    """Whether a running prompt, of no lower class, is about to compute more of this one's prefix
    than the `held` tokens that it could begin with now."""
    wanted = sequence.tokens.view[:-1]
    return any(
        common_prefix(other.tokens.view, wanted) > held
        for other in running
        if not other.is_decoding
        and other.service <= sequence.service
        and other.request.cache_salt == sequence.request.cache_salt
    )
