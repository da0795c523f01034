"""`roost restore`: a stack as a backup holds it, in an empty data folder and an empty database."""

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from alembic.util import CommandError
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError

from roost_platform.backups import contents, tables
from roost_platform.backups.archive import DATA, TABLES, Manifest, extract
from roost_platform.backups.backup import Summary
from roost_platform.data_folder import running_stack
from roost_platform.data_folder.settings_in_use import running_parts
from roost_platform.db import models
from roost_platform.db.base.engine import create_engine, normalise
from roost_platform.db.base.existing import open_existing
from roost_platform.db.base.migrate import downgrade
from roost_platform.db.services import ALIVE_S, Heartbeats
from roost_platform.errors import BackupRefused, NotReachable
from roost_platform.settings.config import Settings

STDIN = Path("-")


async def restore(settings: Settings, file: Path, *, force: bool = False) -> Summary:
    """Restore a backup; nothing is changed before the whole archive is checked.

    force: what is there is replaced. Files and a SQLite database are moved to a folder
    `before-restore-…` beside the new ones; tables on a server are dropped.
    Raises BackupRefused, AlreadyRunning and NotReachable.
    """
    running_stack.make_data_dir(settings.data_dir)
    with running_stack.lock(settings.data_dir):
        await _refuse_running(settings)
        await _refuse_filled(settings, force=force)
        with _staging(settings.data_dir) as staging:
            with _source(file) as source:
                manifest = await asyncio.to_thread(extract, source, staging)
            _check_files(manifest)
            await _apply(settings, manifest, staging)
    files = sum(name.startswith(f"{DATA}/") for name in manifest.members)
    return Summary(dict(manifest.tables), files)


async def _refuse_running(settings: Settings) -> None:
    """Raise for parts that run without `roost up`, here or on other machines."""
    if parts := running_parts(settings.data_dir):
        names = ", ".join(f"{part} (pid {pid})" for part, pid in sorted(parts.items()))
        raise BackupRefused(f"These parts of Roost run on this data folder: {names}. Stop them.")
    with contextlib.suppress(NotReachable, DBAPIError):  # no database or no tables: nothing runs
        database = open_existing(settings.database_url)
        try:
            alive = [one.service for one in await Heartbeats(database).all() if one.is_alive]
        finally:
            await database.close()
        if alive:
            raise BackupRefused(
                f"These parts of Roost gave a sign of life within {ALIVE_S:.0f} s: "
                f"{', '.join(alive)}. Stop them, and wait for so long."
            )


async def _refuse_filled(settings: Settings, *, force: bool) -> None:
    if force:
        return
    found = contents.in_the_way(settings.data_dir)
    files = [path for path in contents.database_files(settings.database_url) if path.exists()]
    if found or files:
        raise BackupRefused(
            f"{settings.data_dir} is not empty: it holds {(found or files)[0].name}. Restore into "
            "another folder with --data, or replace what is there with --force."
        )
    url = normalise(settings.database_url)
    if url.get_backend_name() != "sqlite" and await _has_rows(url):
        raise BackupRefused(
            f"The database {url.render_as_string()} is not empty; --force replaces its tables."
        )


def _check_files(manifest: Manifest) -> None:
    """Refuse names that no backup of ours has: they would be taken for a running stack's."""
    for name in manifest.members:
        folder, top, *_ = name.split("/")
        if folder == DATA and contents.is_left_out(top):
            raise BackupRefused(f"The backup holds {name!r}, which is not allowed.")
        if folder == TABLES and name != f"{TABLES}/{top}":
            raise BackupRefused(f"The backup holds {name!r}, which is not allowed.")
    wanted = {f"{TABLES}/{table}.jsonl" for table in manifest.tables}
    held = {name for name in manifest.members if name.startswith(f"{TABLES}/")}
    if wanted != held:
        raise BackupRefused("The backup's tables are not those that it lists.")


async def _apply(settings: Settings, manifest: Manifest, staging: Path) -> None:
    url = normalise(settings.database_url)
    data = staging / DATA
    data.mkdir(exist_ok=True)
    if url.get_backend_name() == "sqlite":
        made = staging / "restored.db"
        engine = create_engine(normalise(f"sqlite:///{made}"), migrating=True)
        try:
            async with engine.connect() as connection:
                await connection.run_sync(_fill, manifest, staging)
                await connection.commit()
        finally:
            await engine.dispose()
        target = contents.database_files(settings.database_url)
        _move_files(settings.data_dir, data, target)
        target[0].parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.move(made, target[0])
        target[0].chmod(0o600)
        return
    engine = create_engine(url, migrating=True)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_empty)
            await connection.run_sync(_fill, manifest, staging)
            _move_files(settings.data_dir, data, ())
            await connection.commit()
    except DBAPIError as error:
        reason = str(error.orig).splitlines()[0]
        raise BackupRefused(f"The database can't take the backup: {reason}") from error
    finally:
        await engine.dispose()


def _fill(connection: Connection, manifest: Manifest, staging: Path) -> None:
    try:
        tables.scripts(connection).get_revision(manifest.revision)
    except CommandError:
        raise BackupRefused(
            f"The backup was made by Roost {manifest.roost}, whose tables this version does not "
            f"know ({manifest.revision}). Install that version or a newer one."
        ) from None
    folder = staging / TABLES
    tables.restore(connection, folder, manifest.tables, manifest.sequences, manifest.revision)


def _empty(connection: Connection) -> None:
    """Take our tables out of a server's database, whatever they hold."""
    if tables.revision(connection):
        downgrade(connection, "base")


def _rows_of(connection: Connection) -> bool:
    """Whether something is kept; the migrations themselves make the audit trail's anchor."""
    return any(
        connection.exec_driver_sql(f'SELECT 1 FROM "{name}" LIMIT 1').first() is not None
        for name in tables.names(connection)
        if name != models.AuditAnchor.__tablename__
    )


async def _has_rows(url: URL) -> bool:
    engine = create_engine(url, migrating=True)
    try:
        async with engine.connect() as connection:
            return bool(await connection.run_sync(_rows_of))
    except DBAPIError as error:
        reason = str(error.orig).splitlines()[0]
        raise NotReachable(f"The database can't be used: {reason}") from error
    finally:
        await engine.dispose()


def _move_files(data_dir: Path, restored: Path, database: tuple[Path, ...]) -> None:
    """Move what is there aside and the restored files to their places."""
    old = [*contents.in_the_way(data_dir)]
    old += [path for path in database if path.exists() and path not in old]
    if old:
        aside = data_dir / f"before-restore-{time.strftime('%Y%m%d-%H%M%S')}"
        aside.mkdir(mode=0o700)
        for path in old:
            if not path.name.startswith("before-restore-"):
                shutil.move(path, aside / path.name)
    for path in sorted(restored.iterdir()):
        shutil.move(path, data_dir / path.name)


@contextlib.contextmanager
def _staging(data_dir: Path) -> Iterator[Path]:
    for left in data_dir.glob(".restore-*"):  # of a restore that was cut off
        shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=".restore-", dir=data_dir))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _source(file: Path) -> Iterator[IO[bytes]]:
    if file == STDIN:
        yield sys.stdin.buffer
        return
    try:
        source = file.open("rb")
    except OSError as error:
        raise BackupRefused(f"{file} can't be read: {error.strerror or error}.") from error
    with source:
        yield source
