"""Tokens that compressing a prompt of the gateway saved.

Revision ID: 0038
Revises: 0032
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0038"
down_revision: str | None = "0032"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("gateway_calls") as calls:
        calls.add_column(
            sa.Column("saved_tokens", sa.BigInteger(), nullable=False, server_default="0")
        )
    with op.batch_alter_table("gateway_calls") as calls:
        calls.alter_column("saved_tokens", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("gateway_calls") as calls:
        calls.drop_column("saved_tokens")
