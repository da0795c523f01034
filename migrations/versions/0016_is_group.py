"""Whether a conversation is a group's: until now the chat's id was asked.

Revision ID: 0016
Revises: 0015
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column(
        "conversations",
        sa.Column("is_group", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    # Telegram numbers groups below zero; no other channel had any.
    conversations = sa.table(
        "conversations",
        sa.column("channel", sa.Text()),
        sa.column("chat", sa.Text()),
        sa.column("is_group", sa.Boolean()),
    )
    op.execute(
        conversations.update()
        .where(conversations.c.channel == "telegram", conversations.c.chat.like("-%"))
        .values(is_group=True)
    )


def downgrade() -> None:
    op.drop_column("conversations", "is_group")
