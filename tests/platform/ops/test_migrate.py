"""`roost migrate` waits for a server that is starting, and not for one that refuses."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from roost_inference.testing.raw_server import raw_server
from roost_platform.data_folder import settings_in_use
from roost_platform.db.base.engine import Database
from roost_platform.errors import AlreadyRunning, NotReachable, SchemaMismatch
from roost_platform.processes import migrate as migration
from roost_platform.settings.config import load_settings


async def migrate(tmp_path: Path, url: str, **more: str) -> None:
    environ = {"ROOST_DATA_DIR": str(tmp_path), "ROOST_DATABASE__URL": url, **more}
    await migration.migrate_when_reachable(load_settings(environ=environ))


def named(url: str, name: str) -> str:
    return Database.parse(url).set(database=name).render_as_string(hide_password=False)


async def test_a_server_that_refuses_is_told_at_once(tmp_path: Path, postgres_server: str) -> None:
    began = time.monotonic()
    with pytest.raises(NotReachable, match='"nowhere" does not exist'):
        await migrate(tmp_path, named(postgres_server, "nowhere"))
    assert time.monotonic() - began < load_settings({}, environ={}).database.wait_s / 2


async def test_a_server_that_does_not_answer_is_waited_for_up_to_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "DATABASE_RETRY_S", 0.05)
    asked = 0

    async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1

    async with raw_server(hang_up) as url:
        address = url.replace("http://", "postgresql://u:hush@") + "/roost"
        with pytest.raises(NotReachable, match="The database can't be used") as error:
            await migrate(tmp_path, address, ROOST_DATABASE__WAIT_S="0.5")
    assert asked > 1
    assert "hush" not in str(error.value)


async def test_the_tables_go_back_to_an_older_version_and_up_again(
    tmp_path: Path, empty_database_url: str
) -> None:
    environ = {"ROOST_DATA_DIR": str(tmp_path), "ROOST_DATABASE__URL": empty_database_url}
    settings = load_settings(environ=environ)
    await migrate(tmp_path, empty_database_url)
    await asyncio.to_thread(migration.take_back, settings, "0016")
    database = Database(empty_database_url)
    try:
        async with database.connect() as connection:
            found = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        assert found == "0016"
    finally:
        await database.close()
    with pytest.raises(SchemaMismatch, match="'9999'"):
        await asyncio.to_thread(migration.take_back, settings, "9999")
    await migrate(tmp_path, empty_database_url)


async def test_tables_of_a_newer_version_are_refused_in_a_sentence(
    tmp_path: Path, empty_database_url: str
) -> None:
    await migrate(tmp_path, empty_database_url)
    database = Database(empty_database_url)
    try:
        async with database.write() as session:
            await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    finally:
        await database.close()
    with pytest.raises(SchemaMismatch, match=r"newer Roost \(9999\).*roost migrate --to 00"):
        await migrate(tmp_path, empty_database_url)


async def test_the_tables_of_a_stack_that_runs_are_left_alone(
    tmp_path: Path, sqlite_url: str
) -> None:
    environ = {"ROOST_DATA_DIR": str(tmp_path), "ROOST_DATABASE__URL": sqlite_url}
    settings = load_settings(environ=environ)
    settings_in_use.keep(settings, "web")
    with pytest.raises(AlreadyRunning, match=f"web \\(pid {os.getpid()}\\)"):
        await asyncio.to_thread(migration.take_back, settings, "0016")
