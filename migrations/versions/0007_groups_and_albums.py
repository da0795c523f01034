"""What groups said before the agent was spoken to, and which messages are one album.

Revision ID: 0007
Revises: 0006
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("inbox") as table:
        table.add_column(sa.Column("album", sa.Text(), nullable=True))
    with op.batch_alter_table("transcript") as table:
        table.add_column(sa.Column("context", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("transcript") as table:
        table.drop_column("context")
    with op.batch_alter_table("inbox") as table:
        table.drop_column("album")
