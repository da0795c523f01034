"""Statements that are compiled once, for paths where SQLAlchemy's own work would be the cost.

A plain statement takes and gives values as the driver knows them: texts, numbers and None.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import CursorResult, Executable
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.util import greenlet_spawn

from roost_platform.db.base.engine import Database

T = TypeVar("T")


class PlainStatement:
    """One statement and its text for each kind of database."""

    def __init__(self, statement: Executable) -> None:
        self._statement: Any = statement
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute it with these values of its parameters."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _compiled(self._statement, dialect)
        named = {**compiled.given, **values}
        if compiled.in_order is not None:
            return connection.exec_driver_sql(compiled.sql, compiled.in_order(named))
        return connection.exec_driver_sql(compiled.sql, {one: named[one] for one in compiled.given})


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


async def write_plain(database: Database, work: Callable[[Connection], T]) -> T:
    """Run `work` in one transaction of plain statements, which is no news to others.

    It is for what happens in every request: it costs a third of what a session does. A cancelled
    task waits for the end of a transaction on a server, for one that is cut off there may have
    been committed all the same, and takes its connection with it.
    """
    if database.is_sqlite:
        return await _write(database, work)
    writing = asyncio.ensure_future(_write(database, work))
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing})
        if not writing.cancelled():
            writing.exception()  # nobody else hears of it
        raise


async def _write(database: Database, work: Callable[[Connection], T]) -> T:
    """All of it in one greenlet: each one more costs as much as the statements."""
    async with database.quiet_turn() as engine:
        return await greenlet_spawn(_in_transaction, engine, work)


def _in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)
