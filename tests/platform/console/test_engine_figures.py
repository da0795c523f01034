"""The engine's figures, of ours and of another: told truly, or left out."""

import asyncio
from typing import Any

import pytest

from roost_inference.errors import EngineUnavailable
from roost_platform.console.pages.inference import tiles
from roost_platform.console.rendering import NOTHING
from roost_platform.db import models
from roost_platform.testing.chats import HandClock
from roost_platform.testing.console import CalmEngine, an_hour_of
from roost_platform.testing.console.engine import HEALTH, VLLM_METRICS
from roost_platform.testing.console.talks import ENGINE
from roost_platform.views.engine import watch as engine_watch
from roost_platform.views.engine.figures import figures_of_health
from roost_platform.views.engine.notes import engine_notes
from roost_platform.views.engine.watch import CALM_S, SAMPLES_KEPT, EngineWatch


def test_notes_name_the_call_where_there_are_several_and_say_nothing_of_nothing() -> None:
    told = models.TurnStep(step=2, engine=ENGINE)
    cheap = {"decision": "recompute", "expected_load_ms": 9.2, "expected_recompute_ms": 4.0}
    other = models.TurnStep(step=1, engine={"kv": cheap})
    assert engine_notes([models.TurnStep(step=1, engine=None)]) == ()
    assert len(engine_notes([told])) == 3
    first, *rest = engine_notes([other, told])
    assert first == ("Call 1: computing was cheaper than loading (4 ms to compute, 9 ms to load).")
    assert all(line.startswith("Call 2: ") for line in rest)


def test_kernels_and_energy_are_read_where_they_are_told() -> None:
    found = figures_of_health(HEALTH)
    assert (found.kernels, found.kernels_reason) == ("portable", "native ones are compiled now")
    assert found.joules_per_token == 0.0496
    other = figures_of_health({**HEALTH, "kernels": "fast", "energy": {}})
    assert (other.kernels, other.joules_per_token) == ("", None)


async def test_another_engine_tells_what_its_metrics_hold() -> None:
    clock = HandClock()
    engine = CalmEngine(metrics=VLLM_METRICS)
    watch = EngineWatch(engine, clock)
    await watch.sample()
    clock.advance(10)
    engine.metrics = VLLM_METRICS.replace("5000.0", "5250.0")
    found = await watch.figures()
    assert (found.running, found.waiting, found.cells_share) == (3, 12, 0.42)
    assert (found.hit_rate, found.hit_ceiling, found.acceptance) == (0.64, None, 0.5)
    assert found.tokens_per_second == 25
    assert found.ttft.p50 == 100 and found.itl.p50 is None
    assert found.drafters[0].by_position == (0.8, 0.7)
    assert not found.is_ours
    assert await watch.sessions(5) is None
    engine.metrics = "{{{ not metrics"
    assert (await watch.figures()).running is None


async def test_an_engine_that_is_down_or_loading_is_said_to_be_so() -> None:
    class Down(CalmEngine):
        async def health(self) -> Any:
            raise EngineUnavailable("The engine does not answer")

    watch = EngineWatch(Down())
    assert (await watch.figures()).status == "The engine does not answer"
    await watch.sample()
    assert len(watch.samples) == 1
    loading = EngineWatch(CalmEngine({"status": "starting"}))
    assert (await loading.figures()).status == "starting"


async def test_a_calm_engine_is_left_alone_until_something_is_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roost_platform.views.engine.watch.until_beat", lambda _: 0.0)
    engine = CalmEngine({**HEALTH, "running": 0})
    waits: asyncio.Queue[float] = asyncio.Queue()
    committed = asyncio.Event()

    async def changed(timeout_s: float) -> None:
        waits.put_nowait(timeout_s)
        await committed.wait()
        committed.clear()

    watch = EngineWatch(engine, changed=changed)
    task = asyncio.create_task(watch.run())
    assert await waits.get() == CALM_S
    assert len(watch.samples) == 2
    engine.answer = {**HEALTH, "running": 1}
    committed.set()
    async with asyncio.timeout(20.0):
        while len(watch.samples) <= 10:  # it computes, so nothing is waited for
            await asyncio.sleep(0.01)
    assert waits.empty()
    engine.answer = {**HEALTH, "running": 0}
    assert await waits.get() == CALM_S
    task.cancel()


def test_odd_figures_are_left_out_and_an_empty_engine_divides_by_nothing() -> None:
    odd = {**HEALTH, "kv": [1], "speculation": {"x": 7}, "ttft_ms": "fast", "running": True}
    found = figures_of_health(odd)
    assert (found.tiers, found.drafters, found.ttft.p50, found.running) == ((), (), None, None)
    empty = figures_of_health({"status": "ok", "cells_total": 0, "prompt_tokens_total": 0})
    assert (empty.hit_rate, empty.cells_share, empty.acceptance) == (None, None, None)
    assert [tile.value for tile in tiles(empty, [])] == [NOTHING] * 7


def test_samples_are_bounded_and_become_minutes() -> None:
    watch = EngineWatch(CalmEngine())
    for _ in range(SAMPLES_KEPT // 60 + 2):
        an_hour_of(watch, 1_800_000_000.0)
    assert len(watch.samples) == SAMPLES_KEPT
    minutes = watch.minutes()
    assert len(minutes) == 60
    assert [m.at for m in minutes] == sorted(m.at for m in minutes)
    assert engine_watch.INTERVAL_S * SAMPLES_KEPT == 3600
