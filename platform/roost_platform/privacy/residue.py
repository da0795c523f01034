"""What deleted rows leave in the database's files: old pages are written over."""

import asyncio
import logging
import sqlite3
import time
from pathlib import Path
from typing import Final

from sqlalchemy import text

from roost_platform.db.base.engine import Database

WAIT_S: Final = 30.0  # for writers of other processes
TRUNCATE_TRIES: Final = 100
TRUNCATE_PAUSE_S: Final = 0.1

log = logging.getLogger(__name__)


async def write_over(database: Database) -> bool:
    """Write the database anew without what was deleted; False if others kept it busy for too long.

    SQLite: VACUUM makes every page anew, and its journal is emptied. PostgreSQL: VACUUM frees the
    rows; its files and its journal are written over in the course of work.
    """
    if not database.is_sqlite:
        async with database.connect() as connection:
            server = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await server.execute(text("VACUUM"))
        return True
    name = database.url.database
    if not name or name == ":memory:":
        return True
    return await asyncio.to_thread(_write_over_file, Path(name))


def _write_over_file(path: Path) -> bool:
    connection = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA temp_store=FILE")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("VACUUM")
        for _ in range(TRUNCATE_TRIES):
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return True
            time.sleep(TRUNCATE_PAUSE_S)
    except sqlite3.OperationalError as error:
        log.warning("the database is not written anew: %s", error)
    finally:
        connection.close()
    return False
