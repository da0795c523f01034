"""SQLite in the event loop's own thread, as an asyncio driver of SQLAlchemy's.

A statement of ours takes some ten microseconds; handing it to another thread and back takes some
hundred, in which every other process waits for the write lock. Only the wait for that lock is long,
and it is the engine's to await.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, TypeVar

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool

DRIVER = "inline"
BUSY_TIMEOUT_MS: Final = 30_000  # the longest a writer waits for another process's write
CHECKPOINT_COMMITS: Final = 300  # of the kept connection, each of some ten pages
EMPTYING_S: Final = 0.02  # the longest that writers are held up by it
# The log's length at which SQLite empties it within a commit all the same.
LOG_PAGES_MAX: Final = 4000
BUSY_RETRY_S: Final = 0.001  # between two attempts; SQLite's own handler soon waits 100 ms

T = TypeVar("T")

log = logging.getLogger(__name__)


class InlineCursor(sqlite3.Cursor):
    """A cursor with the extra methods that SQLAlchemy's asyncio part needs."""

    server_side = False

    async def _async_soft_close(self) -> None:
        """Nothing to release: all rows are in this process."""


class InlineConnection(sqlite3.Connection):
    """A connection used by one thread at a time, which may not be the one that opened it."""

    def cursor(self, factory: Any = InlineCursor) -> Any:
        """A cursor that SQLAlchemy's asyncio part can use."""
        return super().cursor(factory)


class InlineDialect(SQLiteDialect_pysqlite):
    """pysqlite for an AsyncEngine."""

    driver = DRIVER
    is_async = True
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """The standard library's sqlite3."""
        return sqlite3

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:
        """A pool whose waits do not block the event loop."""
        return AsyncAdaptedQueuePool

    def create_connect_args(self, url: URL) -> Any:
        """pysqlite's arguments with our class of connection."""
        arguments, options = super().create_connect_args(url)
        return arguments, {**options, "factory": InlineConnection, "check_same_thread": False}


async def write_lock(connection: Any) -> None:
    """Begin to write; other tasks run while another process holds the lock."""
    connection.execute("PRAGMA busy_timeout=0")
    try:
        await _begin(connection)
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


async def _begin(connection: Any) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise OperationalError("BEGIN IMMEDIATE", {}, error) from error
        await asyncio.sleep(BUSY_RETRY_S)


class Checkpoints:
    """Empties SQLite's log into the database's file, beside the event loop.

    SQLite does it within a commit otherwise, which then waits for the disk: for milliseconds, in
    which every other request waits as well. path: of the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._commits = 0
        self._running: asyncio.Future[None] | None = None

    def committed(self) -> None:
        """Count a commit. At every CHECKPOINT_COMMITS a thread empties the log."""
        self._commits += 1
        if self._commits >= CHECKPOINT_COMMITS and (self._running is None or self._running.done()):
            self._commits = 0
            self._running = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Wait for the thread."""
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        try:
            await asyncio.to_thread(empty_log, self._path)
        except sqlite3.Error as error:
            log.warning("the database's log was not emptied: %s", error)


def empty_log(path: str) -> None:
    """Copy the log into the file while others write; then copy the rest and begin the log anew, if
    nobody is in the way for long.
    """
    with contextlib.closing(sqlite3.connect(path, EMPTYING_S, isolation_level=None)) as connection:
        for how in ("PASSIVE", "RESTART"):
            connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()


class KeptConnection:
    """A connection of the pool for transactions that are in every request: SQLAlchemy's own work
    on each of them costs several times what SQLite does. One task uses it at a time. turn: of those
    who write to this database in this process.
    """

    def __init__(self, engine: AsyncEngine, turn: asyncio.Lock) -> None:
        self._engine = engine
        self._turn = turn
        self._taken: AsyncConnection | None = None
        self._connection: Any = None
        path = engine.url.database
        self._checkpoints = Checkpoints(path) if path and path != ":memory:" else None

    async def opened(self) -> sqlite3.Connection:
        """The connection, outside of any transaction: none is left open while others run."""
        if self._taken is None:
            taken = await self._engine.connect()
            opened: Any = (await taken.get_raw_connection()).driver_connection
            if self._taken is None:
                opened.execute("PRAGMA busy_timeout=0")
                self._taken, self._connection = taken, opened
            else:  # another task was quicker
                await taken.close()
        connection: sqlite3.Connection = self._connection
        return connection

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` does in a transaction: committed at its end, rolled back if it raises."""
        if (done := self.write_now(work)) is not None:
            return done[0]
        async with self._turn:
            connection = await self.opened()
            await _begin(connection)
            return self._commit(connection, work)

    def write_now(self, work: Callable[[sqlite3.Connection], T]) -> tuple[T] | None:
        """The same without any wait; None where another task or process writes."""
        connection = self._connection
        if connection is None or self._turn.locked():
            return None
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise OperationalError("BEGIN IMMEDIATE", {}, error) from error
            return None
        return (self._commit(connection, work),)

    def _commit(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do this in the transaction that has begun, and end it."""
        try:
            done = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        if self._checkpoints is not None:
            self._checkpoints.committed()
        return done

    async def close(self) -> None:
        """Give the connection back."""
        if self._checkpoints is not None:
            await self._checkpoints.close()
        taken, self._taken, self._connection = self._taken, None, None
        if taken is not None:
            await taken.close()


registry.register(f"sqlite.{DRIVER}", __name__, "InlineDialect")
