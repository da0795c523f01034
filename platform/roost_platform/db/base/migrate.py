"""Bring a database's schema to a revision, one process at a time."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.engine import Connection

LOCK: Final = 7_305_826_131  # advisory lock number, any constant that is ours


def migrations_path() -> Path:
    """The migrations: inside the installed package, or beside `platform/` in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for candidate in (package / "_migrations", package.parent.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise FileNotFoundError(f"No migrations beside {package}.")


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for an open connection, without any file."""
    config = Config()
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Upgrade under a lock: BEGIN IMMEDIATE on SQLite, an advisory lock on PostgreSQL."""
    lock(connection)
    command.upgrade(alembic_config(connection), revision)
    check_foreign_keys(connection)


def downgrade(connection: Connection, revision: str) -> None:
    """Downgrade under the same lock as `upgrade`."""
    lock(connection)
    command.downgrade(alembic_config(connection), revision)
    check_foreign_keys(connection)


def check(connection: Connection) -> None:
    """Raise when the models and the schema differ."""
    command.check(alembic_config(connection))


def lock(connection: Connection) -> None:
    """Keep other processes from migrating until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    elif not connection.in_transaction():
        connection.begin()


def check_foreign_keys(connection: Connection) -> None:
    """Raise RuntimeError for a dangling reference: SQLite rebuilds tables with foreign keys off."""
    if connection.dialect.name == "sqlite":
        dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if dangling:
            raise RuntimeError(f"A migration left dangling references: {dangling[:3]}")
