"""A drafter that guesses token by token follows texts, changes none, and shares what fits."""

import copy
import random

import pytest

from roost_inference.batch import Batch
from roost_inference.engine import Engine
from roost_inference.errors import EngineFailed, QueueFull
from roost_inference.request import SamplingParams
from roost_inference.speculation.hidden.feature_drafter import HiddenCosts
from roost_inference.testing.drafting import (
    answer_to,
    answer_without_end,
    assert_same,
    curve,
    plain,
)
from roost_inference.testing.harness import (
    Collector,
    FakeClock,
    drive,
    random_request,
    request,
    toy_engine,
    toy_speculator,
)
from roost_inference.testing.tokenwise.toy_pairs import CheckedPairs, ToyPairs, toy_pairs
from roost_inference.testing.toy import END
from roost_inference.testing.toy_hidden import TappedToy


def build(network: ToyPairs | None = None, **sizes: int) -> tuple[Engine, CheckedPairs]:
    backend = TappedToy(**sizes)  # type: ignore[arg-type]
    drafter = toy_pairs(backend, network)
    return toy_engine(backend, speculator=toy_speculator(drafter)), drafter


def ask(engine: Engine, prompt: str, count: int, **fields: object) -> Collector:
    heard = Collector()
    engine.submit(request(prompt, count, ignore_eos=True, **fields), heard)
    drive(engine)
    return heard


def accepted(heard: Collector) -> tuple[int, int]:
    figures = heard.finish.speculation
    return (0, 0) if figures is None else (figures.accepted_tokens, figures.draft_tokens)


def test_right_guesses_are_taken_and_the_text_stays() -> None:
    engine, drafter = build()
    heard = ask(engine, "hello there", 90)
    assert heard.tokens == answer_without_end("hello there", 90)
    right, drafted = accepted(heard)
    assert right > 60 and right > 0.9 * drafted
    assert max(drafter.network.batches) <= 64
    engine.close()


@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_wrong_guesses_change_nothing(temperature: float) -> None:
    engine, _ = build(ToyPairs(lies=True))
    sampling = SamplingParams(temperature=temperature, seed=4, top_logprobs=2)
    fields = {"ignore_eos": True, "sampling": sampling, "session_id": "s"}
    heard = Collector()
    engine.submit(request("hello", 60, **fields), heard)
    drive(engine)
    assert_same(heard, plain("hello", max_tokens=60, **fields))
    right, drafted = accepted(heard)
    assert drafted > 0 and (right == 0 or temperature)
    engine.close()


def test_many_answers_are_guessed_side_by_side_and_more_rows_than_a_batch_has() -> None:
    engine, _ = build(ToyPairs(rows=4, outputs=4), cells=2048)
    heard = [Collector() for _ in range(4)]
    for number, one in enumerate(heard):
        engine.submit(request(f"{number} in all " * 5, 40, ignore_eos=True), one)
    drive(engine)
    for number, one in enumerate(heard):
        assert one.tokens == answer_without_end(f"{number} in all " * 5, 40, cells=2048)
        assert accepted(one)[0] > 10
    engine.close()


def test_a_session_goes_on_with_what_its_turn_before_showed() -> None:
    engine, _ = build(cells=1024)
    first = ask(engine, "hello", 60, session_id="s", cache_salt="a")
    goes_on = "hello" + first.text + " and then"
    second = ask(engine, goes_on, 40, session_id="s", cache_salt="a")
    assert second.finish.usage.cached_tokens > 50
    right, drafted = accepted(second)
    assert right > 20 and right > 0.9 * drafted
    engine.close()


def test_where_a_conversation_leaves_another_the_last_shared_cell_is_made_anew() -> None:
    """Its cell holds the token with which the other one went on. The features for it are gone, so
    those of the next token take their place, and nothing is left out."""
    engine, drafter = build(cells=1024)
    opening = "the same instructions for all of them, " * 3
    for number in range(3):
        heard = ask(engine, f"{opening}{number}", 40, cache_salt="a")
        assert heard.tokens == answer_without_end(f"{opening}{number}", 40, cells=1024)
        assert accepted(heard)[1] > 0, "it guesses, and the checks of its cells hold"
    assert heard.finish.usage.cached_tokens > 100
    begins = {text.held.begin for text in drafter._following._ended.values()}
    assert begins == {0}, "all of them know the opening"
    engine.close()


@pytest.mark.parametrize("method", ["append", "go_on", "remove", "logits", "states"])
def test_a_network_that_fails_is_closed_and_answers_go_on(method: str) -> None:
    def fail(*_: object) -> None:
        raise EngineFailed("out of order")

    network = ToyPairs()
    engine, _ = build(network)
    setattr(network, method, fail)
    heard = ask(engine, "hello", 40)
    assert heard.tokens == answer_without_end("hello", 40)
    assert network.is_closed
    engine.close()


@pytest.mark.parametrize("seed", range(6))
def test_a_random_day_keeps_texts_and_what_is_held_of_them(seed: int) -> None:
    rng = random.Random(seed)
    backend = TappedToy(
        cells=400,
        sequences=10,
        background_cells=rng.choice((0, 300)),
        stream_sizes=rng.choice(((0, 0), (5, 70))),
    )
    network = ToyPairs(
        cells=rng.choice((120, 500)), sequences=rng.choice((3, 7, 16)), rows=rng.choice((8, 64))
    )
    drafter = toy_pairs(backend, network)
    engine = toy_engine(
        backend,
        max_running=6,
        batch_tokens=48,
        queue_limit=20,
        speculator=toy_speculator(drafter, depth_max=6),
    )
    asked: list[tuple[str, int, Collector]] = []
    live: dict[str, Collector] = {}
    for at in range(300):
        if rng.random() < 0.2:
            prompt, wanted = random_request(rng)
            heard = Collector()
            try:
                engine.submit(wanted, heard)
            except QueueFull:
                continue
            asked.append((prompt, wanted.max_tokens, heard))
            live[wanted.id] = heard
        if live and rng.random() < 0.1:
            engine.abort(rng.choice(list(live)))
        if at % 60 == 30:
            drafter.rest()
        elif at % 60 == 40:
            drafter.wake()
        engine.step()
        engine.check()
        live = {name: heard for name, heard in live.items() if not heard.is_finished}
    drive(engine)
    for prompt, count, heard in asked:
        full = [token for token in answer_to(prompt, count) if token != END]
        assert heard.tokens == full[: len(heard.tokens)], "somebody else's text"
        assert heard.finish.reason == "abort" or heard.tokens == full
    assert len(asked) > 30 and not len(drafter._following)
    assert not drafter.network.is_closed, "it failed and was dropped"
    assert sum(accepted(heard)[0] for *_, heard in asked) > 0
    engine.close()


def time_of(count: int, lies: bool | None) -> float:
    """Seconds of fake time for answers of 300 tokens each; lies: of the network, None without a
    drafter. A tap costs 4 % of a step, a row of the drafter a seventh of one and more together."""
    cost, clock = curve((1, 8.0), (2, 12.0), (4, 16.0), (16, 40.0)), FakeClock()
    machine, rows = copy.deepcopy(cost), curve((1, 1.2), (4, 2.0), (64, 14.0))

    def compute(batch: Batch) -> None:
        ms = machine.ms(batch.size) + (0.3 if backend.is_tapped else 0.0)
        clock.advance(ms / 1000)

    backend = TappedToy(cells=4096, on_decode=compute)
    speculator = None
    if lies is not None:
        network = ToyPairs(cells=4096, lies=lies)
        usual = network._begin

        def begin(count: int) -> None:
            clock.advance(rows.ms(count) / 1000)
            usual(count)

        network._begin = begin  # type: ignore[assignment]
        costs = HiddenCosts(copy.deepcopy(rows), 1.0, 0.2, 0.3)
        drafter = CheckedPairs(network, backend, costs, depth_max=8, clock=clock)
        drafter.network = network
        speculator = toy_speculator(drafter, cost=cost)
    engine = toy_engine(backend, clock=clock, speculator=speculator, cost=cost)
    for number in range(count):
        engine.submit(request(f"{number}. text", 300, ignore_eos=True), Collector())
        while engine.step():
            pass
    return clock.now


def test_it_costs_less_than_two_percent_if_it_is_never_right_and_pays_if_it_is() -> None:
    off, never, always = time_of(16, None), time_of(16, lies=True), time_of(16, lies=False)
    print(f"{never / off:.4f} and {always / off:.4f} of the time without it")
    assert off < never < 1.02 * off
    assert always < off / 1.3
