"""Deletes rows of the gateway that name the time of their end: responses and originals."""

import asyncio
from typing import Final

from sqlalchemy import delete, select, tuple_

from roost_platform.db import models
from roost_platform.db.base.engine import Database

BATCH: Final = 100  # rows in one transaction; others write in between
BATCHES_MAX: Final = 2_000  # of one table; what is left is for the next time
PAUSE_S: Final = 0.05


async def delete_expired(database: Database) -> int:
    """Delete what has expired; how many rows went."""
    return await _delete(database, models.GatewayResponse, ("id",)) + await _delete(
        database, models.GatewayOriginal, ("key_id", "reference")
    )


async def _delete(
    database: Database,
    table: type[models.GatewayResponse] | type[models.GatewayOriginal],
    key: tuple[str, ...],
) -> int:
    columns = [getattr(table, name) for name in key]
    gone = 0
    for _ in range(BATCHES_MAX):
        async with database.write(is_news=False) as session:
            due = select(*columns).where(table.expires_at <= database.now()).limit(BATCH)
            rows = [tuple(row) for row in await session.execute(due)]
            if rows:
                await session.execute(delete(table).where(tuple_(*columns).in_(rows)))
        gone += len(rows)
        if len(rows) < BATCH:
            break
        await asyncio.sleep(PAUSE_S)
    return gone
