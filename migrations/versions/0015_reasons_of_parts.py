"""Keep what decides about a part in typed columns, beside the words for people.

Until now a part's error, the lines of its evidence and the text of a status message carried it.

Revision ID: 0015
Revises: 0014
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

REFUSED = re.compile(r"Refused after its acceptance as (\S*):")
ANSWER = "answer:"
BATCH_ROWS = 500

PARTS = sa.table(
    "parts",
    sa.column("id", sa.Text()),
    sa.column("state", sa.Text()),
    sa.column("error", sa.Text()),
    sa.column("evidence", sa.JSON()),
    sa.column("reason_code", sa.Text()),
    sa.column("refused_ids", sa.JSON()),
)
STATUSES = sa.table(
    "status_messages",
    sa.column("shown", sa.Text()),
    sa.column("answer_part_id", sa.Text()),
)


def upgrade() -> None:
    op.add_column(
        "parts",
        sa.Column("reason_code", sa.Text(), nullable=False, server_default=sa.text("''")),
    )
    op.add_column("parts", sa.Column("refused_ids", sa.JSON(), nullable=True))
    op.add_column("status_messages", sa.Column("answer_part_id", sa.Text(), nullable=True))
    failed = sa.update(PARTS).where(PARTS.c.state == "failed")
    unknown = PARTS.c.error.startswith("outcome unknown")
    op.execute(failed.where(unknown).values(reason_code="outcome_unknown"))
    op.execute(failed.where(~unknown).values(reason_code="refused"))
    op.execute(
        sa.update(STATUSES)
        .where(STATUSES.c.shown.startswith(ANSWER))
        .values(answer_part_id=sa.func.substr(STATUSES.c.shown, len(ANSWER) + 1), shown="")
    )
    carry_refused_ids()


def carry_refused_ids() -> None:
    """Read the ids from the evidence once, some rows at a time."""
    connection = op.get_bind()
    last = ""
    while True:
        rows = connection.execute(
            sa.select(PARTS.c.id, PARTS.c.evidence)
            .where(
                PARTS.c.id > last,
                sa.cast(PARTS.c.evidence, sa.Text()).contains("Refused after its acceptance as"),
            )
            .order_by(PARTS.c.id)
            .limit(BATCH_ROWS)
        ).all()
        for part_id, evidence in rows:
            if refused := refused_ids(evidence):
                statement = sa.update(PARTS).where(PARTS.c.id == part_id)
                connection.execute(statement.values(refused_ids=refused))
        if len(rows) < BATCH_ROWS:
            return
        last = rows[-1].id


def refused_ids(evidence: Any) -> list[str]:
    """The provider ids that lines of evidence name, oldest first."""
    lines = json.loads(evidence) if isinstance(evidence, str) else evidence
    notes = [str(line["note"]) for line in lines if isinstance(line, dict) and "note" in line]
    return [found.group(1) for text in notes if (found := REFUSED.match(text))]


def downgrade() -> None:
    op.execute(
        sa.update(STATUSES)
        .where(STATUSES.c.answer_part_id.is_not(None))
        .values(shown=sa.literal(ANSWER) + STATUSES.c.answer_part_id)
    )
    with op.batch_alter_table("status_messages") as table:
        table.drop_column("answer_part_id")
    with op.batch_alter_table("parts") as table:
        table.drop_column("refused_ids")
        table.drop_column("reason_code")
