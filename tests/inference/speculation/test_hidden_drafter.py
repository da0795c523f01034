"""A drafter of hidden states follows texts, changes none, and rests where it does not pay."""

import copy
import random
from functools import partial

import pytest

from roost_inference.batch import Batch
from roost_inference.engine import Engine
from roost_inference.errors import EngineFailed, QueueFull
from roost_inference.request import SamplingParams
from roost_inference.speculation import rest
from roost_inference.speculation.hidden.feature_drafter import WAITING_ROWS_MAX, HiddenCosts
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
from roost_inference.testing.toy import END
from roost_inference.testing.toy_hidden import CheckedDrafter, TappedToy, ToyNetwork, toy_hidden


def build(
    network: ToyNetwork | None = None, **sizes: int
) -> tuple[Engine, TappedToy, CheckedDrafter]:
    backend = TappedToy(**sizes)  # type: ignore[arg-type]
    drafter = toy_hidden(backend, network)
    return toy_engine(backend, speculator=toy_speculator(drafter)), backend, drafter


def ask(engine: Engine, prompt: str, count: int, **fields: object) -> Collector:
    heard = Collector()
    engine.submit(request(prompt, count, ignore_eos=True, **fields), heard)
    drive(engine)
    return heard


def accepted(heard: Collector) -> tuple[int, int]:
    figures = heard.finish.speculation
    return (0, 0) if figures is None else (figures.accepted_tokens, figures.draft_tokens)


def test_right_guesses_are_taken_and_the_text_stays() -> None:
    engine, backend, _ = build()
    heard = ask(engine, "hello there", 90)
    assert heard.tokens == answer_without_end("hello there", 90)
    right, drafted = accepted(heard)
    assert right > 60 and right > 0.9 * drafted
    assert len(backend.decoded) < 60
    assert engine.stats().speculation["hidden"].accepted_tokens == right
    engine.close()


@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_wrong_guesses_change_nothing(temperature: float) -> None:
    engine, _, _ = build(ToyNetwork(lies=True))
    sampling = SamplingParams(temperature=temperature, seed=4, top_logprobs=2)
    fields = {"ignore_eos": True, "sampling": sampling, "session_id": "s"}
    heard = Collector()
    engine.submit(request("hello", 60, **fields), heard)
    drive(engine)
    assert_same(heard, plain("hello", max_tokens=60, **fields))
    right, drafted = accepted(heard)
    assert drafted > 0 and (right == 0 or temperature)
    engine.close()


def test_many_answers_are_guessed_in_one_block() -> None:
    network = ToyNetwork()
    engine, _, _ = build(network)
    heard = [Collector() for _ in range(4)]
    for number, one in enumerate(heard):
        engine.submit(request(f"{number} in all", 40, ignore_eos=True), one)
    drive(engine)
    for number, one in enumerate(heard):
        assert one.tokens == answer_without_end(f"{number} in all", 40)
        assert accepted(one)[0] > 10
    assert max(network.blocks) > 9, "a block for each of several answers"
    engine.close()


def test_a_session_goes_on_with_what_its_turn_before_showed() -> None:
    """The tokens of the first turn are found in the cache, so they have no hidden states."""
    engine, backend, _ = build(cells=1024)
    first = ask(engine, "hello", 60, session_id="s", cache_salt="a")
    before = backend.tapped_decodes
    goes_on = "hello" + first.text + " and then"
    second = ask(engine, goes_on, 40, session_id="s", cache_salt="a")
    assert second.finish.usage.cached_tokens > 50 and backend.tapped_decodes > before
    assert accepted(second)[0] > 20
    # Of another salt nothing is known and nothing is cached, so all of it is computed and seen.
    other = ask(engine, goes_on, 40, session_id="t", cache_salt="b")
    assert other.finish.usage.cached_tokens == 0 and accepted(other)[0] > 20
    engine.close()


def test_conversations_that_begin_alike_share_what_is_known_of_the_beginning() -> None:
    engine, _, _ = build(cells=1024)
    opening = "the same instructions for all of them, " * 3
    heard = [ask(engine, f"{opening}{number}", 40, cache_salt="a") for number in range(3)]
    for number, one in enumerate(heard):
        assert one.tokens == answer_without_end(f"{opening}{number}", 40, cells=1024)
        assert accepted(one)[0] > 20
    assert heard[-1].finish.usage.cached_tokens > 100
    engine.close()


def test_a_prefix_without_hidden_states_weakens_guesses_and_nothing_else() -> None:
    engine, _, drafter = build(cells=1024)
    first = ask(engine, "hello", 60, session_id="s")
    drafter._following.clear()  # as after a restart, when KV comes from the disk
    goes_on = "hello" + first.text + " and then"
    second = ask(engine, goes_on, 40, session_id="s")
    assert second.tokens == answer_without_end(goes_on, 40, cells=1024)
    right, drafted = accepted(second)
    assert right == 0 < drafted, "it guesses from the tail"
    engine.close()


def test_features_wait_in_a_bounded_number_of_rows() -> None:
    engine, _, drafter = build(cells=1024)
    engine.submit(request("x" * 300, 100, ignore_eos=True), Collector())
    seen = []
    while engine.step():
        seen += [text.held.waiting for text in drafter._following._running.values()]
        assert drafter._following.cells <= 600
    assert 0 < max(seen) < WAITING_ROWS_MAX
    engine.close()


def test_a_network_without_cells_for_all_keeps_guessing_for_whom_it_can() -> None:
    engine, _, drafter = build(ToyNetwork(cells=90, sequences=3), cells=1024)
    for number in range(6):
        ask(engine, f"text {number} " * 4, 20, session_id=f"s{number}")
    heard = [Collector() for _ in range(5)]
    for number, one in enumerate(heard):
        engine.submit(request(f"beside {number}", 30, ignore_eos=True), one)
    drive(engine)
    for number, one in enumerate(heard):
        assert one.tokens == answer_without_end(f"beside {number}", 30)
    assert sum(accepted(one)[0] for one in heard) > 0 and not drafter.network.is_closed
    engine.close()


@pytest.mark.parametrize("method", ["inject", "compute", "remove", "logits"])
def test_a_network_that_fails_is_closed_and_answers_go_on(method: str) -> None:
    class Broken(ToyNetwork):
        calls = 0

    def fail(*_: object) -> None:
        Broken.calls += 1
        raise EngineFailed("out of order")

    network = Broken()
    engine, backend, _ = build(network)
    setattr(network, method, fail)
    heard = ask(engine, "hello", 40)
    assert heard.tokens == answer_without_end("hello", 40)
    assert Broken.calls >= 1 and network.is_closed and not backend.is_tapped
    engine.close()


@pytest.mark.parametrize("streams", [(0, 0), (5, 70)])
@pytest.mark.parametrize("seed", range(6))
def test_a_random_day_keeps_texts_and_what_is_held_of_them(
    seed: int, streams: tuple[int, int]
) -> None:
    rng = random.Random(seed)
    backend = TappedToy(
        cells=400, sequences=10, background_cells=rng.choice((0, 300)), stream_sizes=streams
    )
    drafter = toy_hidden(
        backend, ToyNetwork(cells=rng.choice((120, 500)), sequences=rng.choice((3, 7, 16)))
    )
    engine = toy_engine(
        backend,
        max_running=6,
        batch_tokens=48,
        queue_limit=20,
        speculator=toy_speculator(drafter, depth_max=6),
    )
    live: dict[str, tuple[str, int, Collector]] = {}
    usual = backend.on_decode
    asked = []
    for at in range(300):
        if rng.random() < 0.2:
            prompt, wanted = random_request(rng)
            heard = Collector()
            try:
                engine.submit(wanted, heard)
            except QueueFull:
                continue
            live[wanted.id] = (prompt, wanted.max_tokens, heard)
            asked.append(live[wanted.id])
        if live and rng.random() < 0.1:
            victim = rng.choice(list(live))
            backend.on_decode = partial(_abort, engine, victim)
        if at % 60 == 30:
            drafter.rest()
        elif at % 60 == 40:
            drafter.wake()
        engine.step()
        backend.on_decode = usual
        engine.check()
        live = {name: entry for name, entry in live.items() if not entry[2].is_finished}
    drive(engine)
    for prompt, count, heard in asked:
        full = [token for token in answer_to(prompt, count) if token != END]
        assert heard.tokens == full[: len(heard.tokens)], "somebody else's text"
        assert heard.finish.reason == "abort" or heard.tokens == full
    assert len(asked) > 30 and not len(drafter._following)
    assert not drafter.network.is_closed, "it failed and was dropped"
    assert sum(accepted(heard)[0] for *_, heard in asked) > 0
    engine.close()


def _abort(engine: Engine, victim: str, batch: Batch) -> None:
    engine.abort(victim)


def time_of(count: int, lies: bool | None) -> tuple[float, TappedToy]:
    """Seconds of fake time for answers of 300 tokens each; lies: of the network, None without a
    drafter. A tap costs 4 % of a step, a block more than half of one."""
    cost, clock = curve((1, 8.0), (2, 12.0), (4, 16.0), (16, 40.0)), FakeClock()
    machine, block = copy.deepcopy(cost), curve((2, 4.0), (4, 4.8), (16, 8.0))

    def compute(batch: Batch) -> None:
        ms = machine.ms(batch.size) + (0.3 if backend.is_tapped else 0.0)
        clock.advance(ms / 1000)

    backend = TappedToy(cells=4096, on_decode=compute)
    speculator = None
    if lies is not None:
        network = ToyNetwork(cells=4096, lies=lies)
        usual = network.compute

        def computed(ids, positions, tokens):  # type: ignore[no-untyped-def]
            clock.advance(block.ms(len(ids)) / 1000)
            usual(ids, positions, tokens)

        network.compute = computed  # type: ignore[method-assign]
        costs = HiddenCosts(copy.deepcopy(block), tap_ms=0.3)
        drafter = toy_hidden(backend, network, costs=costs)
        drafter._clock = clock
        speculator = toy_speculator(drafter, cost=cost)
    engine = toy_engine(backend, clock=clock, speculator=speculator, cost=cost)
    for number in range(count):
        engine.submit(request(f"text {number}", 300, ignore_eos=True), Collector())
        while engine.step():
            pass
    return clock.now, backend


def test_a_drafter_that_is_never_right_costs_less_than_two_percent() -> None:
    off, _ = time_of(16, None)
    on, backend = time_of(16, lies=True)
    print(f"{on / off:.4f} of the time without it")
    assert off < on < 1.02 * off
    assert not backend.is_tapped


def test_a_drafter_that_is_right_pays() -> None:
    off, _ = time_of(6, None)
    on, backend = time_of(6, lies=False)
    assert on < off / 1.3 and backend.is_tapped


def test_a_drafter_that_rests_wakes_up_and_is_used_once_it_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rest, "AWAKE_STEPS", 48)
    monkeypatch.setattr(rest, "PAUSE_STEPS_MIN", 128)
    network = ToyNetwork(lies=True, cells=2048)
    backend = TappedToy(cells=2048)
    drafter = toy_hidden(backend, network)
    drafter.prior = lambda slot: 0.01  # type: ignore[method-assign]
    engine = toy_engine(backend, speculator=toy_speculator(drafter))
    for number in range(6):
        ask(engine, f"text {number}", 100)
    slept = backend.tapped_decodes
    assert 40 < slept < 3 * 48, "awake for a small part of 600 steps"
    network.lies = False
    heard = [ask(engine, f"more {number}", 100) for number in range(14)]
    assert accepted(heard[-1])[0] > 50 and backend.is_tapped
    engine.close()
