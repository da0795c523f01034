"""Statements that are compiled once, for paths where SQLAlchemy's own work would be the cost.

A plain statement takes and gives values as the driver knows them: texts, numbers and None.
"""

import asyncio
import contextlib
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from sqlalchemy import Executable
from sqlalchemy.engine import Engine
from sqlalchemy.util import greenlet_spawn

from roost_platform.db.base.engine import Database
from roost_platform.db.base.inline import InlineDialect

T = TypeVar("T")


class PlainResult(Protocol):
    """What a statement has changed, and the rows it returns, whose values have names."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""
        ...

    def all(self) -> Sequence[Any]:
        """All rows."""
        ...

    def one_or_none(self) -> Any:
        """The only row, None for none."""
        ...

    def close(self) -> None:
        """Forget the rows."""
        ...


class PlainConnection(Protocol):
    """A transaction that runs plain statements."""

    @property
    def dialect(self) -> Any:
        """SQLAlchemy's dialect of the database."""
        ...

    def exec_driver_sql(self, statement: str, parameters: Any = None) -> Any:
        """Run SQL as the driver knows it; a PlainResult."""
        ...


class PlainStatement:
    """One statement and its text for each kind of database."""

    def __init__(self, statement: Executable) -> None:
        self._statement: Any = statement
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: PlainConnection, values: Mapping[str, Any]) -> PlainResult:
        """Execute it with these values of its parameters."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _compiled(self._statement, dialect)
        named = {**compiled.given, **values}
        if compiled.in_order is not None:
            parameters: Any = compiled.in_order(named)
        else:
            parameters = {one: named[one] for one in compiled.given}
        result: PlainResult = connection.exec_driver_sql(compiled.sql, parameters)
        return result


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement for one kind of database. in_order: its values, where they have no names."""

    sql: str
    given: Mapping[str, Any]
    in_order: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None


def _compiled(statement: Any, dialect: Any) -> _Compiled:
    made = statement.compile(dialect=dialect)
    names = tuple(made.positiontup) if made.positional else ()
    if not made.positional:
        return _Compiled(str(made), dict(made.params), None)
    if len(names) < 2:  # itemgetter gives a tuple for several names alone
        return _Compiled(str(made), dict(made.params), lambda of: tuple(of[one] for one in names))
    return _Compiled(str(made), dict(made.params), itemgetter(*names))


class _InlineResult:
    """The result of a statement on SQLite's own connection."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        # SQLite has run a statement to its end only when its rows are read.
        self._rows = cursor.fetchall() if cursor.description else []
        self._names = tuple(column[0] for column in cursor.description or ())
        self.rowcount = cursor.rowcount

    def all(self) -> Sequence[Any]:
        made = _row(self._names)
        return [made(*row) for row in self._rows]

    def one_or_none(self) -> Any:
        rows = self.all()
        if len(rows) > 1:
            raise ValueError("The statement returned several rows")
        return rows[0] if rows else None

    def close(self) -> None:
        pass


class _InlineConnection:
    """SQLite's own connection as a PlainConnection."""

    dialect = InlineDialect()

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def exec_driver_sql(self, statement: str, parameters: Any = None) -> _InlineResult:
        return _InlineResult(self._connection.execute(statement, parameters or ()))


@lru_cache(maxsize=64)
def _row(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names)


async def write_plain(database: Database, work: Callable[[PlainConnection], T]) -> T:
    """Run `work` in one transaction of plain statements, which is no news to others.

    It is for what happens in every request: it costs a fifth of what a session does. A cancelled
    task waits for the end of a transaction on a server, for one that is cut off there may have
    been committed all the same, and takes its connection with it.
    """
    if database.inline is not None:
        return await database.inline.write(lambda connection: work(_InlineConnection(connection)))
    writing = asyncio.ensure_future(_write(database, work))
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        while not writing.done():
            with contextlib.suppress(
                asyncio.CancelledError
            ):  # cancelled again: it waits all the same
                await asyncio.wait({writing})
        if not writing.cancelled():
            writing.exception()  # nobody else hears of it
        raise


def write_at_once(database: Database, work: Callable[[PlainConnection], object]) -> bool:
    """Run `work` in such a transaction without any wait; False where that can't be: on a server,
    and while another one writes.
    """
    if database.inline is None:
        return False
    inline = database.inline
    return inline.write_now(lambda connection: work(_InlineConnection(connection))) is not None


async def read_plain(database: Database, work: Callable[[PlainConnection], T]) -> T:
    """What `work` reads by one plain statement. It never waits for writers."""
    if database.inline is not None:
        connection = await database.inline.opened()
        with contextlib.suppress(sqlite3.OperationalError):  # another process opens or closes it
            return work(_InlineConnection(connection))
    async with database.read() as session:
        return await (await session.connection()).run_sync(work)


async def _write(database: Database, work: Callable[[PlainConnection], T]) -> T:
    """All of it in one greenlet: each one more costs as much as the statements."""
    async with database.quiet_turn() as engine:
        return await greenlet_spawn(_in_transaction, engine, work)


def _in_transaction(engine: Engine, work: Callable[[PlainConnection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)
