"""Opening a database that must be there already: who only looks makes none."""

from pathlib import Path

from roost_platform.db.base.engine import Database, normalise
from roost_platform.errors import NotReachable


def is_missing(url: str) -> str:
    """Return the path of the SQLite file that the URL names, if there is none; else empty."""
    parsed = normalise(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return ""
    return "" if Path(parsed.database or "").is_file() else str(parsed.database)


def open_existing(url: str) -> Database:
    """Open a database; raises NotReachable where SQLite would make a new, empty file."""
    if path := is_missing(url):
        raise NotReachable(
            f"There is no database with tables at {path}; `roost migrate` makes them, "
            "and so does `roost up`."
        )
    return Database(url)
