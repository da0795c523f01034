"""Until when an edit of a status message may still arrive whose outcome nobody knows.

Revision ID: 0012
Revises: 0011
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "status_messages",
        sa.Column("late_until", sa.Double(), nullable=False, server_default=sa.text("0")),
    )


def downgrade() -> None:
    op.drop_column("status_messages", "late_until")
