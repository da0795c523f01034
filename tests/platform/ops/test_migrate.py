"""`roost migrate` waits for a server that is starting, and not for one that refuses."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from roost_platform.db.base.engine import Database
from roost_platform.errors import NotReachable
from roost_platform.processes import migrate as migration
from roost_platform.settings.config import load_settings


async def migrate(tmp_path: Path, url: str) -> None:
    environ = {"ROOST_DATA_DIR": str(tmp_path), "ROOST_DATABASE__URL": url}
    await migration.migrate_when_reachable(load_settings(environ=environ))


def named(url: str, name: str) -> str:
    return Database.parse(url).set(database=name).render_as_string(hide_password=False)


async def test_a_server_that_refuses_is_told_at_once(tmp_path: Path, postgres_server: str) -> None:
    began = time.monotonic()
    with pytest.raises(NotReachable, match='"nowhere" does not exist'):
        await migrate(tmp_path, named(postgres_server, "nowhere"))
    assert time.monotonic() - began < migration.DATABASE_WAIT_S / 2


async def test_a_server_that_does_not_answer_is_waited_for_up_to_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "DATABASE_WAIT_S", 0.5)
    monkeypatch.setattr(migration, "DATABASE_RETRY_S", 0.05)
    asked = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, family=socket.AF_INET)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(NotReachable, match="The database can't be used") as error:
            await migrate(tmp_path, f"postgresql://u:hush@127.0.0.1:{port}/roost")
    finally:
        server.close()
    assert asked > 1
    assert "hush" not in str(error.value)
