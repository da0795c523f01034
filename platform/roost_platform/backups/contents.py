"""Which files of a data folder a backup holds: all but what is made again or belongs to one run."""

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from roost_platform.db.base.engine import normalise

# By the first part of their path. The database is in the backup as rows, Temporal's file follows
# from it, the KV tiers and the default model are computed again, and settings are the operator's.
LEFT_OUT = (
    *("roost.db*", "temporal-*", "temporal.lock", "roost.lock"),
    *("run", "run.json", "logs", "setup-link", "roost.toml"),
    *("kv", "models", "chaos", "lost+found"),
    *(".restore-*", ".backup-*", "before-restore-*"),
)
# Of these a folder that counts as empty may hold some.
HARMLESS = ("roost.lock", "roost.toml", "logs", "models", "lost+found", ".restore-*", ".backup-*")
FILE_ENDINGS_LEFT_OUT = (".part",)  # not written to the end yet


def files(data_dir: Path, database_url: str) -> Iterator[Path]:
    """Yield the paths of the files to keep, relative to the folder, in order of their names.

    Links are left out: they lead elsewhere.
    """
    database = database_files(database_url)
    for top in sorted(data_dir.iterdir()) if data_dir.is_dir() else ():
        if is_left_out(top.name):
            continue
        inside = [top] if not top.is_dir() else sorted(top.rglob("*"))
        for path in inside if not top.is_symlink() else ():
            is_kept = path.is_file() and not path.is_symlink() and path not in database
            if is_kept and path.suffix not in FILE_ENDINGS_LEFT_OUT:
                yield path.relative_to(data_dir)


def is_left_out(name: str) -> bool:
    """Whether no backup holds what has this name at the top of the data folder."""
    return any(fnmatch(name, pattern) for pattern in LEFT_OUT)


def in_the_way(data_dir: Path) -> list[Path]:
    """Return what a restored stack would be mixed with."""
    inside = sorted(data_dir.iterdir()) if data_dir.is_dir() else []
    return [path for path in inside if not any(fnmatch(path.name, pattern) for pattern in HARMLESS)]


def database_files(database_url: str) -> tuple[Path, ...]:
    """Return SQLite's file and those beside it; none for a server."""
    parsed = normalise(database_url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return ()
    file = Path(parsed.database).absolute()
    return (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm", "-journal")))
