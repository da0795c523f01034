"""Codes to decide by, beside the words that operators read.

Revision ID: 0014
Revises: 0013
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

UNREADABLE = "unreadable: "

# What the words of earlier rows mean; a pattern of LIKE where they vary.
REASONS = {
    "not addressed to the agent": "not_addressed",
    "part of an album": "in_album",
    "an edit of a message we never saw": "edit_of_unknown",
    "the words did not change": "edit_unchanged",
    "replaced a message that was %": "edit_replaced",
    "an edit of a message that the agent does not see any more": "edit_unseen",
    "told to the agent": "edit_told",
    "the chat moved to %": "chat_moved",
    "we may write here": "let_in",
    "we may not write here any more": "shut_out",
    "blocked": "blocked",
    "not on the allowlist": "not_listed",
    "not admitted; pairing happens in a private chat": "not_paired_in_group",
    "too many messages while waiting for approval": "too_many_held",
    "waiting for approval": "awaits_approval",
    "waiting for a free pairing code": "awaits_code",
    "a command of a stranger": "command_of_stranger",
    "not admitted": "not_admitted",
    "unknown button": "unknown_button",
    "that turn is over": "turn_over",
    "stopped": "stopped",
}
NOTES = {
    "stopped by the user after %": "stopped",
    "interrupted by a newer message after %": "interrupted",
    "failed: %": "failed",
    "cut off at the length limit": "cut_off",
    "gave no answer": "no_answer",
    "answered with %": "files_only",
}


def upgrade() -> None:
    for table, column in (("inbox", "reason_code"), ("transcript", "note_kind")):
        added = sa.Column(column, sa.Text(), nullable=False, server_default=sa.text("''"))
        op.add_column(table, added)
    op.add_column(
        "identities",
        sa.Column("decided_by_policy", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.execute("ALTER TABLE turns RENAME COLUMN reason TO reason_code")
    inbox = sa.table(
        "inbox", *(sa.column(name) for name in ("state", "kind", "reason", "reason_code"))
    )
    is_kind = sa.and_(inbox.c.state == "ignored", inbox.c.reason == inbox.c.kind)
    problem = sa.func.substr(inbox.c.reason, len(UNREADABLE) + 1)
    op.execute(
        sa.update(inbox)
        .where(inbox.c.state == "ignored", inbox.c.reason.startswith(UNREADABLE))
        .values(reason_code="unreadable", reason=problem)
    )
    codes = [(inbox.c.reason.like(words), code) for words, code in REASONS.items()]
    op.execute(
        sa.update(inbox)
        .where(inbox.c.reason_code == "", inbox.c.reason != "")
        .values(reason_code=sa.case(*codes, (is_kind, "other_kind"), else_=""))
    )
    transcript = sa.table(
        "transcript", *(sa.column(name) for name in ("role", "note", "note_kind"))
    )
    kinds = [(transcript.c.note.like(words), kind) for words, kind in NOTES.items()]
    op.execute(
        sa.update(transcript)
        .where(transcript.c.role == "assistant", transcript.c.note != "")
        .values(note_kind=sa.case(*kinds, else_=""))
    )
    identities = sa.table("identities", sa.column("decided_by"), sa.column("decided_by_policy"))
    op.execute(
        sa.update(identities)
        .where(identities.c.decided_by.in_(("policy:open", "policy:pairing", "policy:allowlist")))
        .values(decided_by_policy=sa.true())
    )


def downgrade() -> None:
    inbox = sa.table("inbox", sa.column("reason"), sa.column("reason_code"))
    op.execute(
        sa.update(inbox)
        .where(inbox.c.reason_code == "unreadable")
        .values(reason=sa.literal(UNREADABLE) + inbox.c.reason)
    )
    op.execute("ALTER TABLE turns RENAME COLUMN reason_code TO reason")
    op.drop_column("identities", "decided_by_policy")
    op.drop_column("transcript", "note_kind")
    op.drop_column("inbox", "reason_code")
