"""Statements that are compiled once, for paths where SQLAlchemy's own work would be the cost.

A plain statement takes and gives values as the driver knows them: texts, numbers and None.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import CursorResult, Executable
from sqlalchemy.engine import Connection

from roost_platform.db.base.engine import Database

T = TypeVar("T")


class PlainStatement:
    """One statement and its text for each kind of database."""

    def __init__(self, statement: Executable) -> None:
        self._statement: Any = statement
        self._compiled: dict[str, tuple[str, Mapping[str, Any], tuple[str, ...] | None]] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Execute it with these values of its parameters."""
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            made = self._statement.compile(dialect=dialect)
            order = tuple(made.positiontup) if made.positional else None
            compiled = self._compiled[dialect.name] = (str(made), dict(made.params), order)
        sql, given, order = compiled
        named = {**given, **values}
        if order is None:
            return connection.exec_driver_sql(sql, {name: named[name] for name in given})
        return connection.exec_driver_sql(sql, tuple(named[name] for name in order))


async def write_plain(database: Database, work: Callable[[Connection], T]) -> T:
    """Run `work` in one transaction of plain statements, which is no news to others.

    It is for what happens in every request: it costs a third of what a session does. A cancelled
    task leaves a transaction on a server to its end, for one that is cut off there may have been
    committed all the same, and takes its connection with it.
    """
    if database.is_sqlite:
        return await _write(database, work)
    return await asyncio.shield(_write(database, work))


async def _write(database: Database, work: Callable[[Connection], T]) -> T:
    async with database.quiet_connection() as connection:
        return await connection.run_sync(_in_transaction, work)


def _in_transaction(connection: Connection, work: Callable[[Connection], T]) -> T:
    with connection.begin():
        return work(connection)
