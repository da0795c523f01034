"""For tests: drafters that are right or wrong by chance, and answers with and without drafts."""

import copy
import random
from collections.abc import Sequence as Many

from roost_inference.batch import Batch
from roost_inference.scheduling.cost import Measurement, StepCost
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Drafter, Proposal
from roost_inference.testing.harness import (
    Collector,
    FakeClock,
    drive,
    request,
    toy_engine,
    toy_speculator,
)
from roost_inference.testing.toy import END, ToyBackend, continuation


class Oracle:
    """Proposes what the toy will say; each token is right with the chance `rightness`."""

    name = "oracle"

    def __init__(self, rightness: float = 1.0, seed: int = 0, confidence: float = 1.0) -> None:
        self.rightness = rightness
        self.confidence = confidence
        self.rng = random.Random(seed)
        self.asked = 0

    def prior(self, slot: int) -> float:
        """How confident it is, right or not."""
        return self.confidence

    def cost_ms(self, sequences: int, depth: int) -> float:
        """It costs nothing."""
        return 0.0

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        """A guess for each sequence."""
        self.asked += 1
        return [self._propose(sequence, depth) for sequence in sequences]

    def _propose(self, sequence: Sequence, depth: int) -> Proposal | None:
        tokens = sequence.tokens.view.tolist()
        for _ in range(self.rng.randint(1, depth) if self.rightness < 1 else depth):
            right = continuation(tokens, 1)[0]
            tokens.append(right if self.rng.random() < self.rightness else self._wrong())
        return Proposal(tokens[len(sequence.tokens) :])

    def _wrong(self) -> int:
        return self.rng.choice((0, 32, 97, 255, END))

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        """It keeps nothing."""

    def close(self) -> None:
        """It holds nothing."""


def curve(*points: tuple[int, float]) -> StepCost:
    """A cost curve through points of rows and milliseconds."""
    return StepCost([Measurement(rows, 0, ms) for rows, ms in points])


def timed(cost: StepCost) -> tuple[ToyBackend, FakeClock]:
    """A backend whose steps take the fake time that the curve says."""
    clock, machine = FakeClock(), copy.deepcopy(cost)

    def compute(batch: Batch) -> None:
        work = float(batch.positions[: batch.size].sum())
        clock.advance(machine.ms(batch.size, work) / 1000)

    return ToyBackend(cells=2048, on_decode=compute), clock


class Vandal(Oracle):
    """Proposes what no vocabulary has, nothing at all, or always the end."""

    name = "vandal"

    def _propose(self, sequence: Sequence, depth: int) -> Proposal | None:
        garbage: list[int] = self.rng.choice(
            ([-1], [10**6, 3], [END] * depth, [], [97, -7, 97], [97] * (depth + 50))
        )
        return Proposal(garbage, self.rng.randrange(40))


def speculated(prompt: str = "hello", drafters: Many[Drafter] = (), **fields) -> Collector:  # type: ignore[no-untyped-def]
    """A toy engine's answer with these drafters."""
    engine = toy_engine(speculator=toy_speculator(*drafters))
    heard = Collector()
    engine.submit(request(prompt, **fields), heard)
    drive(engine)
    return heard


def plain(prompt: str = "hello", **fields) -> Collector:  # type: ignore[no-untyped-def]
    """A toy engine's answer without drafts."""
    engine = toy_engine()
    heard = Collector()
    engine.submit(request(prompt, **fields), heard)
    drive(engine)
    return heard


def assert_same(one: Collector, other: Collector) -> None:
    """Fail the test unless both answers are the same in everything that a client sees."""
    assert one.tokens == other.tokens and one.text == other.text
    assert one.logprobs == other.logprobs
    first, second = one.finish, other.finish
    assert (first.reason, first.usage, first.stop_string) == (
        second.reason,
        second.usage,
        second.stop_string,
    )


def answer_to(prompt: str, count: int) -> list[int]:
    """The tokens of the toy's answer, END included."""
    return continuation(list(prompt.encode()), count)


def answer_without_end(prompt: str, count: int, cells: int = 512) -> list[int]:
    """The tokens that an engine without drafts generates when it ignores END."""
    engine, heard = toy_engine(ToyBackend(cells=cells)), Collector()
    engine.submit(request(prompt, count, ignore_eos=True), heard)
    drive(engine)
    return heard.tokens
