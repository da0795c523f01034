"""Messages whose delivery a person stopped, and names of the allowlist bound to accounts.

Revision ID: 0017
Revises: 0016
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("dropped_at", sa.Double(), nullable=True))
    op.add_column("outbox", sa.Column("drop_notice_id", sa.Text(), nullable=True))
    op.add_column("outbox", sa.Column("drop_words", sa.JSON(), nullable=True))
    op.create_table(
        "listed_names",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("bound_at", sa.Double(), nullable=False),
        sa.Column("told_address", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("channel", "account", "name", name=op.f("pk_listed_names")),
    )


def downgrade() -> None:
    op.drop_table("listed_names")
    with op.batch_alter_table("outbox") as table:
        table.drop_column("drop_words")
        table.drop_column("drop_notice_id")
        table.drop_column("dropped_at")
