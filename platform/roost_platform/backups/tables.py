"""The rows of every table as JSON lines, out of one database and into another.

A file begins with the list of columns; each row is a list in that order. JSON columns are kept as
the text that is stored, so a restored row equals the old one byte for byte. Both kinds of database
write the same, so a backup of one can be restored into the other.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Boolean, inspect
from sqlalchemy.engine import Connection

from roost_platform.db.base.migrate import alembic_config, upgrade
from roost_platform.db.models import Base
from roost_platform.errors import BackupRefused

VERSION_TABLE = "alembic_version"
BATCH_ROWS = 500


def names(connection: Connection) -> list[str]:
    """Return our tables but the one of the schema's revision, in order of their names.

    A database server may have tables of others beside ours.
    """
    found = set(inspect(connection).get_table_names()) - {VERSION_TABLE}
    if revision(connection) == scripts(connection).get_current_head():
        found &= set(Base.metadata.tables)
    return sorted(found)


def scripts(connection: Connection) -> ScriptDirectory:
    """Return the migrations that this version knows."""
    return ScriptDirectory.from_config(alembic_config(connection))


def revision(connection: Connection) -> str:
    """Return the schema's revision; empty where there are no tables."""
    if VERSION_TABLE not in inspect(connection).get_table_names():
        return ""
    found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return str(found or "")


def dump(connection: Connection, table: str, file: Path) -> int:
    """Write all rows of a table in the order of its key; returns how many."""
    inspector = inspect(connection)
    columns = inspector.get_columns(table)
    key = inspector.get_pk_constraint(table)["constrained_columns"]
    booleans = [isinstance(column["type"], Boolean) for column in columns]
    wanted = ", ".join(_selected(connection, column) for column in columns)
    order = ", ".join(f'"{name}"' for name in key) or "1"
    rows = connection.execution_options(stream_results=True).exec_driver_sql(
        f'SELECT {wanted} FROM "{table}" ORDER BY {order}'
    )
    count = 0
    with file.open("x", encoding="utf-8") as out:
        out.write(json.dumps([column["name"] for column in columns]) + "\n")
        for row in rows:
            values = [_encoded(*pair) for pair in zip(row, booleans, strict=True)]
            out.write(json.dumps(values) + "\n")
            count += 1
    return count


def load(connection: Connection, table: str, file: Path) -> int:
    """Insert the rows of a file; returns how many. Raises BackupRefused for another table's."""
    known = {column["name"] for column in inspect(connection).get_columns(table)}
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    count = 0
    with file.open(encoding="utf-8") as lines:
        columns = json.loads(next(lines, "[]"))
        if set(columns) != known or len(columns) != len(known):
            raise BackupRefused(f"The backup's table {table!r} has other columns than its schema.")
        quoted = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join([mark] * len(columns))
        insert = f'INSERT INTO "{table}" ({quoted}) VALUES ({marks})'
        for batch in _batches(lines):
            connection.exec_driver_sql(insert, batch)
            count += len(batch)
    return count


def restore(
    connection: Connection,
    folder: Path,
    tables: Mapping[str, int],
    sequences: Mapping[str, int],
    at_revision: str,
) -> None:
    """Make the schema as it was, fill it, and bring it up to date, all in the open transaction."""
    upgrade(connection, at_revision)
    if not set(tables) <= set(names(connection)):
        raise BackupRefused("The backup's tables are not those of its schema.")
    dropped = _drop_references(connection)
    for table, rows in tables.items():
        # Rows that migrations made. The audit trail has none, and refuses even an empty DELETE.
        if connection.exec_driver_sql(f'SELECT 1 FROM "{table}" LIMIT 1').first() is not None:
            connection.exec_driver_sql(f'DELETE FROM "{table}"')
        if load(connection, table, folder / f"{table}.jsonl") != rows:
            raise BackupRefused(f"The backup's table {table!r} has not as many rows as listed.")
    for statement in dropped:
        connection.exec_driver_sql(statement)
    _set_sequences(connection, sequences)
    upgrade(connection)


def last_numbers(connection: Connection) -> dict[str, int]:
    """Return the last number that each counter of PostgreSQL gave; SQLite has none."""
    if connection.dialect.name != "postgresql":
        return {}
    rows = connection.exec_driver_sql(
        "SELECT sequencename, last_value FROM pg_sequences "
        "WHERE schemaname = current_schema() AND last_value IS NOT NULL"
    )
    return {str(name): int(last) for name, last in rows}


def _selected(connection: Connection, column: Any) -> str:
    name = f'"{column["name"]}"'
    is_json = isinstance(column["type"], JSON) and connection.dialect.name == "postgresql"
    return f"CAST({name} AS TEXT)" if is_json else name


def _encoded(value: Any, is_boolean: bool) -> Any:
    if isinstance(value, bytes | memoryview):
        return {"base64": base64.b64encode(value).decode("ascii")}
    return bool(value) if is_boolean and value is not None else value


def _batches(lines: Iterator[str]) -> Iterator[list[tuple[Any, ...]]]:
    while batch := list(islice(lines, BATCH_ROWS)):
        yield [tuple(_decoded(value) for value in json.loads(line)) for line in batch]


def _decoded(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value


def _drop_references(connection: Connection) -> list[str]:
    """Drop PostgreSQL's foreign keys, so that tables can be filled in any order.

    Returns the statements that make them again, which also check every row.
    """
    if connection.dialect.name != "postgresql":
        return []  # they are off while SQLite migrates, and checked afterwards
    rows = connection.exec_driver_sql(
        "SELECT quote_ident(r.relname), quote_ident(c.conname), pg_get_constraintdef(c.oid) "
        "FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid "
        "WHERE c.contype = 'f' AND c.connamespace = current_schema()::regnamespace"
    ).fetchall()
    for table, name, _ in rows:
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    return [f"ALTER TABLE {table} ADD CONSTRAINT {name} {rule}" for table, name, rule in rows]


def _set_sequences(connection: Connection, sequences: Mapping[str, int]) -> None:
    """Let PostgreSQL's counters go on behind the highest number in use."""
    if connection.dialect.name != "postgresql":
        return
    found = connection.exec_driver_sql(
        "SELECT s.sequencename, t.table_name, t.column_name "
        "FROM pg_sequences s JOIN information_schema.columns t "
        "ON t.table_schema = s.schemaname "
        # The counter of a key is TABLE_COLUMN_seq; one of our own is named TABLE_COLUMN.
        "AND s.sequencename IN (t.table_name || '_' || t.column_name || '_seq', "
        "t.table_name || '_' || t.column_name) "
        "WHERE s.schemaname = current_schema()"
    ).fetchall()
    for sequence, table, column in found:
        highest = connection.exec_driver_sql(f'SELECT max("{column}") FROM "{table}"').scalar()
        last = max(int(highest or 0), sequences.get(sequence, 0))
        if last > 0:
            connection.exec_driver_sql(f"SELECT setval('\"{sequence}\"', {last})")
