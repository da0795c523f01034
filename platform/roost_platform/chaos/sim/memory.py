"""What a read transaction was told before is told again, until one of its tables is written."""

import re
import sqlite3
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any, Self

from sqlalchemy.engine import FrozenResult, Result
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import Executable

from roost_platform.db import models

_WRITTEN = re.compile(r"(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM) \"?(\w+)")
_TABLES = frozenset(models.Base.metadata.tables)


@cache
def _written_by(statement: str) -> str | None:
    match = _WRITTEN.match(statement)
    return match[1] if match else None


@cache
def _read_by(statement: Executable) -> tuple[str, ...]:
    """Tables that a statement names; only those made once are asked about, so they are few."""
    return tuple(sorted(_TABLES.intersection(re.findall(r"\w+", str(statement)))))


class NotingConnection(sqlite3.Connection):
    """Counts the writes to each table, those that are rolled back included."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.writes: Counter[str] = Counter()

    def cursor(self, _factory: Any = None) -> sqlite3.Cursor:  # type: ignore[override]
        """A cursor that counts writes; the factory asked for is not used."""
        return super().cursor(_NotingCursor)


class _NotingCursor(sqlite3.Cursor):
    connection: NotingConnection

    def execute(self, statement: str, parameters: Any = ()) -> Self:
        self._note(statement)
        return super().execute(statement, parameters)

    def executemany(self, statement: str, parameters: Any) -> Self:
        self._note(statement)
        return super().executemany(statement, parameters)

    def _note(self, statement: str) -> None:
        if not statement.startswith("SELECT") and (table := _written_by(statement)):
            self.connection.writes[table] += 1


class Memory:
    """The last answer to each statement that is made once and run with parameters.

    Rows in it belong to a session that is closed: good to read, which is all a reader does.
    """

    def __init__(self, connection: NotingConnection) -> None:
        self._writes = connection.writes
        # One answer for each such statement, which are part of the program.
        self._told: dict[Executable, tuple[Any, tuple[int, ...], FrozenResult[Any]]] = {}

    def ask(
        self, session: Session, statement: Executable, parameters: Mapping[str, Any]
    ) -> Result[Any]:
        """The result of a statement: the last one while none of its tables was written since."""
        stamp = tuple(self._writes[table] for table in _read_by(statement))
        known = self._told.get(statement)
        if known is not None and known[:2] == (parameters, stamp):
            return known[2]()
        answer = session.execute(statement, parameters).freeze()
        self._told[statement] = parameters, stamp, answer
        return answer()
