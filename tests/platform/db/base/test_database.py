"""The door to the database: transactions, writers taking turns, and news of commits."""

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.in_flight import InFlight
from roost_platform.db.base.news import RECONNECT_S
from roost_platform.db.base.text import clean
from roost_platform.db.services import Heartbeats
from roost_platform.rhythm import BEAT_S, until_beat

ROOT = Path(__file__).resolve().parents[4]
CANCELLED_WRITERS = 60
PROCESSES = 2
WRITES_EACH = 40

# Each process reads a number and writes it back one higher, as fast as it can.
WRITER = """
import asyncio, sys
sys.path[:0] = {paths!r}
from sqlalchemy import select
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.in_flight import InFlight

async def main():
    database = Database({url!r})
    for _ in range({writes}):
        async with database.write() as session:
            row = await session.get(models.SetupToken, "counter", with_for_update=True)
            await asyncio.sleep(0)
            row.created_at += 1
    await database.close()

asyncio.run(main())
"""


def token(name: str, at: float = 0.0) -> models.SetupToken:
    return models.SetupToken(token_hash=name, created_at=at, expires_at=0.0)


async def count(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(models.SetupToken)) or 0


@pytest.fixture
async def database(database_url: str) -> "Database":
    return Database(database_url)


async def test_an_exception_in_a_write_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.write() as session:
            session.add(token("half"))
            await session.flush()
            raise RuntimeError("killed here")
    assert await count(database) == 0
    await database.close()


async def test_writers_of_one_process_take_turns(database: Database) -> None:
    async with database.write() as session:
        session.add(token("counter"))

    async def raise_by_one() -> None:
        async with database.write() as session:
            row = await session.get_one(models.SetupToken, "counter", with_for_update=True)
            await asyncio.sleep(0)
            row.created_at += 1

    await asyncio.gather(*(raise_by_one() for _ in range(20)))
    async with database.read() as session:
        assert (await session.get_one(models.SetupToken, "counter")).created_at == 20
    await database.close()


async def test_writers_of_several_processes_take_turns_without_errors(database_url: str) -> None:
    database = Database(database_url)
    async with database.write() as session:
        session.add(token("counter"))
    paths = [str(ROOT / name) for name in ("platform", "channels", "workflows", "inference")]
    code = WRITER.format(paths=paths, url=database_url, writes=WRITES_EACH)
    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=subprocess.PIPE)
        for _ in range(PROCESSES)
    ]
    for _ in range(WRITES_EACH):
        async with database.write() as session:
            row = await session.get_one(models.SetupToken, "counter", with_for_update=True)
            await asyncio.sleep(0)
            row.created_at += 1
    for process in running:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    async with database.read() as session:
        row = await session.get_one(models.SetupToken, "counter")
        assert row.created_at == (PROCESSES + 1) * WRITES_EACH
    await database.close()


async def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    async with database.write() as session:
        session.add(token("uncommitted"))
        await session.flush()
        assert await asyncio.wait_for(count(database), 2.0) == 0
    assert await count(database) == 1
    await database.close()


async def test_a_commit_wakes_who_waits(database_url: str) -> None:
    mine, other = Database(database_url), Database(database_url)
    await mine.changed(0)
    waiting = asyncio.create_task(mine.version())
    since = await waiting
    woken = asyncio.create_task(mine.changed_since(since, 10.0))
    await asyncio.sleep(0.05)
    before = time.monotonic()
    async with other.write() as session:
        session.add(token("news"))
    assert await woken != since
    assert time.monotonic() - before < 1.0
    await mine.close()
    await other.close()


async def test_a_heartbeat_is_no_news_and_ends_no_wait(database_url: str) -> None:
    mine, other = Database(database_url), Database(database_url)
    beats = Heartbeats(other)
    await beats.beat("courier")  # its row is there from now on
    await mine.changed(0)
    await beats.beat("courier")
    assert not await mine.changed(0.3)
    async with other.write() as session:
        session.add(token("real"))
    assert await mine.changed(5.0)
    await mine.close()
    await other.close()


def test_all_processes_beat_at_the_same_moments_and_never_twice_at_one() -> None:
    for now in (1000.0, 1000.01, 1002.4, 1002.6, 1004.9, 1004.999):
        wait_s = until_beat(now=now)
        assert BEAT_S / 2 < wait_s <= 1.5 * BEAT_S
        assert round((now + wait_s) / BEAT_S, 6).is_integer()


async def test_a_transaction_that_changes_nothing_is_no_news(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    mine, other = Database(url), Database(url)
    async with other.write() as session:
        await session.execute(text("CREATE TABLE empty (id)"))
    await mine.changed(0)
    async with other.write() as session:
        await session.execute(text("DELETE FROM empty"))
    assert not await mine.changed(0.2)
    await mine.close()
    await other.close()


async def test_a_commit_between_two_waits_is_not_missed(database: Database) -> None:
    await database.changed(0)
    async with database.write() as session:
        session.add(token("between"))
    assert await database.changed(5.0)
    await database.changed(0.3)  # a late notification of the same commit
    assert not await database.changed(0.05)
    await database.close()


async def test_waiting_ends_at_its_timeout(database: Database) -> None:
    await database.changed(0)
    before = time.monotonic()
    assert not await database.changed(0.1)
    assert 0.09 <= time.monotonic() - before < 2.0
    await database.close()


async def test_foreign_keys_hold(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        async with database.write() as session:
            await session.execute(
                text(
                    "INSERT INTO aliases (channel, address, identity_id, username, created_at) "
                    "VALUES ('telegram', '1', 'nobody', '', 0)"
                )
            )
    await database.close()


def test_text_that_databases_refuse_is_cleaned_at_any_depth() -> None:
    assert clean({"a\x00": ["b\x00", "\ud83d", 1, None]}) == {"a": ["b", "?", 1, None]}


async def test_writers_cancelled_anywhere_leave_the_database_usable(database: Database) -> None:
    dice = random.Random(7)

    async def add(name: str) -> None:
        async with database.write() as session:
            session.add(token(f"{name}a"))
            await session.flush()
            session.add(token(f"{name}b"))

    tasks = []
    for number in range(CANCELLED_WRITERS):
        tasks.append(asyncio.create_task(add(str(number))))
        await asyncio.sleep(dice.random() * 0.004)
        if dice.random() < 0.5:
            dice.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(add("last"), 10.0)
    async with database.read() as session:
        names = set(await session.scalars(select(models.SetupToken.token_hash)))
    firsts, seconds = ({name[:-1] for name in names if name.endswith(end)} for end in ("a", "b"))
    assert firsts == seconds and "last" in firsts
    await database.close()


async def test_connections_that_postgresql_closed_are_renewed_before_they_are_used(
    postgres_url: str,
) -> None:
    database = Database(postgres_url)
    backend = text("SELECT pg_backend_pid() FROM pg_sleep(0.05)")

    async def pid() -> int:
        async with database.read() as session:
            return int(await session.scalar(backend) or 0)

    before = set(await asyncio.gather(*(pid() for _ in range(5))))
    assert len(before) == 5
    async with database.write() as session:
        closing = text("SELECT pg_terminate_backend(:pid) WHERE :pid <> pg_backend_pid()")
        for number in before:
            await session.execute(closing, {"pid": number})
    await asyncio.sleep(0.2)
    after = set(await asyncio.gather(*(pid() for _ in range(5))))
    assert len(after) == 5 and len(after & before) <= 1
    async with database.write() as session:
        await session.merge(token("after", time.time()))
    await database.close()


async def test_news_come_again_after_postgresql_closed_the_connection(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.changed(0)
    async with database.write() as session:
        await session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
        )
    assert await database.changed(5.0)  # the notification, or the news that news were lost
    async with asyncio.timeout(20.0):
        await asyncio.sleep(RECONNECT_S)
        while not await database.changed(0.2):
            async with database.write() as session:
                await session.merge(token("again", time.time()))
    await database.close()


async def test_a_database_that_is_closed_waits_for_what_still_runs(
    database: Database,
) -> None:
    is_open, may_end = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        async with database.write() as session:
            await session.execute(select(models.SetupToken))
            is_open.set()
            await may_end.wait()

    writing = asyncio.create_task(write())
    await is_open.wait()
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0.05)
    assert not closing.done()
    may_end.set()
    await closing
    assert writing.done()


async def test_what_never_ends_is_waited_for_no_longer_than_asked() -> None:
    in_flight = InFlight()
    with in_flight:
        await asyncio.wait_for(in_flight.ended(0.02), 5.0)
    assert not in_flight.count
