"""The platform's own stores over SQLite in memory, without threads: same seed, same order."""

import asyncio
import functools
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, func, select, union_all
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import StaticPool

from roost_channels.message import Address
from roost_channels.outbox import ProgressSnapshot, StatusMessage
from roost_platform.chaos.sim.life import Life
from roost_platform.db import models
from roost_platform.db.access import AccessPolicy
from roost_platform.db.engine import Database, begin_as_told, normalise
from roost_platform.db.inbox import InboxStore
from roost_platform.db.outbox import OutboxStore

URL = "sqlite:///:memory:"


class _Inline:
    """What aiosqlite offers, done at once: a statement is never interrupted by another task."""

    def __init__(self, image: bytes) -> None:
        self._conn = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._conn.deserialize(image)
        self._conn.execute("PRAGMA foreign_keys=ON")
        self._connection: Any = self  # what SQLAlchemy's adapter looks at to see it is open

    def cursor(self) -> "_InlineCursor":
        return _InlineCursor(self._conn.cursor())

    async def commit(self) -> None:
        self._conn.commit()

    async def rollback(self) -> None:
        self._conn.rollback()

    async def close(self) -> None:
        self._conn.close()

    async def create_function(self, *arguments: Any, **options: Any) -> None:
        self._conn.create_function(*arguments, **options)

    def stop(self) -> None:
        self._conn.close()


class _InlineCursor:
    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    async def __aenter__(self) -> "_InlineCursor":
        return self

    async def execute(self, statement: str, parameters: Any = ()) -> sqlite3.Cursor:
        return self._cursor.execute(statement, parameters)

    async def executemany(self, statement: str, parameters: Any) -> sqlite3.Cursor:
        return self._cursor.executemany(statement, parameters)

    async def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    async def close(self) -> None:
        self._cursor.close()


@functools.cache
def image() -> bytes:
    """A migrated, empty database as bytes; asked for first before any loop runs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        asyncio.run(_migrate(f"sqlite:///{path}"))
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode=DELETE")
        connection.close()
        return path.read_bytes()


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await database.migrate()
    finally:
        await database.close()


@functools.cache
def _engine() -> AsyncEngine:
    """One engine for all schedules, so that statements are compiled once."""

    async def connect() -> Any:
        return _Inline(image())

    engine = create_async_engine(
        normalise(URL), poolclass=StaticPool, async_creator=connect, hide_parameters=True
    )
    event.listens_for(engine.sync_engine, "begin")(begin_as_told)
    return engine


class Commits:
    """News of the simulated database: a count that every write moves."""

    def __init__(self) -> None:
        self.count = 0
        self._moved = asyncio.Event()

    def bump(self) -> None:
        self.count += 1
        self._moved.set()
        self._moved = asyncio.Event()

    async def version(self) -> int:
        return self.count

    async def wait(self, since: int, timeout_s: float) -> int:
        if self.count == since:
            try:
                await asyncio.wait_for(self._moved.wait(), timeout_s)
            except TimeoutError:
                return self.count
        return self.count

    async def close(self) -> None:
        """Nothing to release."""


class World:
    """The database that survives every process, and what processes open it through."""

    def __init__(self, clock: Callable[[], float], is_away: Callable[[], bool]) -> None:
        self.commits = Commits()
        self._clock = clock
        self._is_away = is_away

    async def start(self) -> None:
        """Begin with an empty database."""
        await _engine().dispose()

    def open(self, life: Life) -> "MortalDatabase":
        return MortalDatabase(life, self.commits, self._clock, self._is_away)


class MortalDatabase(Database):
    """The database as one process sees it, which may die before or after every transaction."""

    def __init__(
        self,
        life: Life,
        commits: Commits,
        clock: Callable[[], float],
        is_away: Callable[[], bool],
    ) -> None:
        super().__init__(URL, clock=clock, engine=_engine(), news=commits)
        self._is_away = is_away
        self._life = life
        self._commits = commits

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        await self._life.point()
        self._must_be_there()
        async with super().write() as session:
            yield session
        self._commits.bump()
        await self._life.point()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        await self._life.point()
        self._must_be_there()
        async with super().read() as session:
            yield session

    def _must_be_there(self) -> None:
        if self._is_away():
            raise OperationalError("BEGIN", {}, Exception("the database is restarting"))

    async def close(self) -> None:
        """The engine is shared by all schedules."""


class QuietOutbox(OutboxStore):
    """Answers the loops' polling from memory while nothing was committed: the same answers."""

    def __init__(self, database: MortalDatabase, commits: Commits) -> None:
        super().__init__(database)
        self._commits = commits
        self._progress: tuple[int, Sequence[ProgressSnapshot]] | None = None
        self._orphans: tuple[int, Sequence[StatusMessage]] | None = None
        self._due: tuple[int, float, Sequence[Address]] = (-1, 0.0, ())

    async def progress(self, channels: Sequence[tuple[str, str]]) -> Sequence[ProgressSnapshot]:
        count = self._commits.count
        if self._progress is None or self._progress[0] != count:
            self._progress = count, await super().progress(channels)
        return self._progress[1]

    async def orphans(self, channels: Sequence[tuple[str, str]]) -> Sequence[StatusMessage]:
        count = self._commits.count
        if self._orphans is None or self._orphans[0] != count:
            self._orphans = count, await super().orphans(channels)
        return self._orphans[1]

    async def due(self, channels: Sequence[tuple[str, str]], now: float) -> Sequence[Address]:
        count, until, found = self._due
        if count == self._commits.count and now < until:
            return found
        count = self._commits.count
        found = await super().due(channels, now)
        ask = select(func.min(models.Outbox.next_at)).where(
            models.Outbox.state == "pending", models.Outbox.next_at > now
        )
        async with self._database.read() as session:
            until = await session.scalar(ask) or float("inf")
        self._due = count, until, found
        return found


class QuietInbox(InboxStore):
    """The sweeper's look, likewise: with nothing waiting and nothing running there is no answer."""

    def __init__(
        self,
        database: MortalDatabase,
        policies: Mapping[tuple[str, str], AccessPolicy],
        commits: Commits,
    ) -> None:
        super().__init__(database, policies)
        self._commits = commits
        self._idle_at = -1

    async def overdue(
        self, *, older_than: float, not_rung_since: float, silent_since: float, limit: int
    ) -> tuple[list[str], list[str]]:
        count = self._commits.count
        if self._idle_at == count:
            return [], []
        pending = select(models.Inbox.id).where(models.Inbox.state == "pending")
        running = select(models.Turn.id).where(models.Turn.state == "running")
        async with self._database.read() as session:
            found = await session.scalar(union_all(pending, running).limit(1))
        if found is None:
            self._idle_at = count
            return [], []
        return await super().overdue(
            older_than=older_than,
            not_rung_since=not_rung_since,
            silent_since=silent_since,
            limit=limit,
        )
