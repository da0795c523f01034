"""What went wrong in turns and tools, for operators, and how often a turn was taken up again.

Revision ID: 0021
Revises: 0016
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "turns", sa.Column("resumes", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
    op.add_column("turns", sa.Column("error", sa.Text(), nullable=False, server_default=""))
    op.add_column("tool_calls", sa.Column("error", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("tool_calls", "error")
    op.drop_column("turns", "error")
    op.drop_column("turns", "resumes")
