"""SQLite's log is emptied beside the event loop, and stays short."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from roost_platform.db.base import inline
from roost_platform.db.base.engine import Database
from roost_platform.db.base.plain import PlainConnection, read_plain, write_plain

PAGE_BYTES = 4096


async def commit(database: Database, number: int) -> None:
    def write(connection: PlainConnection) -> None:
        connection.exec_driver_sql("INSERT INTO t VALUES (?)", (f"{number} {'x' * 4000}",))

    await write_plain(database, write)


async def opened(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder / 'roost.db'}")
    await write_plain(database, lambda c: c.exec_driver_sql("CREATE TABLE t (a TEXT)").close())
    return database


async def test_many_small_commits_leave_a_short_log_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline, "CHECKPOINT_COMMITS", 20)
    threads: list[threading.Thread] = []
    empty = inline.empty_log

    def noted(path: str) -> None:
        threads.append(threading.current_thread())
        empty(path)

    monkeypatch.setattr(inline, "empty_log", noted)
    database = await opened(tmp_path)
    for number in range(200):
        await commit(database, number)
        await asyncio.sleep(0.005 if number % 20 == 0 else 0)
    count = await read_plain(
        database,
        lambda c: c.exec_driver_sql("SELECT count(*) AS n FROM t", ()).one_or_none().n,
    )
    assert count == 200
    await database.close()
    assert threads and threading.main_thread() not in threads
    with sqlite3.connect(tmp_path / "roost.db") as connection:
        assert connection.execute("SELECT count(DISTINCT a) FROM t").fetchone() == (200,)


async def test_a_log_that_a_reader_keeps_open_is_emptied_later(tmp_path: Path) -> None:
    database = await opened(tmp_path)
    await commit(database, 0)
    reader = sqlite3.connect(tmp_path / "roost.db", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
    for number in range(50):
        await commit(database, number)
    log = tmp_path / "roost.db-wal"
    await asyncio.to_thread(inline.empty_log, str(tmp_path / "roost.db"))
    assert log.stat().st_size > 50 * PAGE_BYTES
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
    reader.close()
    before = log.stat().st_size
    await asyncio.to_thread(inline.empty_log, str(tmp_path / "roost.db"))
    await commit(database, 51)  # at the beginning of the log again
    assert log.stat().st_size == before
    await database.close()


async def test_a_disk_that_fails_meanwhile_fails_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_path: str) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(inline, "CHECKPOINT_COMMITS", 1)
    monkeypatch.setattr(inline, "empty_log", broken)
    database = await opened(tmp_path)
    await commit(database, 1)
    await database.close()
    assert "was not emptied" in caplog.text
