"""Migrations: up, in line with the models, down and up again, on both databases."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from roost_platform.db.base import migrate
from roost_platform.db.base.engine import Database, create_engine, normalise
from roost_platform.db.models import Base


async def on_schema(url: str, step: Callable[..., Any], *arguments: object) -> Any:
    engine = create_engine(normalise(url), migrating=True)
    try:
        async with engine.connect() as connection:
            result = await connection.run_sync(step, *arguments)
            await connection.commit()
            return result
    finally:
        await engine.dispose()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


async def test_migrations_go_up_agree_with_the_models_and_go_down(
    empty_database_url: str,
) -> None:
    for _ in range(2):
        await on_schema(empty_database_url, migrate.upgrade)
        assert await on_schema(empty_database_url, tables) == set(Base.metadata.tables)
        await on_schema(empty_database_url, migrate.check)
        await on_schema(empty_database_url, migrate.downgrade, "base")
        assert await on_schema(empty_database_url, tables) == set()


OLD_CHATS = (
    ("telegram", "-100500", True),
    ("telegram", "1001", False),
    ("whatsapp", "whatsapp:+15550001", False),
    ("console", "-odd", False),
)


def write_old_chats(connection: Connection) -> None:
    insert = text(
        "INSERT INTO conversations (id, key, channel, account, chat, thread, agent, title,"
        " settings, inbox_sequence, turn_count, created_at)"
        " VALUES (:chat, :chat, :channel, 'a', :chat, '', 'x', '', '{}', 0, 0, 0)"
    )
    for channel, chat, _ in OLD_CHATS:
        connection.execute(insert, {"channel": channel, "chat": chat})


def groups(connection: Connection) -> dict[str, bool]:
    rows = connection.execute(text("SELECT chat, is_group FROM conversations"))
    return {chat: bool(is_group) for chat, is_group in rows}


async def test_groups_of_before_the_column_are_still_groups(empty_database_url: str) -> None:
    await on_schema(empty_database_url, migrate.upgrade, "0014")
    await on_schema(empty_database_url, write_old_chats)
    await on_schema(empty_database_url, migrate.upgrade)
    expected = {chat: is_group for _, chat, is_group in OLD_CHATS}
    assert await on_schema(empty_database_url, groups) == expected


async def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    databases = [Database(empty_database_url) for _ in range(4)]
    await asyncio.gather(*(database.migrate() for database in databases))
    async with databases[0].connect() as connection:
        assert "audit" in await connection.run_sync(tables)
    for database in databases:
        await database.close()


@pytest.mark.parametrize("url", ["mysql://somewhere/x", "oracle://x"])
def test_an_unknown_database_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(ValueError, match="use sqlite:/// or postgresql://"):
        normalise(url)


async def test_the_first_switch_to_wal_waits_for_a_file_in_use(tmp_path: Path) -> None:
    file = tmp_path / "busy.db"
    holder = sqlite3.connect(file, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    asyncio.get_running_loop().call_later(0.3, holder.rollback)
    database = Database(f"sqlite:///{file}")
    async with database.connect() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
    await database.close()
    holder.close()
