"""`roost backup`: one file with everything that must not be lost, made while the stack runs."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from roost_platform.backups import contents, tables
from roost_platform.backups.archive import DATA, FORMAT, TABLES, ArchiveWriter, Manifest, writing
from roost_platform.db.base.engine import BEGIN, create_engine, normalise
from roost_platform.db.base.existing import is_missing
from roost_platform.errors import BackupRefused, NotReachable
from roost_platform.settings.config import Settings
from roost_platform.version import VERSION

STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class Summary:
    """What was kept: rows by table, and how many other files."""

    tables: dict[str, int]
    files: int

    def __str__(self) -> str:
        return f"{sum(self.tables.values())} rows of {len(self.tables)} tables, {self.files} files"


async def backup(settings: Settings, file: Path, *, force: bool = False) -> Summary:
    """Write a backup to a new file, or to stdout for `-`; the file appears once it is whole.

    Raises BackupRefused, and NotReachable when the database can't be read.
    """
    if missing := is_missing(settings.database_url):
        raise NotReachable(f"There is no database at {missing}: there is nothing to back up.")
    with _output(settings, file, force=force) as (out, scratch), writing(out) as writer:
        # First: files are stored before their rows, so each row that is read has its file.
        manifest = await _dump(settings, writer, scratch)
        count = 0
        for path in contents.files(settings.data_dir, settings.database_url):
            count += writer.add(f"{DATA}/{path.as_posix()}", settings.data_dir / path)
        writer.finish(
            Manifest(
                format=FORMAT,
                roost=VERSION,
                made_at=datetime.now(UTC).isoformat(),
                members=writer.members,
                **manifest,
            )
        )
    return Summary(dict(manifest["tables"]), count)


async def _dump(settings: Settings, writer: ArchiveWriter, scratch: Path) -> dict[str, Any]:
    url = normalise(settings.database_url)
    engine = create_engine(url, migrating=True)
    is_sqlite = url.get_backend_name() == "sqlite"
    # One transaction that sees the database as it is now, whatever is written meanwhile.
    snapshot = (
        {BEGIN: "DEFERRED"}
        if is_sqlite
        else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    )
    try:
        async with engine.execution_options(**snapshot).connect() as connection:
            found = await connection.run_sync(_dump_all, writer, scratch)
    except DBAPIError as error:
        raise NotReachable(
            f"The database can't be read: {str(error.orig).splitlines()[0]}"
        ) from error
    finally:
        await engine.dispose()
    return {"database": "sqlite" if is_sqlite else "postgresql", **found}


def _dump_all(connection: Connection, writer: ArchiveWriter, scratch: Path) -> dict[str, Any]:
    revision = tables.revision(connection)
    if not revision:
        raise NotReachable("The database has no tables: there is nothing to back up.")
    rows = {}
    for name in tables.names(connection):
        file = scratch / f"{name}.jsonl"
        rows[name] = tables.dump(connection, name, file)
        writer.add(f"{TABLES}/{file.name}", file)
        file.unlink()
    sequences = tables.last_numbers(connection)
    return {"revision": revision, "tables": rows, "sequences": sequences}


@contextlib.contextmanager
def _output(settings: Settings, file: Path, *, force: bool) -> Iterator[tuple[IO[bytes], Path]]:
    """Yield where to write, and a private folder on a disk that has room for a table."""
    if file == STDOUT:
        file = Path("stdout")
        with _told(file), _scratch(settings.data_dir) as scratch:
            yield sys.stdout.buffer, scratch
            sys.stdout.buffer.flush()
        return
    file = file.absolute()
    if file.exists() and not force:
        raise BackupRefused(f"{file} exists already; --force replaces it.")
    if file.resolve().is_relative_to(settings.data_dir.resolve()):
        raise BackupRefused("The backup can't lie in the data folder that it is made of.")
    with _told(file), _scratch(file.parent) as scratch:
        whole = scratch / "whole"
        with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            yield out, scratch
            out.flush()
            os.fsync(out.fileno())
        whole.replace(file)


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupRefused(f"{file} can't be written: {error.strerror or error}.") from error


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=".backup-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
