"""`roost migrate`: bring the database's tables up to date."""

import asyncio
import time

from sqlalchemy.exc import OperationalError

from roost_platform.db.base.engine import Database
from roost_platform.errors import NotReachable
from roost_platform.settings.config import Settings
from roost_platform.stack import logs

DATABASE_WAIT_S = 60.0
DATABASE_RETRY_S = 0.5


def migrate(settings: Settings) -> None:
    """Migrate, and wait for a database server that is only starting; raises NotReachable."""
    logs.configure("migrate", level=settings.log.level, json_lines=settings.log.json_lines)
    asyncio.run(migrate_when_reachable(settings))


async def migrate_when_reachable(settings: Settings) -> None:
    """Try for DATABASE_WAIT_S; a server that answers and refuses is not asked again."""
    database = Database(settings.database_url)
    deadline = time.monotonic() + DATABASE_WAIT_S
    try:
        while True:
            try:
                return await database.migrate()
            except (OperationalError, OSError) as error:
                if database.is_sqlite:
                    raise
                reason = str(error).splitlines()[0]
                # Waiting does not mend a wrong password or a wrong name. libpq gives no code for a
                # connection that the server refused, only the server's words.
                is_refused = "FATAL" in reason and "starting up" not in reason
                if is_refused or time.monotonic() > deadline:
                    raise NotReachable(f"The database can't be used: {reason}") from error
                await asyncio.sleep(DATABASE_RETRY_S)
    finally:
        await database.close()
