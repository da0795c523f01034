"""With and without speculation the same text, the same reuse, the same ends; and nothing leaks."""

import json
import random
from collections.abc import Sequence as Many
from functools import partial

import pytest

from roost_inference.batch import Batch
from roost_inference.engine import Engine
from roost_inference.errors import QueueFull
from roost_inference.request import SamplingParams
from roost_inference.scheduling.cost import Measurement, StepCost
from roost_inference.sequence import Sequence
from roost_inference.speculation import speculator as module
from roost_inference.speculation.drafter import Drafter, Proposal
from roost_inference.speculation.model_drafter import ModelDrafter
from roost_inference.testing.drafting import (
    Oracle,
    Vandal,
    answer_to,
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
    random_request,
    request,
    toy_engine,
    toy_speculator,
)
from roost_inference.testing.toy import END, ToyBackend, continuation

DRAFTERS = [(), (Oracle(),), (Oracle(0.8, 1),), (Oracle(0.2, 2), Oracle(0.9, 3)), (Vandal(),)]


@pytest.mark.parametrize("drafters", DRAFTERS)
def test_a_greedy_text_is_the_same(drafters: Many[Drafter]) -> None:
    for number in range(12):
        fields = {"max_tokens": 40, "ignore_eos": number % 2 == 0}
        assert_same(speculated(f"p{number}", drafters, **fields), plain(f"p{number}", **fields))


@pytest.mark.parametrize("drafters", DRAFTERS)
def test_a_sampled_text_with_the_same_seed_is_the_same(drafters: Many[Drafter]) -> None:
    for seed in range(8):
        sampling = SamplingParams(
            temperature=1.0 if seed % 2 else 4.0,
            seed=seed,
            top_p=0.9,
            frequency_penalty=0.3,
            repetition_penalty=1.2,
            top_logprobs=3,
        )
        fields = {"max_tokens": 30, "sampling": sampling, "session_id": "s"}
        assert_same(speculated("dice", drafters, **fields), plain("dice", **fields))


def test_nothing_is_guessed_for_a_seed_without_a_session_whose_answer_shall_come_again() -> None:
    for session, is_guessed in ((None, False), ("s", True)):
        fields = {"max_tokens": 30, "sampling": SamplingParams(seed=7), "session_id": session}
        heard = speculated("dice", (Oracle(),), **fields)
        assert (heard.finish.speculation is not None) == is_guessed
        assert_same(heard, plain("dice", **fields))


def test_right_guesses_save_steps() -> None:
    backend = ToyBackend()
    engine = toy_engine(backend, speculator=toy_speculator(Oracle(), depth_max=9))
    heard = Collector()
    engine.submit(request("hello", 41, ignore_eos=True), heard)
    drive(engine)
    assert backend.decoded == [5, 10, 10, 10, 10]
    figures = heard.finish.speculation
    assert figures is not None
    assert (figures.steps, figures.draft_tokens, figures.accepted_tokens) == (4, 36, 36)
    assert figures.histogram == (0,) * 9 + (4,)
    assert figures.by_draft_length == {9: (0,) * 9 + (4,)}
    assert engine.stats().speculation["oracle"].accepted_by_position == (4,) * 9


def test_a_limit_inside_an_accepted_run_is_held_exactly() -> None:
    for limit in range(1, 12):
        heard = speculated("limit", (Oracle(),), max_tokens=limit, ignore_eos=True)
        assert heard.finish.usage.completion_tokens == limit
        assert heard.finish.reason == "length"


def test_a_stop_string_inside_an_accepted_run_ends_the_text_before_it() -> None:
    prompt = next(p for p in (f"tell {i}" for i in range(99)) if END not in answer_to(p, 30))
    full = bytes(answer_to(prompt, 30)).decode()
    for start in range(2, 20):
        fields = {"max_tokens": 30, "stop": (full[start : start + 3],)}
        assert_same(speculated(prompt, (Oracle(),), **fields), plain(prompt, **fields))


def test_an_end_inside_an_accepted_run_ends_the_answer_and_its_kv_there() -> None:
    prompt = next(p for p in (f"p{i}" for i in range(999)) if END in answer_to(p, 8)[2:6])
    heard, engine = Collector(), toy_engine(speculator=toy_speculator(Oracle()))
    engine.submit(request(prompt, 50, session_id="s"), heard)
    drive(engine)
    assert heard.finish.reason == "stop" and heard.finish.speculation is not None
    (resident,) = engine._cache.residents
    length = len(prompt) + heard.finish.usage.completion_tokens
    assert len(resident.tokens) == length - 1, "what is kept is what is kept without drafts"


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_a_grammar_is_followed_through_accepted_runs(temperature: float) -> None:
    schema = {
        "type": "object",
        "properties": {"forename": {"enum": ["Ada", "Bob"]}, "occupation": {"const": "engineer"}},
        "required": ["forename", "occupation"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
    grammar = json.dumps({"grammars": [{"json_schema": schema}]})
    for seed in range(4):
        sampling = SamplingParams(temperature=temperature, seed=seed)
        fields = {"max_tokens": 90, "grammar": grammar, "sampling": sampling, "session_id": "s"}
        with_drafts = speculated("json", (), **fields)
        assert_same(with_drafts, plain("json", **fields))
        assert json.loads(with_drafts.text)["occupation"] == "engineer"
        figures = with_drafts.finish.speculation
        assert figures is not None and figures.accepted_by_drafter["grammar"] > 20
        assert_same(speculated("json", (Vandal(), Oracle(0.3)), **fields), plain("json", **fields))


def test_what_is_cached_does_not_depend_on_drafts() -> None:
    """The same conversation twice, in few cells: drafts evict nothing."""
    cached = []
    for speculator in (None, toy_speculator(Oracle(0.7)), toy_speculator(Vandal(), Oracle())):
        engine = toy_engine(ToyBackend(cells=260), resident_cells=150, speculator=speculator)
        found = []
        for turn in range(18):
            heard = Collector()
            history = f"session {turn % 3} " + "turn " * (turn // 3 * 2)
            engine.submit(request(history, 12, session_id=f"s{turn % 3}"), heard)
            drive(engine)
            found.append(heard.finish.usage.cached_tokens)
        cached.append(found)
    assert cached[0] == cached[1] == cached[2] and sum(cached[0]) > 100


def test_a_step_carries_so_many_drafts_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAFT_ROWS_MAX", 10)
    backend = ToyBackend(cells=1024)
    engine = toy_engine(backend, speculator=toy_speculator(Oracle()))
    heard = [Collector() for _ in range(4)]
    for number, listener in enumerate(heard):
        engine.submit(request(f"prompt {number}", 40, ignore_eos=True), listener)
    drive(engine)
    assert max(backend.decoded[1:]) == 14


def test_a_text_alone_is_drafted_as_deep_as_pays_and_beside_others_within_their_gap() -> None:
    cost = curve((1, 5.0), (16, 40.0), (64, 140.0))
    for texts, rows_max in ((1, 64), (2, 44)):
        backend, clock = timed(cost)
        speculator = toy_speculator(Oracle(), cost=cost, depth_max=63)
        engine = toy_engine(backend, clock=clock, speculator=speculator)
        for number in range(texts):
            engine.submit(request(f"text {number}", 300, ignore_eos=True), Collector())
        drive(engine)
        most = max(backend.decoded[1:])
        assert rows_max - 4 <= most <= rows_max, "100 ms is the gap others are promised"


def test_rows_are_added_to_a_tile_where_that_is_cheaper() -> None:
    cost = StepCost()
    rows = [Measurement(1, 0, 5.0), Measurement(16, 0, 30.0), Measurement(64, 0, 90.0)]
    cost.load([*rows, Measurement(1, 256, 7.5), Measurement(64, 256, 100.0)])

    class EndsAfterTwenty(Oracle):
        def _propose(self, sequence: Sequence, depth: int) -> Proposal:
            right = continuation(sequence.tokens.view.tolist(), 19)
            return Proposal([*right, END, *[0] * (depth - 20)])

    prompt = next(p for p in (f"{n}" * 400 for n in range(9)) if END not in answer_to(p, 20))

    rows_in_steps = []
    for tile_ms in (100.0, 300.0):
        cost.load([*rows, Measurement(1, 256, 7.5), Measurement(64, 256, tile_ms)])
        backend = ToyBackend(cells=2048)
        speculator = toy_speculator(EndsAfterTwenty(), cost=cost, depth_max=63)
        one_step_reads_it = StepCost([Measurement(1, 0, 1.0), Measurement(512, 0, 100.0)])
        engine = toy_engine(
            backend, batch_tokens=512, speculator=speculator, cost=one_step_reads_it
        )
        engine.submit(request(prompt, 200), Collector())
        drive(engine)
        rows_in_steps.append(backend.decoded[1])
    assert rows_in_steps == [64, 21]


def test_an_interrupted_verification_counts_for_nothing() -> None:
    def interrupt_once(batch: Batch) -> None:
        if batch.size > 4 and batch.positions[0] > 20:
            backend.on_decode = lambda batch: None
            engine.abort("long")

    backend = ToyBackend(on_decode=interrupt_once)
    engine = toy_engine(backend, speculator=toy_speculator(Oracle()))
    heard, beside = Collector(), Collector()
    engine.submit(request("a" * 30, 60, id="long", ignore_eos=True), heard)
    engine.submit(request("b" * 30, 60, ignore_eos=True), beside)
    drive(engine)
    assert heard.finish.reason == "abort"
    assert beside.tokens == answer_without_end("b" * 30, 60)
    assert heard.tokens == answer_without_end("a" * 30, 60)[: len(heard.tokens)]


def _abort(engine: Engine, victim: str, batch: Batch) -> None:
    engine.abort(victim)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_day_with_random_drafts_loses_nothing(seed: int) -> None:
    rng = random.Random(seed)
    backend = ToyBackend(cells=400, sequences=10)
    draft_model = ModelDrafter(ToyBackend(cells=200, sequences=4), StepCost())
    speculator = toy_speculator(
        Oracle(rng.random(), seed, rng.random()), Vandal(seed=seed), draft_model, depth_max=12
    )
    engine = toy_engine(
        backend, max_running=6, batch_tokens=48, queue_limit=20, speculator=speculator
    )
    live: dict[str, tuple[str, int, Collector]] = {}
    done: list[tuple[str, int, Collector]] = []
    usual = backend.on_decode
    for _ in range(300):
        if rng.random() < 0.2:
            prompt, wanted = random_request(rng)
            heard = Collector()
            try:
                engine.submit(wanted, heard)
            except QueueFull:
                continue
            live[wanted.id] = (prompt, wanted.max_tokens, heard)
        if live and rng.random() < 0.1:
            victim = rng.choice(list(live))
            if rng.random() < 0.5:
                engine.abort(victim)
            else:
                backend.on_decode = partial(_abort, engine, victim)
        engine.step()
        backend.on_decode = usual
        engine.check()
        for name in [name for name, entry in live.items() if entry[2].is_finished]:
            done.append(live.pop(name))
    drive(engine)
    for prompt, count, heard in [*done, *live.values()]:
        full = [t for t in answer_to(prompt, count) if t != END]
        assert heard.tokens == full[: len(heard.tokens)], "somebody else's cells"
        assert heard.finish.reason == "abort" or heard.tokens == full
    assert len(done) + len(live) > 30
    assert draft_model.cells_used == 0, "the draft model holds what has ended"
    engine.check()
