"""One health view: which processes count as alive, and what it says of those that can't beat."""

import asyncio
from collections.abc import Mapping
from typing import Any

from roost_inference.errors import EngineUnavailable
from roost_platform.db.services import ALIVE_S, HEARTBEAT_S
from roost_platform.db.stores import Stores, open_stores
from roost_platform.testing.chats import HandClock
from roost_platform.views import health as health_module
from roost_platform.views.health import HealthView


class Engine:
    """An engine that answers what a test says; None: never."""

    def __init__(self, answer: Mapping[str, Any] | Exception | None) -> None:
        self.answer = answer

    async def health(self) -> Mapping[str, Any]:
        if self.answer is None:
            await asyncio.sleep(600)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or {}


async def states(stores: Stores, clock: HandClock, engine: Engine, probe: Any) -> dict[str, str]:
    health = await HealthView(stores, engine, probe, clock).read()
    return {service.name: service.state for service in health.services}


async def answers() -> bool:
    return True


async def fails() -> bool:
    raise OSError("no route")


async def test_a_process_is_alive_for_three_heartbeats_and_everybody_agrees(
    sqlite_url: str,
) -> None:
    clock = HandClock()
    stores = open_stores(sqlite_url)
    stores.database.clock = clock
    assert ALIVE_S == 3 * HEARTBEAT_S
    try:
        await stores.heartbeats.beat("worker")
        await stores.heartbeats.beat("web")
        clock.advance(ALIVE_S)
        await stores.heartbeats.beat("web")
        for later_s, worker in ((0.0, True), (0.5, False)):
            clock.advance(later_s)
            seen = await states(stores, clock, Engine({"status": "ok"}), answers)
            assert seen == {
                "temporal": "up",
                "engine": "up",
                "worker": "up" if worker else "down",
                "courier": "down",
                "web": "up",
            }
            beats = {one.service: one.is_alive for one in await stores.heartbeats.all()}
            assert beats == {"worker": worker, "web": True}
    finally:
        await stores.close()


async def test_what_does_not_answer_is_down_and_the_view_still_answers(
    sqlite_url: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(health_module, "PROBE_TIMEOUT_S", 0.05)
    stores = open_stores(sqlite_url)
    try:
        for answer in (None, EngineUnavailable("refused"), {"status": "starting"}):
            health = await HealthView(stores, Engine(answer), fails).read()
            assert not health.is_up
            down = {one.name for one in health.services if not one.is_up}
            assert {"temporal", "engine"} <= down
        assert health.engine == {"status": "starting"}
    finally:
        await stores.close()


async def test_an_account_that_reports_trouble_makes_the_stack_unwell(sqlite_url: str) -> None:
    stores = open_stores(sqlite_url)
    try:
        await stores.channels.set("telegram", "42", "degraded", "slow")
        await stores.channels.set("console", "local", "degraded", "not shown")
        health = await HealthView(stores).read()
        assert [(one.channel, one.is_up) for one in health.channels] == [("telegram", False)]
    finally:
        await stores.close()
