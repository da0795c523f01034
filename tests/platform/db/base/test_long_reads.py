"""Long reads: beside the event loop, without writing, and ended when they take too long."""

import threading
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from roost_platform.db.base.engine import Database
from roost_platform.db.base.long_reads import read_long
from roost_platform.errors import Busy
from roost_platform.testing.console.gateway import key_row

ENDLESS = {
    True: "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    False: "SELECT pg_sleep(60)",
}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


async def test_sqlite_is_read_in_another_thread_and_sees_what_is_committed(
    database: Database,
) -> None:
    async with database.write() as session:
        session.add(key_row(1, "laptop", 0.0))

    def work(session: Session) -> tuple[int, int]:
        count = session.execute(text("SELECT count(*) FROM gateway_keys")).scalar_one()
        return int(count), threading.get_ident()

    count, thread = await read_long(database, work)
    assert count == 1
    assert (thread != threading.get_ident()) is database.is_sqlite


async def test_a_read_that_takes_too_long_is_ended(database: Database) -> None:
    def work(session: Session) -> None:
        session.execute(text(ENDLESS[database.is_sqlite]))

    with pytest.raises(Busy, match="fewer days"):
        await read_long(database, work, within_s=0.3)
    assert (
        await read_long(database, lambda session: session.execute(text("SELECT 1")).scalar()) == 1
    )


async def test_a_long_read_writes_nothing(sqlite_url: str) -> None:
    database = Database(sqlite_url)

    def work(session: Session) -> None:
        session.execute(text("DELETE FROM gateway_calls"))

    with pytest.raises(OperationalError, match="readonly"):
        await read_long(database, work)
    await database.close()
