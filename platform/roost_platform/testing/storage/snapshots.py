"""For tests: what a database holds, put back as often as a test wants to go on from there."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Table, delete, insert, select, text

from roost_platform.db import models
from roost_platform.db.base.engine import Database

# The database itself refuses to change what is in the audit trail.
KEPT: Final = ("audit",)

Rows = Mapping[Table, Sequence[dict[str, Any]]]


def _tables() -> list[Table]:
    """All tables but those that only grow, a table behind those that it refers to."""
    return [one for one in models.Base.metadata.sorted_tables if one.name not in KEPT]


async def take(database: Database) -> Rows:
    """All rows."""
    async with database.read() as session:
        return {
            table: [dict(row) for row in (await session.execute(select(table))).mappings()]
            for table in _tables()
        }


async def put_back(database: Database, rows: Rows) -> None:
    """Make the tables hold these rows and no others."""
    tables = list(reversed(_tables()))
    async with database.write() as session:
        if database.is_sqlite:
            for table in tables:
                await session.execute(delete(table))
        else:  # in one round trip
            lines = "; ".join(f"DELETE FROM {table.name}" for table in tables)
            await session.execute(text(f"DO $$ BEGIN {lines}; END $$"))
        for table in _tables():
            if rows[table]:
                await session.execute(insert(table), list(rows[table]))
