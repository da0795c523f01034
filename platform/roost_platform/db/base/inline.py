"""SQLite in the event loop's own thread, as an asyncio driver of SQLAlchemy's.

A statement of ours takes some ten microseconds; handing it to another thread and back takes some
hundred, in which every other process waits for the write lock. Only the wait for that lock is long,
and it is the engine's to await.
"""

import sqlite3
from types import ModuleType
from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool

DRIVER = "inline"


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


registry.register(f"sqlite.{DRIVER}", __name__, "InlineDialect")
