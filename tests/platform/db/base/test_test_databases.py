"""A PostgreSQL database that tests use again is as good as a fresh one."""

from collections.abc import Iterator

import psycopg
import pytest

from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.storage.databases import USES_MAX, MigratedDatabases, named


@pytest.fixture
def databases(migrated_databases: MigratedDatabases) -> Iterator[MigratedDatabases]:
    """Databases that no other test has used."""
    template, strategy = migrated_databases.template, migrated_databases.strategy
    databases = MigratedDatabases(migrated_databases.server, template, strategy)
    yield databases
    databases.close()


def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables, and where the sequences stand."""
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'S')"
        ).fetchall()
        return {
            str(name): connection.execute(f'SELECT * FROM "{name}"'.encode()).fetchall()
            for (name,) in names
        }


async def test_a_used_database_holds_again_what_the_template_holds(
    databases: MigratedDatabases,
) -> None:
    name = databases.take()
    url = named(databases.server, name)
    fresh = contents(url)
    stores = open_stores(url)
    doorbell = DoorbellLog()
    await Person(stores, PlatformIntake(stores, doorbell), doorbell).says("Hello")
    await stores.audit.write("olga", "login", "console")
    used = contents(url)
    changed = {table for table, rows in used.items() if rows != fresh[table]}
    assert changed >= {"audit", "audit_anchor", "inbox", "outbox", "outbox_sequence"}, changed
    databases.give_back(name)  # its connections are still open
    await stores.close()
    assert databases.take() == name
    assert contents(url) == fresh
    databases.give_back(name)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE turns ADD COLUMN mood text",
        "DROP TABLE outbox CASCADE",
        "CREATE TABLE guests (name text)",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "ALTER TABLE turns ADD CHECK (number < 9)",
        "UPDATE alembic_version SET version_num = '0001'",
        "ANALYZE alembic_version",
    ],
)
def test_a_database_whose_schema_a_test_changed_is_thrown_away(
    databases: MigratedDatabases, change: str
) -> None:
    name = databases.take()
    with psycopg.connect(named(databases.server, name), autocommit=True) as connection:
        connection.execute(change.encode())
    databases.give_back(name)
    with psycopg.connect(databases.server) as connection:
        assert not connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", [name]
        ).fetchall()


def test_a_database_is_used_a_bounded_number_of_times(databases: MigratedDatabases) -> None:
    names = []
    for _ in range(USES_MAX + 1):
        names.append(databases.take())
        databases.give_back(names[-1])
    assert set(names[:USES_MAX]) == {names[0]}
    assert names[USES_MAX] != names[0]
