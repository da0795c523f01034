"""An index for what went to a conversation last.

Revision ID: 0011
Revises: 0010
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NAME = "ix_parts_conversation_id_sent_at"


def upgrade() -> None:
    op.create_index(op.f(NAME), "parts", ["conversation_id", "sent_at"])


def downgrade() -> None:
    op.drop_index(op.f(NAME), "parts")
