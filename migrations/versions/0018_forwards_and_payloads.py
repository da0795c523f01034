"""Whose words a forwarded message has, what came along for the agent, and one General topic.

Revision ID: 0018
Revises: 0016
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COLUMNS = (
    ("inbox", "forwarded_from"),
    ("inbox", "payload"),
    ("transcript", "forwarded_from"),
    ("transcript", "payload"),
    ("conversations", "payload"),
)


def upgrade() -> None:
    for table, name in _COLUMNS:
        op.add_column(table, sa.Column(name, sa.Text(), nullable=False, server_default=""))
    # The first topic of a forum is the chat itself. A group that has both keeps both.
    op.execute(
        """UPDATE conversations SET thread = '', key = channel || ':' || account || ':' || chat
        WHERE channel = 'telegram' AND thread = '1' AND chat LIKE '-%' AND NOT EXISTS (
            SELECT 1 FROM conversations AS other
            WHERE other.channel = conversations.channel AND other.account = conversations.account
            AND other.chat = conversations.chat AND other.thread = '')"""
    )


def downgrade() -> None:
    for table, name in reversed(_COLUMNS):
        op.drop_column(table, name)
