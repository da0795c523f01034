"""A restored stack is the old one byte for byte, however busy it was, on either database."""

import asyncio
import contextlib
import hashlib
import sqlite3
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import set_json_loads

from roost_channels.message import Attachment
from roost_platform.backups.backup import backup
from roost_platform.backups.restore import restore
from roost_platform.data_folder import running_stack, settings_in_use
from roost_platform.db.base.engine import Database, create_engine
from roost_platform.db.base.migrate import downgrade, upgrade
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.errors import AlreadyRunning, BackupRefused, NotReachable
from roost_platform.identity.audit_key import open_trail
from roost_platform.identity.operators import create_operator
from roost_platform.intake import PlatformIntake
from roost_platform.settings.config import Settings, load_settings
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.command_line import roost

KEYS = {"api-token": "roost_t", "engine-key": "k", "sandbox-secret": "s", "a-key-of-tomorrow": "n"}
LEFT = {"setup-link": "x", "run.json": "{}", "roost.toml": "", "temporal-1.32.0.db": "t"}
ODD = 'tab\t "quote" \\ é 🙂 \u2028 {"not": "json"}'


def settings_for(data: Path, url: str = "") -> Settings:
    data.mkdir(exist_ok=True, mode=0o700)
    more = {"ROOST_DATABASE__URL": url} if url else {}
    return load_settings(environ={"ROOST_DATA_DIR": str(data), **more})


def rows_of(url: str) -> dict[str, list[Any]]:
    """Every row of every table as stored, read by the drivers alone."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
            names = [
                n for (n,) in lite.execute("SELECT name FROM sqlite_master WHERE type='table'")
            ]
            return {
                name: sorted(map(repr, _by_name(lite.execute(f'SELECT * FROM "{name}"'))))
                for name in names
                if not name.startswith("sqlite_")
            }
    with psycopg.connect(url) as server:
        set_json_loads(
            lambda stored: stored if isinstance(stored, str) else bytes(stored).decode(), server
        )  # the text, as it is stored
        tables = server.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        ).fetchall()
        return {
            name: sorted(map(repr, _by_name(server.execute(f'SELECT * FROM "{name}"'.encode()))))
            for (name,) in tables
        }


def _by_name(cursor: Any) -> list[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    return [dict(sorted(zip(names, map(_plain, row), strict=True))) for row in cursor]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return int(value) if isinstance(value, bool) else value


def files_of(data: Path) -> dict[str, str]:
    """Checksums of all files that a backup keeps."""
    kept = [path for path in data.rglob("*") if path.is_file() and not path.is_symlink()]
    kept = [path for path in kept if path.name not in (*LEFT, "roost.lock")]
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in kept
        if not path.name.startswith("roost.db") and path.parent.name not in ("logs", "run")
    }


@dataclass
class Busy:
    """A stack in use: its settings, and a person who writes and is answered."""

    settings: Settings
    ada: Person

    async def exchange(self, number: int) -> None:
        photo = Attachment("photo", f"f{number}", name=ODD, mime_type="image/jpeg", size=3)
        message = self.ada.message(f"{ODD} {number}")
        await self.ada.gives(replace(message, attachments=(photo,)), cursor=number)
        files, now = self.ada.stores.artifacts, self.ada.stores.database.now()
        for fetch in await files.fetches([("telegram", "42")], now, 9):
            await files.fetched(fetch.artifact_id, bytes(range(256)) * number)
        turn = await self.ada.turn()
        await self.ada.agent_says(turn, 0, f"answer {number}: {ODD}")


@pytest.fixture
async def busy(database_url: str, tmp_path: Path) -> AsyncIterator[Busy]:
    settings = settings_for(tmp_path / "old", database_url)
    for name, text in (KEYS | LEFT).items():
        running_stack.write_private(settings.data_dir / name, text)
    (settings.data_dir / "logs").mkdir()
    (settings.data_dir / "link").symlink_to("/etc/hostname")
    policies = {("telegram", "42"): AccessPolicy("open")}
    stores = open_stores(database_url, policies=policies, files=settings.data_dir / "files")
    bell = DoorbellLog()
    stack = Busy(settings, Person(stores, PlatformIntake(stores, bell), bell))
    await stack.exchange(1)
    await stores.audit.write("ada", "test", ODD)
    await create_operator(settings, "ada", "a good long password", "admin")
    yield stack
    await stores.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An empty folder and an empty database of each kind."""
    kind = request.param
    url = "" if kind == "sqlite" else request.getfixturevalue("empty_postgres_url")
    return settings_for(tmp_path / "new", url)


async def test_a_restored_stack_equals_the_old_one_on_either_database(
    busy: Busy, empty: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "x.roost"
    await backup(busy.settings, file)
    summary = await restore(empty, file)
    restored, old = rows_of(plain(empty)), rows_of(plain(busy.settings))
    for name in old:
        assert restored[name] == old[name]
    assert files_of(empty.data_dir) == files_of(busy.settings.data_dir)
    kept = {path.name for path in empty.data_dir.iterdir()}
    assert kept - {"roost.db", "roost.lock", "files"} == {*KEYS, "audit-key"}
    assert summary.files == len(files_of(empty.data_dir))
    private = [path for path in empty.data_dir.rglob("*") if path.is_file()]
    assert not [path for path in private if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_tables_that_were_only_made_are_no_reason_to_refuse(
    busy: Busy, empty_postgres_url: str, tmp_path: Path
) -> None:
    fresh = settings_for(tmp_path / "new", empty_postgres_url)  # as compose.yaml's migrate makes it
    engine = create_engine(Database.parse(empty_postgres_url), migrating=True)
    async with engine.connect() as connection:
        await connection.run_sync(upgrade)
        await connection.commit()
    await engine.dispose()
    await backup(busy.settings, tmp_path / "x.roost")
    await restore(fresh, tmp_path / "x.roost")
    assert rows_of(plain(fresh))["operators"] == rows_of(plain(busy.settings))["operators"]
    with pytest.raises(BackupRefused, match="is not empty"):
        await restore(settings_for(tmp_path / "third", empty_postgres_url), tmp_path / "x.roost")


async def test_a_restored_stack_goes_on_with_new_numbers(
    busy: Busy, empty: Settings, tmp_path: Path
) -> None:
    await backup(busy.settings, tmp_path / "x.roost")
    await restore(empty, tmp_path / "x.roost")
    policies = {("telegram", "42"): AccessPolicy("open")}
    stores = open_stores(empty.database_url, policies=policies, files=empty.data_dir / "files")
    try:
        await open_trail(empty, stores.database)
        ada = Person(stores, PlatformIntake(stores, DoorbellLog()), DoorbellLog())
        again = Busy(empty, replace(ada, _ids=busy.ada._ids))
        await again.exchange(2)
        await stores.audit.write("ada", "test", "after")
        assert len(await again.ada.outbox()) == 2
        assert await stores.audit.verify() is None
    finally:
        await stores.close()


async def test_a_backup_of_a_busy_stack_is_one_moment_of_it(busy: Busy, tmp_path: Path) -> None:
    stop = asyncio.Event()

    async def write() -> int:
        number = 1
        while not stop.is_set():
            number += 1
            await busy.exchange(number)
            await asyncio.sleep(0)
        return number

    writing = asyncio.create_task(write())
    url = plain(busy.settings)
    while len(await busy.ada.outbox()) < 5:
        await asyncio.sleep(0.01)
    done = await asyncio.to_thread(
        roost,
        *("backup", str(tmp_path / "x.roost")),
        data=busy.settings.data_dir,
        ROOST_DATABASE__URL=url,
    )
    stop.set()
    last = await writing
    assert done.returncode == 0, done.stderr
    new = settings_for(tmp_path / "new")
    await restore(new, tmp_path / "x.roost")
    database = sqlite3.connect(new.data_dir / "roost.db")
    (inbox,), (outbox,), (turns,), (stored,) = (
        database.execute(f"SELECT count(*) FROM {what}").fetchone()
        for what in (
            "inbox",
            "outbox",
            "turns WHERE state = 'done'",
            "artifacts WHERE state = 'stored'",
        )
    )
    assert 5 <= outbox <= last
    # Of an exchange that was under way, its first steps may be there, never the last alone.
    assert outbox == turns <= inbox <= outbox + 1
    assert outbox <= stored <= inbox
    for artifact_id, digest in database.execute(
        "SELECT id, sha256 FROM artifacts WHERE state = 'stored'"
    ):
        file = open_stores(plain(new), files=new.data_dir / "files").artifacts.path(artifact_id)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    database.close()


async def test_what_is_there_is_replaced_only_by_force_and_then_kept_aside(
    busy: Busy, empty: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "x.roost"
    await backup(busy.settings, file)
    await restore(empty, file)
    running_stack.write_private(empty.data_dir / "api-token", "another")
    before = rows_of(plain(empty))
    with pytest.raises(BackupRefused, match="--force"):
        await restore(empty, file)
    for path in empty.data_dir.iterdir():
        if path.name not in ("roost.db", "roost.lock"):
            path.rename(tmp_path / f"away-{path.name}")
    with pytest.raises(BackupRefused, match="--force"):  # the database alone is in the way as well
        await restore(empty, file)
    assert rows_of(plain(empty)) == before
    running_stack.write_private(empty.data_dir / "api-token", "another")
    await restore(empty, file, force=True)
    assert rows_of(plain(empty)) == rows_of(plain(busy.settings))
    (aside,) = empty.data_dir.glob("before-restore-*")
    assert (aside / "api-token").read_text() == "another"


async def test_an_older_schema_is_restored_and_brought_up_to_date(
    busy: Busy, empty: Settings, tmp_path: Path
) -> None:
    expected = rows_of(plain(busy.settings))
    engine = create_engine(Database.parse(busy.settings.database_url), migrating=True)
    async with engine.connect() as connection:
        await connection.run_sync(downgrade, "0015")
        await connection.commit()
    await engine.dispose()
    await backup(busy.settings, tmp_path / "x.roost")
    await restore(empty, tmp_path / "x.roost")
    restored = rows_of(plain(empty))
    assert {name: len(rows) for name, rows in restored.items()} == {
        name: len(rows) for name, rows in expected.items()
    }
    # What newer columns held is gone with them, so both are brought up to date from there.
    engine = create_engine(Database.parse(busy.settings.database_url), migrating=True)
    async with engine.connect() as connection:
        await connection.run_sync(upgrade)
        await connection.commit()
    await engine.dispose()
    upgraded = rows_of(plain(busy.settings))
    assert restored["transcript"] == upgraded["transcript"]
    assert restored["alembic_version"] == upgraded["alembic_version"]


async def test_a_stack_that_runs_is_not_restored_over(busy: Busy, tmp_path: Path) -> None:
    file, new = tmp_path / "x.roost", settings_for(tmp_path / "new")
    await backup(busy.settings, file)
    settings_in_use.keep(new, "worker")
    with pytest.raises(BackupRefused, match="worker"):
        await restore(new, file, force=True)
    (new.data_dir / "run" / "worker.settings.json").unlink()
    await busy.ada.stores.heartbeats.beat("courier")
    with pytest.raises(BackupRefused, match="sign of life"):
        await restore(busy.settings, file, force=True)
    holder = await asyncio.create_subprocess_exec(
        "flock", str(new.data_dir / running_stack.LOCK_FILE), "sleep", "60"
    )
    try:
        with pytest.raises(AlreadyRunning):
            while True:  # until flock holds it
                await restore(new, file, force=True)
                await asyncio.sleep(0.05)
    finally:
        holder.kill()
        await holder.wait()


async def test_a_backup_never_overwrites_and_never_lies_in_what_it_keeps(
    busy: Busy, tmp_path: Path
) -> None:
    (tmp_path / "x.roost").write_text("mine")
    with pytest.raises(BackupRefused, match="exists already"):
        await backup(busy.settings, tmp_path / "x.roost")
    assert (tmp_path / "x.roost").read_text() == "mine"
    with pytest.raises(BackupRefused, match="data folder"):
        await backup(busy.settings, busy.settings.data_dir / "x.roost")
    with pytest.raises(BackupRefused, match="can't be written"):
        await backup(busy.settings, tmp_path / "nowhere" / "x.roost")
    with pytest.raises(NotReachable, match="nothing to back up"):
        await backup(settings_for(tmp_path / "new"), tmp_path / "y.roost")
    assert not (tmp_path / "y.roost").exists()
    assert not list(tmp_path.glob(".backup-*"))


def plain(settings: Settings) -> str:
    """The database's URL for its driver."""
    return settings.database_url.replace("+psycopg", "")
