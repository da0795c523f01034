"""Jobs as a kind of conversation, results held for a turn's end, and when due times were set.

Revision ID: 0030
Revises: 0029
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0030"
down_revision: str | None = "0029"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute(
        "UPDATE conversations SET kind = 'job' WHERE kind = 'child' AND channel = 'schedule'"
    )
    # Of older schedules nobody knows when their due time was set: 0 trusts it.
    op.add_column(
        "schedules",
        sa.Column("planned_at", sa.Double(), server_default=sa.text("0"), nullable=False),
    )
    op.create_index(op.f("ix_schedules_planned_at"), "schedules", ["planned_at"], unique=False)
    op.add_column("occurrences", sa.Column("held_turn_id", sa.Text(), nullable=True))
    op.add_column(
        "occurrences",
        sa.Column("held_text", sa.Text(), server_default=sa.text("''"), nullable=False),
    )
    op.add_column(
        "occurrences",
        sa.Column("told", sa.Text(), server_default=sa.text("''"), nullable=False),
    )
    op.create_index(
        "ix_occurrences_held",
        "occurrences",
        ["held_turn_id"],
        unique=False,
        sqlite_where=sa.text("held_turn_id IS NOT NULL"),
        postgresql_where=sa.text("held_turn_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_occurrences_outbox_id"), "occurrences", ["outbox_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_occurrences_outbox_id"), table_name="occurrences")
    op.drop_index(
        "ix_occurrences_held",
        table_name="occurrences",
        sqlite_where=sa.text("held_turn_id IS NOT NULL"),
        postgresql_where=sa.text("held_turn_id IS NOT NULL"),
    )
    op.drop_column("occurrences", "told")
    op.drop_column("occurrences", "held_text")
    op.drop_column("occurrences", "held_turn_id")
    op.drop_index(op.f("ix_schedules_planned_at"), table_name="schedules")
    op.drop_column("schedules", "planned_at")
    op.execute("UPDATE conversations SET kind = 'child' WHERE kind = 'job'")
