"""Results of read statements, kept until one of their tables is written."""

import re
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
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
    """The tables that a statement names. Only statements that are made once come here: few."""
    return tuple(sorted(_TABLES.intersection(re.findall(r"\w+", str(statement)))))


class NotingConnection(sqlite3.Connection):
    """Counts the writes to each table, including those that are rolled back."""

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
    """The last result of each statement that is made once and run with parameters.

    Its rows belong to a closed session; a reader only reads them.
    """

    def __init__(self, connection: NotingConnection) -> None:
        self._writes = connection.writes
        # One result for each such statement; they are part of the program, so few.
        self._told: dict[Executable, tuple[Any, tuple[int, ...], FrozenResult[Any]]] = {}

    def written(self, tables: Sequence[str]) -> tuple[int, ...]:
        """How often each of these tables was written; equal numbers mean equal rows."""
        return tuple(self._writes[table] for table in tables)

    def ask(
        self, session: Session, statement: Executable, parameters: Mapping[str, Any]
    ) -> Result[Any]:
        """The result of a statement: the last one while none of its tables was written since."""
        stamp = self.written(_read_by(statement))
        known = self._told.get(statement)
        if known is not None and known[:2] == (parameters, stamp):
            return known[2]()
        answer = session.execute(statement, parameters).freeze()
        self._told[statement] = parameters, stamp, answer
        return answer()
