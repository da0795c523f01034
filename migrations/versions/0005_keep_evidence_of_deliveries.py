"""Keep, beside each try of a part, what was asked about it and what was concluded.

Revision ID: 0005
Revises: 0004
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMNS = (("kind", "send"), ("asked", ""), ("concluded", ""))


def upgrade() -> None:
    for name, default in COLUMNS:
        op.add_column("delivery_attempts", sa.Column(name, sa.Text(), nullable=True))
        op.execute(f"UPDATE delivery_attempts SET {name} = '{default}'")
    with op.batch_alter_table("delivery_attempts") as table:
        for name, _ in COLUMNS:
            table.alter_column(name, existing_type=sa.Text(), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("delivery_attempts") as table:
        for name, _ in reversed(COLUMNS):
            table.drop_column(name)
