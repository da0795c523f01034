"""Which drafters propose: those that pay, and none that fails."""

from collections.abc import Sequence as Many

import pytest

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.request import SamplingParams
from roost_inference.sequence import Sequence
from roost_inference.speculation import speculator as module
from roost_inference.speculation.drafter import Proposal
from roost_inference.speculation.model_drafter import ModelDrafter
from roost_inference.testing.drafting import (
    Oracle,
    answer_without_end,
    assert_same,
    curve,
    plain,
    speculated,
    timed,
)
from roost_inference.testing.harness import (
    Collector,
    drive,
    request,
    toy_engine,
    toy_speculator,
)
from roost_inference.testing.toy import ToyBackend


def test_a_drafter_that_is_always_wrong_ends_at_the_plain_path() -> None:
    cost = curve((1, 4.8), (4, 11.5), (16, 27.0))
    liar = Oracle(0.0, confidence=0.99)
    backend, clock = timed(cost)
    engine = toy_engine(backend, clock=clock, speculator=toy_speculator(liar, cost=cost))
    heard = Collector()
    engine.submit(request("free text", 600, ignore_eos=True), heard)
    drive(engine)
    assert set(backend.decoded[-500:]) == {1}
    figures = heard.finish.speculation
    assert figures is not None and figures.draft_tokens < 100


def test_copying_goes_deep() -> None:
    cost = curve((1, 4.8), (4, 11.5), (16, 27.0))
    backend, clock = timed(cost)
    speculator = toy_speculator(Oracle(confidence=0.3), cost=cost)
    engine = toy_engine(backend, clock=clock, speculator=speculator)
    engine.submit(request("copy", 1500, ignore_eos=True), Collector())
    drive(engine)
    assert max(backend.decoded[1:]) == 17, "it learned that the guesses hold"


def test_a_cost_that_was_measured_too_high_is_found_out() -> None:
    """The engine was started while the machine was busy, and the guesses are right."""
    backend, clock = timed(curve((1, 4.8), (4, 11.5), (16, 27.0)))
    busy = curve((1, 4.8), (4, 30.0), (16, 60.0))
    engine = toy_engine(backend, clock=clock, speculator=toy_speculator(Oracle(), cost=busy))
    engine.submit(request("copy", 1900, ignore_eos=True), Collector())
    drive(engine)
    assert max(backend.decoded[-50:]) >= 8


def test_a_drafter_that_raises_is_dropped_and_the_answer_goes_on() -> None:
    class Broken(Oracle):
        name = "broken"

        def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
            if self.asked >= 3:
                raise EngineFailed("out of order")
            return super().propose(sequences, depth)

    broken = Broken()
    assert_same(
        speculated("hello", (broken,), max_tokens=90, ignore_eos=True),
        plain("hello", max_tokens=90, ignore_eos=True),
    )
    assert broken.asked == 3


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [None, None],
        [Proposal([97]), None, Proposal([97])],
        None,
        [[97]],
        ["guess"],
        [Proposal(["a"])],  # type: ignore[list-item]
        [Proposal([97], slot=-99)],
    ],
)
def test_a_drafter_whose_answer_does_not_fit_is_dropped_and_the_answer_goes_on(
    answer: list[Proposal | None],
) -> None:
    class Confused(Oracle):
        name = "confused"

        def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
            right = super().propose(sequences, depth)
            return answer if self.asked >= 3 else right

    confused = Confused()
    assert_same(
        speculated("hello", (confused,), max_tokens=90, ignore_eos=True),
        plain("hello", max_tokens=90, ignore_eos=True),
    )
    assert confused.asked == 3


@pytest.mark.parametrize("method", ["forget", "close", "cost_ms"])
def test_a_drafter_that_raises_anywhere_costs_no_answer(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Oracle()
    costs = iter([1.0] * 5)
    if method == "cost_ms":
        monkeypatch.setattr(oracle, "cost_ms", lambda sequences, depth: next(costs))
    engine = toy_engine(speculator=toy_speculator(oracle))
    if method != "cost_ms":
        monkeypatch.setattr(oracle, method, lambda *_, **__: 1 / 0)
    for number in range(2):
        heard = Collector()
        engine.submit(request(f"text {number}", 30, ignore_eos=True), heard)
        drive(engine)
        assert heard.tokens == answer_without_end(f"text {number}", 30)
        engine.check()
    engine.close()


def test_a_draft_model_guesses_what_its_target_says_at_any_temperature() -> None:
    for temperature in (0.0, 3.0):
        cost = curve((1, 0.1), (64, 0.2))
        drafter = ModelDrafter(ToyBackend(), cost)
        sampling = SamplingParams(temperature=temperature, seed=4)
        fields = {"max_tokens": 60, "ignore_eos": True, "sampling": sampling, "session_id": "s"}
        heard = speculated("hello", (drafter,), **fields)
        assert_same(heard, plain("hello", **fields))
        figures = heard.finish.speculation
        assert figures is not None and figures.accepted_tokens > 30
        assert figures.accepted_tokens >= 0.9 * figures.draft_tokens


def test_a_draft_model_reads_a_long_prompt_in_bounded_steps() -> None:
    cost = curve((1, 0.1), (64, 0.2))
    reader = ToyBackend(cells=2048)
    engine = toy_engine(
        ToyBackend(cells=2048), speculator=toy_speculator(ModelDrafter(reader, cost))
    )
    heard = Collector()
    engine.submit(request("x" * 700, 80, ignore_eos=True), heard)
    drive(engine)
    assert max(reader.decoded) == 128
    assert heard.finish.speculation is not None
    assert heard.tokens == answer_without_end("x" * 700, 80, cells=2048)


def test_a_slow_draft_model_is_not_asked_but_now_and_then() -> None:
    cost = curve((1, 50.0), (64, 60.0))
    reader = ToyBackend()
    drafter = ModelDrafter(reader, cost, clock=lambda: 0.0)
    drafter._cost.observe = lambda *_, **__: None  # type: ignore[method-assign]
    engine = toy_engine(speculator=toy_speculator(drafter))
    heard = Collector()
    engine.submit(request("hello", 200, ignore_eos=True), heard)
    drive(engine)
    assert heard.finish.speculation is None
    assert 0 < len(reader.decoded) <= 2 * (200 // module.PROBE_STEPS)


def test_a_draft_model_whose_kernels_fail_is_dropped() -> None:
    cost = curve((1, 0.1), (64, 0.2))

    class Failing(ToyBackend):
        def decode(self, batch: Batch) -> DecodeStatus:
            return DecodeStatus.NO_CELLS

    heard = speculated("hello", (ModelDrafter(Failing(), cost),), max_tokens=20)
    assert_same(heard, plain("hello", max_tokens=20))
