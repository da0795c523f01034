"""When a request with a status message left that has no outcome yet.

Revision ID: 0033
Revises: 0032
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0033"
down_revision: str | None = "0032"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "status_messages",
        sa.Column("left_at", sa.Double(), nullable=False, server_default=sa.text("0")),
    )


def downgrade() -> None:
    op.drop_column("status_messages", "left_at")
