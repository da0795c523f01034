"""What earlier releases wrote in words gets its codes when the database is migrated."""

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import Connection

from roost_platform.db.base import migrate
from roost_platform.db.base.engine import create_engine, normalise

VERSIONS = Path(__file__).parents[4] / "migrations" / "versions"
[REVISION] = VERSIONS.glob("*_kinds_of_notes.py")
BEFORE = f"{int(REVISION.name[:4]) - 1:04}"

INBOX = [  # (state, kind, words), and what becomes of them: (code, words)
    (("ignored", "message", "not addressed to the agent"), ("not_addressed", None)),
    (("ignored", "other", "unreadable: KeyError: 'id'"), ("unreadable", "KeyError: 'id'")),
    (("done", "message", "unreadable: a person's words"), ("", None)),
    (("done", "message", "part of an album"), ("in_album", None)),
    (("done", "edited", "replaced a message that was held"), ("edit_replaced", None)),
    (("done", "migrated", "the chat moved to -100_7%"), ("chat_moved", None)),
    (("ignored", "message", "blocked"), ("blocked", None)),
    (("ignored", "callback", "unknown button"), ("unknown_button", None)),
    (("done", "callback", "that turn is over"), ("turn_over", None)),
    (("dropped", "message", "stopped"), ("stopped", None)),
    (("ignored", "reaction", "reaction"), ("other_kind", None)),
    (("held", "message", "waiting for approval"), ("awaits_approval", None)),
    (("done", "message", ""), ("", None)),
]
NOTES = [
    (("assistant", "stopped by the user after 4 s"), "stopped"),
    (("assistant", "interrupted by a newer message after 12 s"), "interrupted"),
    (("assistant", "failed: engine_unavailable"), "failed"),
    (("assistant", "cut off at the length limit"), "cut_off"),
    (("assistant", "gave no answer"), "no_answer"),
    (("assistant", "answered with 2 file(s)"), "files_only"),
    (("assistant", ""), ""),
    (("user", "stopped by the user after 4 s"), ""),
]
PEOPLE = [("policy:open", True), ("olga", False), ("", False), ("policy: a name", False)]


async def test_words_of_earlier_rows_become_codes_and_words_again(empty_database_url: str) -> None:
    engine = create_engine(normalise(empty_database_url), migrating=True)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate.upgrade)
            await connection.run_sync(migrate.downgrade, BEFORE)
            await connection.run_sync(_fill)
            before = await connection.run_sync(_reasons)
            await connection.run_sync(migrate.upgrade)
            await connection.run_sync(_check)
            await connection.run_sync(migrate.downgrade, BEFORE)
            assert await connection.run_sync(_reasons) == before
    finally:
        await engine.dispose()


def _fill(connection: Connection) -> None:
    run = connection.execute
    for number, (by, _) in enumerate(PEOPLE):
        person = {"id": str(number), "by": by}
        columns = "(id, display_name, access, created_at, decided_by)"
        run(text(f"INSERT INTO identities {columns} VALUES (:id, 'x', 'allowed', 0, :by)"), person)
    run(
        text(
            "INSERT INTO conversations (id, key, channel, account, chat, thread, agent, title,"
            " settings, inbox_sequence, turn_count, created_at)"
            " VALUES ('c', 'k', 'telegram', '1', '2', '', 'a', '', '{}', 0, 1, 0)"
        )
    )
    run(
        text(
            "INSERT INTO sessions (id, conversation_id, number, agent, transcript_length,"
            " created_at) VALUES ('s', 'c', 1, 'a', 0, 0)"
        )
    )
    run(
        text(
            "INSERT INTO turns (id, conversation_id, session_id, number, agent, state, reason,"
            " stop_requested_by, queued_at, started_at)"
            " VALUES ('t', 'c', 's', 1, 'a', 'failed', 'too_long', '', 0, 0)"
        )
    )
    for number, ((state, kind, words), _) in enumerate(INBOX):
        row = {"n": number, "id": str(number), "state": state, "kind": kind, "words": words}
        run(
            text(
                "INSERT INTO inbox (id, conversation_id, sequence, channel, account, event_id,"
                " message_id, kind, sender, text, attachments, raw, state, reason, sent_at,"
                " received_at) VALUES (:id, 'c', :n, 'telegram', '1', :id, 'm', :kind, '{}', '',"
                " '[]', '{}', :state, :words, 0, 0)"
            ),
            row,
        )
    for number, ((role, note), _) in enumerate(NOTES):
        run(
            text(
                "INSERT INTO transcript (id, session_id, position, role, content, tool_calls,"
                " tool_call_id, name, status, note, message_id, engine_message_id, prompt_tokens,"
                " completion_tokens, created_at)"
                " VALUES (:id, 's', :n, :role, '', '[]', '', '', '', :note, '', '', 0, 0, 0)"
            ),
            {"n": number, "id": str(number), "role": role, "note": note},
        )
    connection.commit()


def _reasons(connection: Connection) -> list[tuple[str, ...]]:
    rows = connection.execute(text("SELECT reason FROM inbox ORDER BY sequence"))
    return [tuple(row) for row in rows]


def _check(connection: Connection) -> None:
    run = connection.execute
    inbox = run(text("SELECT reason_code, reason FROM inbox ORDER BY sequence")).all()
    expected = [(code, words or before[2]) for before, (code, words) in INBOX]
    assert [tuple(row) for row in inbox] == expected
    notes = run(text("SELECT note_kind, note FROM transcript ORDER BY position")).all()
    assert [tuple(row) for row in notes] == [(kind, note) for (_, note), kind in NOTES]
    people = run(text("SELECT decided_by_policy FROM identities ORDER BY id")).scalars().all()
    assert [bool(by_policy) for by_policy in people] == [by_policy for _, by_policy in PEOPLE]
    assert run(text("SELECT reason_code FROM turns")).scalar() == "too_long"
