"""How Alembic reaches the database: the platform's connection, or its own on the command line."""

import asyncio
import os

from alembic import context
from sqlalchemy.engine import Connection

from roost_platform.db.base.engine import create_engine, normalise
from roost_platform.db.models import Base


def run(connection: Connection) -> None:
    """Run the wanted migrations; whoever began the transaction commits it."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_alone() -> None:
    """For `alembic …` in a checkout: the database is ROOST_DATABASE__URL."""
    engine = create_engine(normalise(os.environ["ROOST_DATABASE__URL"]), migrating=True)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("Migrations need a database: set ROOST_DATABASE__URL.")
shared = context.config.attributes.get("connection")
if shared is None:
    asyncio.run(run_alone())
else:
    run(shared)
