"""The database, SQLite or PostgreSQL: transactions that write, that read, and news of commits."""

import asyncio
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import event, text
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from roost_channels.clock import Passed
from roost_platform.db.base.committed.bells import Bell, ring_bells
from roost_platform.db.base.committed.facts import tell_listeners
from roost_platform.db.base.committed.told import write_lines
from roost_platform.db.base.in_flight import InFlight
from roost_platform.db.base.inline import (
    BUSY_TIMEOUT_MS,
    DRIVER,
    LOG_PAGES_MAX,
    KeptConnection,
    write_lock,
)
from roost_platform.db.base.migrate import downgrade, upgrade
from roost_platform.db.base.news import CHANNEL, FileNews, News, NotifyNews
from roost_platform.db.base.pooled import AUTOCOMMIT, refuse_closed, set_autocommit
from roost_platform.db.base.touch_watch import touch

WAL_RETRY_S = 0.05
WAL_ATTEMPTS_MAX = 200  # ten seconds
POOL_SIZE = 8
POOL_OVERFLOW_MAX = 16
POOL_TIMEOUT_S = 30.0
CLOSE_S = 5.0  # what still runs when the database is closed has this long
BEGIN = "roost_begin"  # execution option: how SQLite opens the transaction
IS_NEWS = "roost_is_news"  # execution option: SQLite's news see the transaction
CHANGES = "roost_changes"  # in a connection's info: rows changed before the transaction
TO_TELL = "roost_to_tell"  # in a connection's info: it commits news
JOURNAL_BYTES_MAX = 64 * 1024 * 1024


def normalise(url: str) -> URL:
    """The URL with its asyncio driver; raises ValueError for an unknown database.

    `sqlite:///…` and `postgresql://…` are accepted as people write them.
    """
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return parsed.set(drivername=f"sqlite+{DRIVER}")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ValueError(f"Unknown database {parsed.drivername!r}: use sqlite:/// or postgresql://.")


def switch_to_wal(cursor: Any) -> None:
    """Switch the file's journal to WAL.

    The switch needs the file for itself, and SQLite's busy timeout does not wait for that.
    """
    for attempt in range(1, WAL_ATTEMPTS_MAX + 1):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if attempt == WAL_ATTEMPTS_MAX:
                raise
            await_only(asyncio.sleep(WAL_RETRY_S))


def create_engine(url: URL, *, migrating: bool = False) -> AsyncEngine:
    """An engine with our transaction rules.

    migrating: no pool, and SQLite's foreign keys off, which rebuilding a table needs.
    """
    pool: dict[str, Any] = {"hide_parameters": True}  # what people write stays out of logs
    if migrating:
        pool |= {"poolclass": NullPool}
    else:
        sizes = {"pool_size": POOL_SIZE, "max_overflow": POOL_OVERFLOW_MAX}
        pool |= {**sizes, "pool_timeout": POOL_TIMEOUT_S}
    if url.get_backend_name() != "sqlite":
        if migrating:
            return create_async_engine(url, **pool)
        server = create_async_engine(url, **pool)
        event.listen(server.sync_engine, "checkout", refuse_closed)
        event.listen(server.sync_engine, "engine_connect", set_autocommit)
        return server
    engine = create_async_engine(url, **pool)
    foreign_keys = "OFF" if migrating else "ON"

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(dbapi_connection: Any, _record: Any) -> None:
        dbapi_connection.isolation_level = None  # we say BEGIN ourselves
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA busy_timeout=0")
        switch_to_wal(cursor)  # first: in WAL no reader waits for another process's writer
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "synchronous=NORMAL",
            f"foreign_keys={foreign_keys}",
            f"journal_size_limit={JOURNAL_BYTES_MAX}",
            f"wal_autocheckpoint={LOG_PAGES_MAX}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine.sync_engine, "begin", begin_transaction)
    event.listen(engine.sync_engine, "commit", mark_news)

    @event.listens_for(engine.sync_engine, "checkin")
    def on_checkin(_connection: Any, record: Any) -> None:
        if record.info.pop(TO_TELL, False):  # the commit is visible by now
            touch(url.database or "")

    return engine


def begin_transaction(connection: Connection) -> None:
    """Open SQLite's transaction, for writers at once as one that writes.

    A writer that starts as a reader can't wait for its turn: it gets SQLITE_BUSY.
    """
    how = connection.get_execution_options().get(BEGIN, "IMMEDIATE")
    if how == "IMMEDIATE" and connection.connection.dbapi_connection is not None:
        dbapi_connection: Any = connection.connection.dbapi_connection
        await_only(write_lock(dbapi_connection))
        connection.info[CHANGES] = dbapi_connection.total_changes
        return
    connection.exec_driver_sql(f"BEGIN {how}")


def mark_news(connection: Connection) -> None:
    """Change the number that FileNews reads, if the transaction changed what others act on."""
    dbapi_connection: Any = connection.connection.dbapi_connection
    is_news = connection.get_execution_options().get(IS_NEWS, False)
    if is_news and dbapi_connection.total_changes != connection.info.get(CHANGES):
        dbapi_connection.execute(f"PRAGMA user_version={secrets.randbits(31)}")
        connection.info[TO_TELL] = True


class Database:
    """The database of one process and event loop. `clock` gives seconds since the epoch.

    engine, news: for simulations, which bring their own; made from the URL otherwise.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.time,
        engine: AsyncEngine | None = None,
        news: News | None = None,
    ) -> None:
        self.url = normalise(url)
        self.clock = clock
        self.passed = Passed.of(clock)  # for what lasts, as a clock may be set meanwhile
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database and self.url.database != ":memory:":
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        self._engine = engine or create_engine(self.url)
        self._writer = self._engine.execution_options(**{BEGIN: "IMMEDIATE", IS_NEWS: True})
        self._quiet_writer = self._engine.execution_options(**{BEGIN: "IMMEDIATE"})
        # PostgreSQL shows each statement of a reader what is committed by then, with or without
        # a transaction around them; without one they are half the round trips.
        reading = {BEGIN: "DEFERRED"} if self.is_sqlite else {AUTOCOMMIT: True}
        self._reader = self._engine.execution_options(**reading)
        # SQLite has one writer: a queue here is fair, and cheaper than the waits of its handler.
        turn = asyncio.Lock() if self.is_sqlite else None
        self._turn = turn or nullcontext()
        is_inline = turn is not None and self._engine.dialect.driver == DRIVER
        self._kept = KeptConnection(self._engine, turn) if turn and is_inline else None
        # What every session's `info` has, such as the key of the audit trail.
        self.session_info: dict[str, Any] = {}
        # Rings for what a transaction made ready; set by whoever has a doorbell.
        self.bell: Bell | None = None
        self._news = news or (FileNews(self.url) if self.is_sqlite else NotifyNews(self.url))
        self._seen: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._in_flight = InFlight()

    @staticmethod
    def parse(url: str) -> URL:
        """The URL with its asyncio driver; raises ValueError for an unknown database."""
        return normalise(url)

    def now(self) -> float:
        """Seconds since the epoch by the database's clock."""
        return self.clock()

    @asynccontextmanager
    async def write(self, *, is_news: bool = True) -> AsyncIterator[AsyncSession]:
        """A transaction that may write: committed at the block's end, rolled back if it raises.

        is_news: whether others act on it; it then ends their waits. A heartbeat is no news.
        """
        async with self._writing(is_news) as session:
            yield session
        write_lines(session)
        tell_listeners(session)
        ring_bells(session, self.bell)

    @asynccontextmanager
    async def _writing(self, is_news: bool) -> AsyncIterator[AsyncSession]:
        writer = self._writer if is_news else self._quiet_writer
        async with self._turn, self._session(writer) as session:
            yield session
            if not self.is_sqlite:
                await session.flush()
                if is_news:
                    await session.execute(text(f"SELECT pg_notify('{CHANNEL}', '')"))

    @asynccontextmanager
    async def quiet_turn(self) -> AsyncIterator[Engine]:
        """The engine of writes that are no news, in this writer's turn; see plain.py."""
        async with self._turn:
            with self._in_flight:
                yield self._quiet_writer.sync_engine

    @property
    def inline(self) -> KeptConnection | None:
        """SQLite's own connection, without SQLAlchemy; None for other databases."""
        return self._kept

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads; it never waits for writers."""
        async with self._session(self._reader) as session:
            yield session

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
        opened = AsyncSession(engine, expire_on_commit=False, info=self.session_info)
        with self._in_flight:
            async with opened as session, session.begin():
                yield session

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A bare connection, for checks of the schema."""
        async with self._engine.connect() as connection:
            yield connection

    async def version(self) -> int:
        """A number that changes with every commit of any process; for `changed_since`."""
        return await self._news.version()

    async def changed_since(self, version: int, timeout_s: float) -> int:
        """The version once it differs from `version`, or as it stands after `timeout_s`."""
        return await self._news.wait(version, timeout_s)

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a commit of any process since this task's last call; False after the time.

        A task's first call counts from now. The result is a hint: read again after a timeout too.
        """
        task = asyncio.current_task()
        if task is None:  # not reached from a coroutine
            raise RuntimeError("Database.changed needs a running task.")
        since = self._seen.get(task)
        if since is None:
            since = await self._news.version()
        self._seen[task] = await self._news.wait(since, timeout_s)
        return self._seen[task] != since

    async def migrate(self, revision: str = "head") -> None:
        """Bring the schema up to `revision`; several processes may call it at once."""
        await self._migrate(upgrade, revision)

    async def downgrade(self, revision: str) -> None:
        """Take the schema back to `revision`, an older one; columns and tables since then go."""
        await self._migrate(downgrade, revision)

    async def _migrate(self, run: Callable[[Connection, str], None], revision: str) -> None:
        engine = create_engine(self.url, migrating=True)
        try:
            async with engine.connect() as connection:
                await connection.run_sync(run, revision)
                await connection.commit()
        finally:
            await engine.dispose()

    async def close(self) -> None:
        """Close every connection, after the transactions that still run: their tasks may be on
        their way out, and a connection that comes back to a closed pool is never closed.
        """
        await self._news.close()
        await self._in_flight.ended(CLOSE_S)
        if self._kept is not None:
            await self._kept.close()
        await self._engine.dispose()
