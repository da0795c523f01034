"""The database of a simulation: SQLite in memory without threads, so one seed has one order."""

import asyncio
import functools
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from roost_channels.clock import Passed
from roost_platform.chaos.sim.inline_session import InlineSession, ReadingSession
from roost_platform.chaos.sim.life import Life
from roost_platform.chaos.sim.loop import LoopClock
from roost_platform.chaos.sim.memory import Memory, NotingConnection
from roost_platform.db.base.committed.bells import ring_bells
from roost_platform.db.base.engine import Database, normalise

URL = "sqlite:///:memory:"
ROUNDS_TO_CLOSE = 3  # rounds of the loop that AsyncSession takes to close; others may act


@functools.cache
def image() -> bytes:
    """A migrated, empty database as bytes; first called before any loop runs."""
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
    """One engine for all schedules, so that statements are compiled once.

    Each connection is an empty database of its own.
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
        connection.connection.execute("BEGIN")  # there is no other connection, so any kind will do

    return engine


@functools.cache
def _unconnected() -> AsyncEngine:
    """The engine that Database needs and that is never used: ours has a connection."""
    return create_async_engine(normalise(URL))


class Commits:
    """News of the simulated database: a count that every write increases."""

    def __init__(self) -> None:
        self.count = 0
        self._moved = asyncio.Event()

    def bump(self) -> None:
        """Count a commit and wake everybody who waits for one."""
        self.count += 1
        self._moved.set()
        self._moved = asyncio.Event()

    async def version(self) -> int:
        """The number of commits so far."""
        return self.count

    async def wait(self, since: int, timeout_s: float) -> int:
        """The version once it differs from `since`, or as it stands after `timeout_s`."""
        if self.count == since:
            try:
                await asyncio.wait_for(self._moved.wait(), timeout_s)
            except TimeoutError:
                return self.count
        return self.count

    async def close(self) -> None:
        """Nothing to release."""


class World:
    """The database, which survives every process."""

    def __init__(self, clock: Callable[[], float], is_away: Callable[[], bool]) -> None:
        self.commits = Commits()
        self.effects: list[str] = []  # keys of calls that took effect outside, in order
        self.connection = _engine().connect()
        self.memory = Memory(cast(NotingConnection, self.connection.connection.dbapi_connection))
        self._clock = clock
        self._is_away = is_away

    def open(self, life: Life) -> "MortalDatabase":
        """The database as this process sees it."""
        return MortalDatabase(life, self, self._clock, self._is_away)

    def close(self) -> None:
        """Release the connection."""
        self.connection.close()


class MortalDatabase(Database):
    """The database for one process, which may die before or after every transaction."""

    def __init__(
        self,
        life: Life,
        world: "World",
        clock: Callable[[], float],
        is_away: Callable[[], bool],
    ) -> None:
        super().__init__(URL, clock=clock, engine=_unconnected(), news=world.commits)
        self.passed = Passed.by(LoopClock())
        self._connection = world.connection
        self._memory = world.memory
        self._is_away = is_away
        self._life = life
        self._commits = world.commits

    @asynccontextmanager
    async def write(self, *, is_news: bool = True) -> AsyncIterator[AsyncSession]:
        """A transaction that may write; the process may die before it or after it."""
        await self._life.point()
        self._must_be_there()
        async with self._turn:
            with self._session_of_now() as session:
                inline = cast(AsyncSession, InlineSession(session))
                yield inline
            await self._closing()
        self._commits.bump()
        await self._life.point()
        ring_bells(inline, self.bell)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads; the process may die before it."""
        await self._life.point()
        self._must_be_there()
        with self._session_of_now() as session:
            yield cast(AsyncSession, ReadingSession(session, self._memory))
        await self._closing()

    def written(self, *tables: str) -> tuple[int, ...]:
        """See Memory.written."""
        return self._memory.written(tables)

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
        """Nothing to release: the connection belongs to the world."""
