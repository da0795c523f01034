"""The platform's own stores over SQLite in memory, without threads: same seed, same order."""

import asyncio
import functools
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

from sqlalchemy import create_engine, event, select, union_all
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from roost_channels.message import Address
from roost_channels.outbox import ProgressSnapshot, StatusMessage
from roost_platform.chaos.sim.life import Life
from roost_platform.chaos.sim.memory import Memory, NotingConnection
from roost_platform.db import models
from roost_platform.db.base.engine import Database, normalise
from roost_platform.db.inbox.inbox import InboxStore
from roost_platform.db.outbox.outbox import OutboxStore
from roost_platform.db.people.access import AccessPolicy

URL = "sqlite:///:memory:"
ROUNDS_TO_CLOSE = 3  # of the loop, in which others may act, as AsyncSession takes to close


class InlineSession:
    """The verbs of AsyncSession that stores use, done at once on the session below it.

    A transaction in memory never waits, so there is nothing to await: the same statements by the
    same mapper, without a greenlet for each.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.add, self.add_all = session.add, session.add_all
        self.get_bind = session.get_bind

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        return self._session.execute(*arguments, **options)

    async def scalar(self, *arguments: Any, **options: Any) -> Any:
        return self._session.scalar(*arguments, **options)

    async def scalars(self, *arguments: Any, **options: Any) -> Any:
        return self._session.scalars(*arguments, **options)

    async def get(self, *arguments: Any, **options: Any) -> Any:
        return self._session.get(*arguments, **options)

    async def get_one(self, *arguments: Any, **options: Any) -> Any:
        return self._session.get_one(*arguments, **options)

    async def flush(self) -> None:
        self._session.flush()

    async def delete(self, row: object) -> None:
        self._session.delete(row)


class ReadingSession(InlineSession):
    """A session that only reads, and need not ask again what it knows."""

    def __init__(self, session: Session, memory: Memory) -> None:
        super().__init__(session)
        self._memory = memory

    async def execute(self, statement: Any, parameters: Any = None) -> Any:
        if parameters is None:
            return self._session.execute(statement)
        return self._memory.ask(self._session, statement, parameters)

    async def scalar(self, statement: Any, parameters: Any = None) -> Any:
        return (await self.execute(statement, parameters)).scalar()

    async def scalars(self, statement: Any, parameters: Any = None) -> Any:
        return (await self.execute(statement, parameters)).scalars()


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
def _engine() -> Engine:
    """One engine for all schedules, so that statements are compiled once; each connection is an
    empty database of its own.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, factory=NotingConnection
        )
        connection.deserialize(image())
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    engine = create_engine("sqlite://", poolclass=NullPool, creator=connect, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.connection.execute("BEGIN")  # nobody else is there, so any kind will do

    return engine


@functools.cache
def _unconnected() -> AsyncEngine:
    """What a Database is made with; ours goes to the connection instead."""
    return create_async_engine(normalise(URL))


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
        self.connection = _engine().connect()
        self.memory = Memory(cast(NotingConnection, self.connection.connection.dbapi_connection))
        self._clock = clock
        self._is_away = is_away

    def open(self, life: Life) -> "MortalDatabase":
        return MortalDatabase(life, self, self._clock, self._is_away)

    def close(self) -> None:
        self.connection.close()


class MortalDatabase(Database):
    """The database as one process sees it, which may die before or after every transaction."""

    def __init__(
        self,
        life: Life,
        world: "World",
        clock: Callable[[], float],
        is_away: Callable[[], bool],
    ) -> None:
        super().__init__(URL, clock=clock, engine=_unconnected(), news=world.commits)
        self._connection = world.connection
        self._memory = world.memory
        self._is_away = is_away
        self._life = life
        self._commits = world.commits

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        await self._life.point()
        self._must_be_there()
        async with self._turn:
            with self._session_of_now() as session:
                yield cast(AsyncSession, InlineSession(session))
            await self._closing()
        self._commits.bump()
        await self._life.point()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        await self._life.point()
        self._must_be_there()
        with self._session_of_now() as session:
            yield cast(AsyncSession, ReadingSession(session, self._memory))
        await self._closing()

    @contextmanager
    def _session_of_now(self) -> Iterator[Session]:
        with Session(self._connection, expire_on_commit=False) as session, session.begin():
            yield session

    async def _closing(self) -> None:
        for _ in range(ROUNDS_TO_CLOSE):
            await asyncio.sleep(0)

    def _must_be_there(self) -> None:
        if self._is_away():
            raise OperationalError("BEGIN", {}, Exception("the database is restarting"))

    async def close(self) -> None:
        """The connection is the world's."""


_TIMES = (
    select(models.Outbox.next_at)
    .where(models.Outbox.state == "pending")
    .order_by(models.Outbox.next_at)
)
_BUSY = union_all(
    select(models.Inbox.id).where(models.Inbox.state == "pending"),
    select(models.Turn.id).where(models.Turn.state == "running"),
).limit(1)


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
        async with self._database.read() as session:
            times = await session.scalars(_TIMES, {})
            until = next((at for at in times if at > now), float("inf"))
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
        async with self._database.read() as session:
            found = await session.scalar(_BUSY, {})
        if found is None:
            self._idle_at = count
            return [], []
        return await super().overdue(
            older_than=older_than,
            not_rung_since=not_rung_since,
            silent_since=silent_since,
            limit=limit,
        )
