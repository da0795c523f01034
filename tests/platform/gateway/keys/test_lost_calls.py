"""Calls whose process has gone are settled as lost: nothing is billed, nothing stays held."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway import lost_calls
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.db.gateway.keys import UNSETTLED_MAX, GatewayKeys
from roost_platform.db.gateway.lost_calls import Sweep, sweeping
from roost_platform.db.gateway.owners import GONE_AFTER_S, new_owner
from roost_platform.gateway.errors import BudgetExhausted
from roost_platform.gateway.keys.ports import Reservation, Spent


class Monotonic:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


async def a_key(database: Database, **bounds: int) -> str:
    id, _ = await KeyAdmin(database).create(NewKey("k", **bounds), "tester")  # type: ignore[arg-type]
    return id


async def key_row(database: Database, id: str) -> models.GatewayKeyRow:
    async with database.read() as session:
        return await session.get_one(models.GatewayKeyRow, id)


async def calls(database: Database) -> dict[str, models.GatewayCall]:
    async with database.read() as session:
        return {row.id: row for row in await session.scalars(select(models.GatewayCall))}


def wanted(call: str, key: str, cost: int = 10) -> Reservation:
    return Reservation(call, key, "chat", "fast", tokens=cost, cost_microusd=cost)


def watched(keys: GatewayKeys) -> tuple[Sweep, Monotonic]:
    sweep, clock = Sweep(keys), Monotonic()
    sweep.owners.clock = clock
    return sweep, clock


async def test_calls_of_a_process_that_beats_no_more_are_lost_after_a_while(
    database: Database,
) -> None:
    key = await a_key(database, budget_microusd=10)
    other, mine = GatewayKeys(database), GatewayKeys(database)
    await Sweep(other).owners.beat()
    await other.reserve(wanted("call", key))
    sweep, clock = watched(mine)
    assert await sweep.sweep() == 0
    clock.now += GONE_AFTER_S - 1
    await Sweep(other).owners.beat()
    assert await sweep.sweep() == 0  # it has beaten meanwhile
    clock.now += GONE_AFTER_S - 1
    assert await sweep.sweep() == 0
    with pytest.raises(BudgetExhausted):
        await mine.reserve(wanted("more", key))
    clock.now += 1
    assert await sweep.sweep() == 1
    row = await key_row(database, key)
    assert (row.held_microusd, row.held_tokens, row.in_flight, row.spent_microusd) == (0, 0, 0, 0)
    lost = (await calls(database))["call"]
    assert (lost.outcome, lost.cost_microusd, lost.error_code) == ("lost", 0, "process_gone")
    await mine.reserve(wanted("again", key))


async def test_a_process_of_this_machine_that_ended_is_noticed_at_once(database: Database) -> None:
    key = await a_key(database)
    place, _, _, own = new_owner().split("|")
    if not place:
        return  # a system that tells no place: its processes are found by their beats
    ended = GatewayKeys(database, owner=f"{place}|{2**22 - 7}|12345|{own}")
    await ended.reserve(wanted("call", key))
    assert await Sweep(GatewayKeys(database)).sweep() == 1
    assert (await key_row(database, key)).in_flight == 0


async def test_what_a_sleeping_machine_settles_late_is_billed_and_released_once(
    database: Database,
) -> None:
    key = await a_key(database, budget_microusd=100)
    slept, mine = GatewayKeys(database), GatewayKeys(database)
    await slept.reserve(wanted("call", key))
    sweep, clock = watched(mine)
    await sweep.sweep()
    clock.now += GONE_AFTER_S
    assert await sweep.sweep() == 1
    spent = Spent("call", "ok", 200, input_tokens=3, cost_microusd=7)
    await slept.settle(spent)
    await slept.settle(spent)
    row = await key_row(database, key)
    assert (row.spent_microusd, row.spent_tokens) == (7, 3)
    assert (row.held_microusd, row.held_tokens, row.in_flight) == (0, 0, 0)
    assert (await calls(database))["call"].outcome == "ok"


async def test_many_calls_are_settled_in_bounded_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await a_key(database)
    other = GatewayKeys(database)
    for number in range(7):
        await other.reserve(wanted(f"call-{number}", key))
    monkeypatch.setattr(lost_calls, "BATCH", 3)
    sweep, clock = watched(GatewayKeys(database))
    await sweep.sweep()
    clock.now += GONE_AFTER_S
    assert await sweep.sweep() == 7
    assert (await key_row(database, key)).in_flight == 0


async def test_a_call_that_was_cancelled_while_it_reserved_holds_nothing(
    database: Database,
) -> None:
    key = await a_key(database, budget_microusd=10)
    keys = GatewayKeys(database)
    sweep = Sweep(keys)
    for number in range(6):
        reserving = asyncio.create_task(keys.reserve(wanted(f"call-{number}", key)))
        for _ in range(number):
            await asyncio.sleep(0)
        reserving.cancel()
        await asyncio.wait([reserving])
        if not reserving.cancelled() and reserving.exception() is None:
            await keys.settle(Spent(f"call-{number}", "cancelled", 499))
    await asyncio.sleep(0.1)  # what a server had begun is through
    await sweep.sweep()
    row = await key_row(database, key)
    assert (row.held_microusd, row.in_flight, row.spent_microusd) == (0, 0, 0)


async def test_what_the_database_did_not_take_is_settled_by_the_sweep(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await a_key(database, budget_microusd=100)
    keys = GatewayKeys(database)
    await keys.reserve(wanted("call", key))

    async def broken(*_: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("roost_platform.db.gateway.keys.write_plain", broken)
        with pytest.raises(OSError, match="disk"):
            await keys.settle(Spent("call", "ok", 200, cost_microusd=4))
        assert len(keys.unsettled) == 1
        for _ in range(UNSETTLED_MAX + 5):
            keys._keep(Spent("more", "ok", 200))
        assert len(keys.unsettled) == UNSETTLED_MAX
    assert (await key_row(database, key)).in_flight == 1
    await Sweep(keys).sweep()
    row = await key_row(database, key)
    assert (row.in_flight, row.spent_microusd, row.held_microusd) == (0, 4, 0)
    assert not keys.unsettled and not keys.running


async def test_a_process_that_ends_leaves_nothing_open(database: Database) -> None:
    key = await a_key(database)
    keys = GatewayKeys(database)
    async with sweeping(keys):
        await keys.reserve(wanted("call", key))
        async with database.read() as session:
            assert len(list(await session.scalars(select(models.GatewayOwner)))) == 1
    assert (await calls(database))["call"].outcome == "lost"
    async with database.read() as session:
        assert list(await session.scalars(select(models.GatewayOwner))) == []
    assert (await key_row(database, key)).in_flight == 0


async def test_the_sweep_goes_on_after_a_failure(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = GatewayKeys(database)
    tries = asyncio.Event()
    sweep = Sweep(keys)
    monkeypatch.setattr(lost_calls, "DOUBT_S", 0.0)
    before = Sweep.sweep
    failed: list[int] = []

    async def fails_once(self: Sweep) -> int:
        keys.doubt.clear()
        if not failed:
            failed.append(1)
            keys.doubt.set()
            raise OSError("no database")
        tries.set()
        return await before(self)

    monkeypatch.setattr(Sweep, "sweep", fails_once)
    task = asyncio.create_task(sweep.run())
    keys.doubt.set()
    await asyncio.wait_for(tries.wait(), 20)
    task.cancel()
    await asyncio.wait([task])
