"""`roost migrate`: bring the database's tables up to date."""

import asyncio
import logging
import time

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from roost_platform.data_folder.settings_in_use import running_parts
from roost_platform.db.base.engine import Database
from roost_platform.errors import AlreadyRunning, NotReachable
from roost_platform.masking import mask
from roost_platform.settings.config import Settings
from roost_platform.stack import logs

DATABASE_RETRY_S = 0.5
CONNECT_S_MIN = 1.0

log = logging.getLogger(__name__)


def migrate(settings: Settings) -> None:
    """Migrate, and wait for a database server that is only starting; raises NotReachable."""
    logs.configure("migrate", level=settings.log.level, json_lines=settings.log.json_lines)
    asyncio.run(migrate_when_reachable(settings))


def take_back(settings: Settings, revision: str) -> None:
    """Take the tables back to an older revision; raises AlreadyRunning, SchemaMismatch."""
    if parts := running_parts(settings.data_dir):
        names = ", ".join(f"{part} (pid {pid})" for part, pid in sorted(parts.items()))
        raise AlreadyRunning(f"Stop Roost first; on this data folder run: {names}.")
    logs.configure("migrate", level=settings.log.level, json_lines=settings.log.json_lines)

    async def run() -> None:
        database = Database(settings.database_url)
        try:
            await database.downgrade(revision)
        finally:
            await database.close()

    asyncio.run(run())


async def migrate_when_reachable(settings: Settings) -> None:
    """Try for database.wait_s; a server that answers and refuses is not asked again."""
    database = Database(settings.database_url)
    wait_s = settings.database.wait_s
    deadline = time.monotonic() + wait_s
    is_told = False
    try:
        while True:
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), CONNECT_S_MIN)):
                    await _reach(database)
                return await database.migrate()
            except (DBAPIError, OSError, TimeoutError) as error:
                cause = error.orig if isinstance(error, DBAPIError) else error
                reason = (str(cause) or "it does not answer").splitlines()[0]
                # Waiting does not mend a wrong password or a wrong name. libpq gives no code for a
                # connection that the server refused, only the server's words.
                is_refused = "FATAL" in reason and "starting up" not in reason
                if database.is_sqlite or is_refused or time.monotonic() > deadline:
                    where = database.url.render_as_string()
                    raise NotReachable(
                        mask(f"The database can't be used: {where}: {reason}")
                    ) from error
                if not is_told:
                    is_told = True
                    log.warning(
                        "the database %s does not answer (%s); trying for %.0f s",
                        database.url.render_as_string(),
                        reason,
                        wait_s,
                    )
                await asyncio.sleep(DATABASE_RETRY_S)
    finally:
        await database.close()


async def _reach(database: Database) -> None:
    """Connect once; a server that is away is noticed here, and a migration may take its time."""
    if not database.is_sqlite:
        async with database.connect() as connection:
            await connection.execute(select(1))
