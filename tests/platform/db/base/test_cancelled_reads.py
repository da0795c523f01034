"""Reads of PostgreSQL that are cancelled at any moment, on a loop that was busy."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from psycopg import waiting
from sqlalchemy import text

from roost_platform.db.base.engine import Database

TURNS_MAX = 40  # of the event loop, in more than which a read has ended


@pytest.fixture
async def database(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """Psycopg lets the loop turn after each of its calls, as it does on a loop that was busy."""
    monkeypatch.setattr(waiting, "MAX_BUSY_TIME", -1.0)
    database = Database(postgres_url)
    yield database
    await database.close()


def out_of_the_pool(database: Database) -> int:
    """How many connections were taken out of the pool and did not come back."""
    pool = database._engine.sync_engine.pool
    count: int = pool.checkedout()  # type: ignore[attr-defined]
    return count


async def read(database: Database) -> None:
    async with database.read() as session:
        assert await session.scalar(text("SELECT 1")) == 1


async def test_a_read_that_is_cancelled_at_any_moment_gives_its_connection_back(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await read(database)
    for turns in range(TURNS_MAX):
        task = asyncio.create_task(read(database))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gc.collect()
        assert out_of_the_pool(database) == 0, f"cancelled after {turns} turns"
    assert "garbage collector" not in caplog.text
    await read(database)


async def test_readers_have_no_transaction_and_writers_have_one(database: Database) -> None:
    in_one = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
    for _ in range(2):  # the same connection serves both
        async with database.read() as session:
            await session.execute(text("SELECT pg_current_xact_id()"))
            assert await session.scalar(in_one) is False
        async with database.write() as session:
            await session.execute(text("SELECT pg_current_xact_id()"))
            assert await session.scalar(in_one) is True
