"""Migrations: up, in line with the models, down and up again, on both databases."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from roost_platform.db import models
from roost_platform.db.audit import AuditTrail
from roost_platform.db.audit_seal import GENESIS, chain_hash
from roost_platform.db.base import migrate
from roost_platform.db.base.engine import Database, create_engine, normalise
from roost_platform.db.models import Base
from roost_platform.identity.audit_key import open_trail
from roost_platform.settings.config import load_settings


async def on_schema(url: str, step: Callable[..., Any], *arguments: object) -> Any:
    engine = create_engine(normalise(url), migrating=True)
    try:
        async with engine.connect() as connection:
            result = await connection.run_sync(step, *arguments)
            await connection.commit()
            return result
    finally:
        await engine.dispose()


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


async def test_migrations_go_up_agree_with_the_models_and_go_down(
    empty_database_url: str,
) -> None:
    for _ in range(2):
        await on_schema(empty_database_url, migrate.upgrade)
        assert await on_schema(empty_database_url, tables) == set(Base.metadata.tables)
        await on_schema(empty_database_url, migrate.check)
        await on_schema(empty_database_url, migrate.downgrade, "base")
        assert await on_schema(empty_database_url, tables) == set()


OLD_CHATS = (
    ("telegram", "-100500", True),
    ("telegram", "1001", False),
    ("whatsapp", "whatsapp:+15550001", False),
    ("console", "-odd", False),
)


def write_old_chats(connection: Connection) -> None:
    insert = text(
        "INSERT INTO conversations (id, key, channel, account, chat, thread, agent, title,"
        " settings, inbox_sequence, turn_count, created_at)"
        " VALUES (:chat, :chat, :channel, 'a', :chat, '', 'x', '', '{}', 0, 0, 0)"
    )
    for channel, chat, _ in OLD_CHATS:
        connection.execute(insert, {"channel": channel, "chat": chat})


def groups(connection: Connection) -> dict[str, bool]:
    rows = connection.execute(text("SELECT chat, is_group FROM conversations"))
    return {chat: bool(is_group) for chat, is_group in rows}


async def test_groups_of_before_the_column_are_still_groups(empty_database_url: str) -> None:
    await on_schema(empty_database_url, migrate.upgrade, "0015")
    await on_schema(empty_database_url, write_old_chats)
    await on_schema(empty_database_url, migrate.upgrade)
    expected = {chat: is_group for _, chat, is_group in OLD_CHATS}
    assert await on_schema(empty_database_url, groups) == expected


OLD_TOPICS = (  # chat, thread, and where its conversation is afterwards
    ("-1", "1", "telegram:a:-1"),
    ("-2", "", "telegram:a:-2"),
    ("-2", "1", "telegram:a:-2:1"),
    ("-3", "7", "telegram:a:-3:7"),
    ("4", "1", "telegram:a:4:1"),
)


def write_old_topics(connection: Connection) -> None:
    insert = text(
        "INSERT INTO conversations (id, key, channel, account, chat, thread, agent, title,"
        " settings, inbox_sequence, turn_count, created_at)"
        " VALUES (:key, :key, 'telegram', 'a', :chat, :thread, 'x', '', '{}', 0, 0, 0)"
    )
    for chat, thread, _ in OLD_TOPICS:
        key = f"telegram:a:{chat}:{thread}".rstrip(":")
        connection.execute(insert, {"key": key, "chat": chat, "thread": thread})


def keys(connection: Connection) -> set[str]:
    return set(connection.execute(text("SELECT key FROM conversations")).scalars())


async def test_the_general_topic_of_a_forum_becomes_the_chat_itself(
    empty_database_url: str,
) -> None:
    await on_schema(empty_database_url, migrate.upgrade, "0016")
    await on_schema(empty_database_url, write_old_topics)
    await on_schema(empty_database_url, migrate.upgrade)
    assert await on_schema(empty_database_url, keys) == {key for _, _, key in OLD_TOPICS}


def old_rows(connection: Connection) -> None:
    """Rows as revision 0012 wrote them: what decided stood in words for people."""
    evidence = [{"at": 1.0, "note": "Became uncertain: c1 ended while sending."}]
    refused = [
        {"at": 2.0, "note": "Refused after its acceptance as wamid.a=: failed 131047."},
        {"at": 3.0, "note": "Refused after its acceptance as : undelivered."},
    ]
    part = {"entry": "e1", "conversation": "c1", "rendered": "{}", "now": 1.0}
    parts: list[dict[str, Any]] = [
        {"id": "p1", "state": "failed", "error": "outcome unknown, no tries left", "lines": []},
        {"id": "p2", "state": "failed", "error": "Bad Request", "lines": evidence},
        {"id": "p3", "state": "sent", "error": "", "lines": evidence + refused},
    ]
    connection.execute(
        text(
            "INSERT INTO conversations (id, key, channel, account, chat, thread, agent, title,"
            " settings, inbox_sequence, turn_count, created_at) VALUES ('c1', 'k', 'telegram',"
            " '42', '7', '', 'a', '', '{}', 0, 0, 1)"
        )
    )
    connection.execute(
        text(
            "INSERT INTO sessions (id, conversation_id, number, agent, transcript_length,"
            " created_at) VALUES ('s1', 'c1', 1, 'a', 0, 1)"
        )
    )
    connection.execute(
        text(
            "INSERT INTO outbox (id, sequence, conversation_id, channel, account, generation,"
            " kind, text, buttons, state, dedupe_key, next_at, created_at) VALUES ('e1', 1,"
            " 'c1', 'telegram', '42', 0, 'answer', 'x', '[]', 'failed', 'd', 1, 1)"
        )
    )
    for position, row in enumerate(parts):
        values = {**part, **row, "lines": json.dumps(row["lines"]), "position": position}
        connection.execute(
            text(
                "INSERT INTO parts (id, outbox_id, conversation_id, position, count, rendered,"
                " char_start, char_end, state, receipt, attempts, owner, next_at, plain,"
                " duplicate_label, error, evidence) VALUES (:id, :entry, :conversation,"
                " :position, 3, :rendered, 0, 1, :state, '', 1, '', :now, false, false, :error,"
                " :lines)"
            ),
            values,
        )
    for turn_id, shown in (("t1", "answer:p3"), ("t2", "Thinking…")):
        connection.execute(
            text(
                "INSERT INTO turns (id, conversation_id, session_id, number, agent, state,"
                " reason, stop_requested_by, queued_at, started_at) VALUES (:id, 'c1', 's1',"
                " :number, 'a', 'done', '', '', 1, 1)"
            ),
            {"id": turn_id, "number": int(turn_id[1:])},
        )
        connection.execute(
            text(
                "INSERT INTO status_messages (turn_id, conversation_id, message_id, shown,"
                " state, edited_at) VALUES (:id, 'c1', 'm', :shown, 'closed', 1)"
            ),
            {"id": turn_id, "shown": shown},
        )


def reasons(connection: Connection) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    parts = connection.execute(text("SELECT id, reason_code, refused_ids FROM parts ORDER BY id"))
    read = [(id, code, json.loads(ids) if isinstance(ids, str) else ids) for id, code, ids in parts]
    query = "SELECT turn_id, answer_part_id, shown FROM status_messages ORDER BY turn_id"
    return read, [tuple(row) for row in connection.execute(text(query))]


def shown_texts(connection: Connection) -> list[str]:
    query = "SELECT shown FROM status_messages ORDER BY turn_id"
    return [str(shown) for (shown,) in connection.execute(text(query))]


async def test_what_old_rows_said_in_words_becomes_what_columns_say(
    empty_database_url: str,
) -> None:
    url = empty_database_url
    await on_schema(url, migrate.upgrade, "0012")
    await on_schema(url, old_rows)
    await on_schema(url, migrate.upgrade)
    assert await on_schema(url, reasons) == (
        [
            ("p1", "outcome_unknown", None),
            ("p2", "refused", None),
            ("p3", "", ["wamid.a=", ""]),
        ],
        [("t1", "p3", ""), ("t2", None, "Thinking…")],
    )
    await on_schema(url, migrate.downgrade, "0012")
    assert await on_schema(url, shown_texts) == ["answer:p3", "Thinking…"]


async def test_processes_that_start_together_migrate_once(empty_database_url: str) -> None:
    databases = [Database(empty_database_url) for _ in range(4)]
    await asyncio.gather(*(database.migrate() for database in databases))
    async with databases[0].connect() as connection:
        assert "audit" in await connection.run_sync(tables)
    for database in databases:
        await database.close()


@pytest.mark.parametrize("url", ["mysql://somewhere/x", "oracle://x"])
def test_an_unknown_database_is_refused_with_the_known_ones(url: str) -> None:
    with pytest.raises(ValueError, match="use sqlite:/// or postgresql://"):
        normalise(url)


async def test_the_first_switch_to_wal_waits_for_a_file_in_use(tmp_path: Path) -> None:
    file = tmp_path / "busy.db"
    holder = sqlite3.connect(file, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    asyncio.get_running_loop().call_later(0.3, holder.rollback)
    database = Database(f"sqlite:///{file}")
    async with database.connect() as connection:
        assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"
    await database.close()
    holder.close()


def write_old_audit(connection: Connection) -> None:
    """Three rows as revision 0016 chained them, without a key."""
    previous = GENESIS
    for number in range(1, 4):
        row = models.Audit(
            at=float(number),
            actor="olga",
            action="login",
            object="ä",
            detail={"n": number},
            ip="",
            prev_hash=previous,
            keyed=False,
        )
        row.hash = previous = chain_hash(row, None)
        columns = ("at", "actor", "action", "object", "ip", "prev_hash", "hash")
        values = {name: getattr(row, name) for name in columns}
        connection.execute(
            text(
                "INSERT INTO audit (at, actor, action, object, detail, ip, prev_hash, hash)"
                " VALUES (:at, :actor, :action, :object, :detail, :ip, :prev_hash, :hash)"
            ),
            {**values, "detail": json.dumps(row.detail)},
        )


async def test_s20_rows_of_before_the_key_are_carried_over_and_bound_by_it(
    empty_database_url: str, tmp_path: Path
) -> None:
    await on_schema(empty_database_url, migrate.upgrade, "0016")
    await on_schema(empty_database_url, write_old_audit)
    await on_schema(empty_database_url, migrate.upgrade)
    database = Database(empty_database_url)
    trail = AuditTrail(database)
    assert await trail.verify() is None
    await open_trail(load_settings({"data_dir": tmp_path}, environ={}), database)
    await trail.write("olga", "logout", "")
    assert await trail.verify() is None
    assert [row.id for row in await trail.list()] == [4, 3, 2, 1]
    await database.close()
