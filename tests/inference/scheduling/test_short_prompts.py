"""Short prompts do not wait behind long ones of their tenant, and long ones have their turn."""

import pytest

from roost_inference.batch import Batch
from roost_inference.engine import Engine
from roost_inference.scheduling.measurement import measured_cost
from roost_inference.testing.harness import Collector, FakeClock, drive, request, toy_engine
from roost_inference.testing.toy import ToyBackend

MS_PER_ROW = 5.0
LONG = 1000  # tokens: five seconds on this slow machine


def slow(clock: FakeClock, *, cells: int = 16384, max_running: int = 16) -> Engine:
    """An engine on a machine that takes MS_PER_ROW for each row of a step."""

    def pass_time(batch: Batch) -> None:
        clock.advance(MS_PER_ROW * batch.size / 1000)

    backend = ToyBackend(cells=cells, sequences=32, on_decode=pass_time)
    cost = measured_cost(backend, rows_max=512, outputs_max=64, clock=clock)
    return toy_engine(backend, max_running=max_running, batch_tokens=512, clock=clock, cost=cost)


def ask(engine: Engine, name: str, tokens: int, answer: int = 1) -> Collector:
    heard = Collector()
    prompt = (name * tokens)[:tokens]
    engine.submit(request(prompt, answer, ignore_eos=True), heard)
    return heard


def test_a_short_answer_passes_the_long_prompts_of_its_tenant_on_a_slow_machine() -> None:
    clock = FakeClock()
    engine = slow(clock)
    long = [ask(engine, f"{number:02}", LONG) for number in range(10)]
    while clock.now < 30.0:  # the last ones have waited for half a minute by now
        engine.step()
    began = clock.now
    short = ask(engine, "short", 40)
    while not short.is_finished:
        engine.step()
    assert clock.now - began < 1.5 * LONG * MS_PER_ROW / 1000
    assert not all(each.is_finished for each in long)
    drive(engine)
    assert all(each.is_finished for each in long)


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_a_long_prompt_has_its_turn_however_many_short_ones_come(share: float) -> None:
    clock = FakeClock()
    engine = slow(clock)
    reader = ask(engine, "long", 4 * LONG)
    every_s, due = 40 * MS_PER_ROW / 1000 / share, 0.0
    while not reader.is_finished:
        while due <= clock.now:
            ask(engine, f"{due:.2f}", 40)
            due += every_s
        engine.step()
        assert clock.now < 20 * 4 * LONG * MS_PER_ROW / 1000


def test_small_ones_pass_one_that_has_no_place_by_as_many_tokens_as_it_has() -> None:
    clock = FakeClock()
    engine = slow(clock, cells=2048)
    writer = ask(engine, "writer", 600, 400)
    for _ in range(20):
        engine.step()
    large = ask(engine, "large", 1500)
    small = [ask(engine, f"{number:02}", 100) for number in range(40)]
    engine.step()
    waiting = next(each for each in engine._scheduler.sequences() if each.prompt_length == 1500)
    while waiting.sequence_id is None:
        engine.step()
        engine.check()
    assert any(each.is_finished for each in small)
    assert waiting.overtaken <= 1500
    drive(engine)
    assert writer.is_finished and large.is_finished
    assert all(each.is_finished for each in small)


def test_long_prompts_leave_a_place_for_a_short_one() -> None:
    clock = FakeClock()
    engine = slow(clock, cells=4096)
    first, second = (ask(engine, name, 1900, 200) for name in ("first", "other"))
    engine.step()
    short = ask(engine, "short", 40)
    while not short.is_finished:
        engine.step()
    assert not first.is_finished and not second.is_finished
    drive(engine)
    assert first.is_finished and second.is_finished
