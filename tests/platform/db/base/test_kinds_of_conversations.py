"""Conversations of jobs, which earlier releases took for children, get their own kind."""

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Connection

from roost_platform.db.base import migrate
from roost_platform.db.base.engine import create_engine, normalise

VERSIONS = Path(__file__).parents[4] / "migrations" / "versions"
[REVISION] = VERSIONS.glob("*_jobs_and_clocks.py")
BEFORE = f"{int(REVISION.name[:4]) - 1:04}"
OLD = (("chat", "telegram", "chat"), ("agent", "child", "child"), ("job", "schedule", "child"))


def _fill(connection: Connection) -> None:
    insert = text(
        "INSERT INTO conversations (id, key, channel, account, chat, thread, agent, title, kind,"
        " settings, inbox_sequence, turn_count, created_at, is_group)"
        " VALUES (:id, :id, :channel, '', :id, '', 'a', '', :kind, '{}', 0, 0, 1.0, false)"
    )
    for id, channel, kind in OLD:
        connection.execute(insert, {"id": id, "channel": channel, "kind": kind})
    connection.commit()


def _kinds(connection: Connection) -> dict[str, str]:
    rows = connection.execute(text("SELECT id, kind FROM conversations"))
    return {row[0]: row[1] for row in rows}


async def test_jobs_get_a_kind_of_their_own_and_lose_it_again(empty_database_url: str) -> None:
    engine = create_engine(normalise(empty_database_url), migrating=True)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate.upgrade)
            await connection.run_sync(migrate.downgrade, BEFORE)
            await connection.run_sync(_fill)
            await connection.run_sync(migrate.upgrade)
            assert await connection.run_sync(_kinds) == {
                "chat": "chat",
                "agent": "child",
                "job": "job",
            }
            await connection.run_sync(migrate.downgrade, BEFORE)
            assert (await connection.run_sync(_kinds))["job"] == "child"
    finally:
        await engine.dispose()
