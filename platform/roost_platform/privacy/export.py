"""All that belongs to a person in one ZIP file: a line of JSON for each row, and the files."""

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db.base.engine import Database
from roost_platform.db.models import Base
from roost_platform.db.stores import Stores
from roost_platform.privacy.belongings import (
    BY_ADDRESS,
    Belongings,
    belongings_of,
    by_address,
    conversation_tables,
    of_conversations,
    of_person,
    person_tables,
)
from roost_platform.privacy.groups import traces_in

ROWS_AT_ONCE: Final = 200
IDS_AT_ONCE: Final = 500
# Secrets of ours that stand in a person's rows.
LEFT_OUT: Final = {"tenants": {"salt"}, "turns": {"nonce"}, "approvals": {"nonce", "code"}}
README: Final = """\
All that Roost keeps of one person.

tables/NAME.jsonl   one row a line, as JSON; times are seconds since the epoch (UTC)
files/ID            files that were sent or made, by the ids of tables/artifacts.jsonl

inbox is what the person wrote, transcript what the agent read and answered, outbox and parts what
was sent. Of chats of others only the person's own messages are here.
"""


async def export_person(stores: Stores, identity_id: str, file: IO[bytes]) -> Belongings:
    """Write the person's ZIP file; raises NotFound. The caller audits it."""
    async with stores.database.read() as session:
        owner = await belongings_of(session, identity_id)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", README)
        async with _reading(stores.database) as session:
            queries = await _queries(session, owner)
            for name, statements in sorted(queries.items()):
                with archive.open(f"tables/{name}.jsonl", "w", force_zip64=True) as lines:
                    for statement in statements:
                        async for line in _lines(session, name, statement):
                            lines.write(line)
            ids = [id async for id in _artifacts(session, queries["artifacts"])]
        for id in ids:
            path = stores.artifacts.path(id)
            await asyncio.to_thread(_add_file, archive, path, f"files/{id}")
    return owner


def _reading(database: Database) -> AbstractAsyncContextManager[AsyncSession]:
    """A transaction in which rows are streamed: PostgreSQL's readers have none, and it has no lock
    for writers that this one could hold.
    """
    return database.read() if database.is_sqlite else database.write(is_news=False)


async def _queries(session: AsyncSession, owner: Belongings) -> dict[str, list[Select[Any]]]:
    """What to read of each table."""
    queries: dict[str, list[Select[Any]]] = {
        name: [select(table).where(of_conversations(table, owner.conversations))]
        for name, table in conversation_tables().items()
    }
    identities = Base.metadata.tables["identities"]
    queries["identities"] = [select(identities).where(identities.c.id == owner.identity_id)]
    for name, table in person_tables().items():
        queries.setdefault(name, []).append(
            select(table).where(of_person(table, owner.identity_id))
        )
    for name in BY_ADDRESS:
        table = Base.metadata.tables[name]
        queries[name] = [select(table).where(by_address(table, owner))]
    for conversation_id in owner.groups:
        traces = await traces_in(session, conversation_id, owner)
        _add_group(queries, [row.id for row in traces.rows])
        for name, column in (("schedules", "id"), ("occurrences", "schedule_id")):
            table = Base.metadata.tables[name]
            queries[name].append(select(table).where(table.c[column].in_(traces.schedules)))
    return queries


def _add_group(queries: dict[str, list[Select[Any]]], inbox_ids: list[str]) -> None:
    """The person's own messages in one chat of others, and their files."""
    tables = Base.metadata.tables
    for start in range(0, len(inbox_ids), IDS_AT_ONCE):
        some = inbox_ids[start : start + IDS_AT_ONCE]
        for name, column in (
            ("inbox", "id"),
            ("transcript", "inbox_id"),
            ("artifacts", "inbox_id"),
        ):
            table = tables[name]
            queries[name].append(select(table).where(table.c[column].in_(some)))


async def _lines(session: AsyncSession, name: str, statement: Select[Any]) -> AsyncIterator[bytes]:
    left_out = LEFT_OUT.get(name, set())
    rows = await session.stream(statement.execution_options(yield_per=ROWS_AT_ONCE))
    async for row in rows.mappings():
        values = {key: value for key, value in row.items() if key not in left_out}
        yield json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"


async def _artifacts(session: AsyncSession, statements: list[Select[Any]]) -> AsyncIterator[str]:
    for statement in statements:
        rows = await session.stream(statement.execution_options(yield_per=ROWS_AT_ONCE))
        async for row in rows.mappings():
            yield str(row["id"])


def _add_file(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    """Add the file if it is still kept."""
    if path.is_file():
        archive.write(path, name)
