"""A call is settled at once where nobody else writes, and all the same where somebody does."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.gateway.keys.ports import Reservation, Spent

SPENT = Spent("call", "ok", 200, input_tokens=2, output_tokens=3, cost_microusd=4)


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    opened = Database(sqlite_url)
    yield opened
    await opened.close()


async def reserved(database: Database) -> GatewayKeys:
    """Keys of a process that runs one call."""
    keys = GatewayKeys(database)
    _, secret = await KeyAdmin(database).create(NewKey("one", budget_microusd=50), "tester")
    key = await keys.find(secret)
    await keys.reserve(Reservation("call", key.id, "chat", "fast", tokens=9, cost_microusd=10))
    return keys


async def told(database: Database) -> tuple[str, int, int, int]:
    """The outcome of the call; what its key has spent and holds, and its calls in flight."""
    async with database.read() as session:
        call = (await session.scalars(select(models.GatewayCall))).one()
        key = (await session.scalars(select(models.GatewayKeyRow))).one()
    return call.outcome, key.spent_microusd, key.held_microusd, key.in_flight


OPEN, SETTLED = ("", 0, 10, 1), ("ok", 4, 0, 0)


async def test_a_call_is_settled_before_anything_else_happens(database: Database) -> None:
    keys = await reserved(database)
    assert keys.settle_at_once(SPENT)
    assert not keys.running and await told(database) == SETTLED
    assert keys.settle_at_once(SPENT)  # a second time changes nothing
    assert await told(database) == SETTLED


async def test_a_call_waits_while_another_task_writes(database: Database) -> None:
    keys = await reserved(database)
    async with database.write():
        assert not keys.settle_at_once(SPENT)
    assert await told(database) == OPEN
    await keys.settle(SPENT)
    assert await told(database) == SETTLED


async def test_a_call_waits_while_another_process_writes(database: Database) -> None:
    keys = await reserved(database)
    with closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not keys.settle_at_once(SPENT)
        waiting = asyncio.create_task(keys.settle(SPENT))
        await asyncio.sleep(0.02)
        other.execute("COMMIT")
        await waiting
    assert await told(database) == SETTLED


async def test_what_fails_leaves_nothing_half_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = await reserved(database)

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr("roost_platform.db.gateway.reserving.SETTLE.run", broken)
        assert not keys.settle_at_once(SPENT)
        assert await told(database) == OPEN
        with pytest.raises(sqlite3.OperationalError, match="disk"):
            await keys.settle(SPENT)
    assert list(keys.unsettled) == [SPENT] and await told(database) == OPEN
    assert keys.settle_at_once(keys.unsettled.popleft())
    assert await told(database) == SETTLED


async def test_a_server_is_not_waited_for_in_the_event_loop(postgres_url: str) -> None:
    opened = Database(postgres_url)
    keys = await reserved(opened)
    assert not keys.settle_at_once(SPENT)
    await keys.settle(SPENT)
    assert await told(opened) == SETTLED
    await opened.close()
