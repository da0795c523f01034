"""How the model was asked in each step, without content.

Revision ID: 0026
Revises: 0024
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for column in (
        sa.Column("prompt_end", sa.Integer(), nullable=True),
        sa.Column("shortening", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("last", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("pictures", sa.JSON(), nullable=True),
        sa.Column("temperature", sa.Double(), nullable=True),
        sa.Column("max_tokens", sa.Integer(), nullable=True),
        sa.Column("agent_digest", sa.Text(), nullable=False, server_default=""),
        sa.Column("finish_reason", sa.Text(), nullable=False, server_default=""),
    ):
        op.add_column("turn_steps", column)


def downgrade() -> None:
    for name in (
        "finish_reason",
        "agent_digest",
        "max_tokens",
        "temperature",
        "pictures",
        "last",
        "shortening",
        "prompt_end",
    ):
        op.drop_column("turn_steps", name)
