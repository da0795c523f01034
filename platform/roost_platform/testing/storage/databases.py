"""For tests: databases that are emptied and used again, and statements that are compiled once."""

from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import LRUCache

from roost_platform.db.base.engine import Database

STATEMENTS_MAX: Final = 3_000  # more than all stores have
# Each use leaves dead rows in the catalogue, which nothing clears.
USES_MAX: Final = 50
VERSION_TABLE: Final = "alembic_version"
# What a test may change beside rows. A database that differs from the template is thrown away.
SHAPE: Final = """
    SELECT (SELECT md5(string_agg(a::text, ',' ORDER BY a::text)) FROM (
              SELECT c.relname, c.relkind, attname, atttypid, attnotnull, attisdropped
              FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
              WHERE relnamespace = 'public'::regnamespace AND attnum > 0) a),
           (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_trigger),
           (SELECT count(*) FROM pg_trigger WHERE tgenabled <> 'O'),
           (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_namespace
              WHERE nspname !~ '^pg_'),
           (SELECT count(*) FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid
              WHERE relnamespace = 'public'::regnamespace),
           (SELECT count(*) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
              WHERE datname = current_database()),
           (SELECT string_agg(version_num, ',') FROM alembic_version)
"""
DISCONNECT_OTHERS: Final = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
RELATIONS: Final = """
    SELECT relname, relkind::text, pg_relation_size(oid) > 0 FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')
"""

_shared: dict[str, tuple[Dialect, LRUCache[Any, Any]]] = {}


def create_sharing_engine(url: URL, **options: Any) -> AsyncEngine:
    """An engine with the dialect and the compiled statements of the first one that connected.

    SQLAlchemy caches compiled statements per engine, and per dialect object. A test has an engine
    of its own, and would spend more time compiling than asking.
    """
    engine = create_async_engine(url, **options)
    kind = engine.dialect.name
    if kind in _shared:
        engine.sync_engine.dialect, cache = _shared[kind]
        engine.sync_engine.update_execution_options(compiled_cache=cache)
        return engine

    @event.listens_for(engine.sync_engine, "engine_connect")
    def share(connection: Connection) -> None:
        _shared.setdefault(kind, (connection.dialect, LRUCache(STATEMENTS_MAX)))

    return engine


def named(url: str, name: str) -> str:
    """The URL of another database of the same PostgreSQL server."""
    base = Database.parse(url).set(drivername="postgresql", database=name)
    return base.render_as_string(hide_password=False)


def execute(url: str, *statements: str) -> None:
    """Run these statements, each committed by itself."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@dataclass
class MigratedDatabases:
    """Databases of one server with a migrated schema, for one test after the other.

    server: the server's URL. template: the migrated database's name. strategy: how to copy it.
    Copying a database takes ten times as long as emptying one.
    """

    server: str
    template: str
    strategy: str = ""
    _free: list[str] = field(default_factory=list)
    _uses: dict[str, int] = field(default_factory=dict)
    _shape: tuple[Any, ...] | None = None
    _rows: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with psycopg.connect(named(self.server, self.template)) as connection:
            self._shape = connection.execute(SHAPE).fetchone()
            for table, kind, is_filled in connection.execute(RELATIONS).fetchall():
                if kind == "r" and is_filled and table != VERSION_TABLE:
                    copy = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
                    with connection.cursor().copy(copy) as rows:
                        self._rows[table] = b"".join(bytes(part) for part in rows)

    def take(self) -> str:
        """The name of a migrated database that holds what the template holds."""
        if self._free:
            return self._free.pop()
        name = f"roost_{uuid4().hex}"
        execute(self.server, f"CREATE DATABASE {name} TEMPLATE {self.template} {self.strategy}")
        return name

    def give_back(self, name: str) -> None:
        """Empty the database for the next test; drop it if a test changed more than rows."""
        self._uses[name] = self._uses.get(name, 0) + 1
        if self._uses[name] < USES_MAX and self._is_emptied(name):
            self._free.append(name)
        else:
            execute(self.server, f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Drop the databases that no test uses."""
        for name in self._free:
            execute(self.server, f"DROP DATABASE {name} WITH (FORCE)")

    def _is_emptied(self, name: str) -> bool:
        try:
            with psycopg.connect(named(self.server, name), autocommit=True) as connection:
                connection.execute(DISCONNECT_OTHERS)
                if connection.execute(SHAPE).fetchone() != self._shape:
                    return False
                with connection.transaction():
                    self._empty(connection)
        except psycopg.Error:  # a test closed it to everybody, or dropped it
            return False
        return True

    def _empty(self, connection: psycopg.Connection[Any]) -> None:
        # The trail's triggers refuse what changes it.
        connection.execute("SET LOCAL session_replication_role = replica")
        relations = connection.execute(RELATIONS).fetchall()
        filled = [
            sql.Identifier(table)
            for table, kind, is_filled in relations
            if kind == "r" and is_filled and table != VERSION_TABLE
        ]
        if filled:
            names = sql.SQL(", ").join(filled)
            connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(names))
        for sequence in (sql.Identifier(one) for one, kind, _ in relations if kind == "S"):
            connection.execute(sql.SQL("ALTER SEQUENCE {} RESTART").format(sequence))
        for table, rows in self._rows.items():
            copy = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
            with connection.cursor().copy(copy) as copying:
                copying.write(rows)
