"""A random word for the buttons of a turn, so that its id alone presses none.

Revision ID: 0010
Revises: 0009
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # Turns that run meanwhile have buttons without one, which go on working.
    nonce = sa.Column("nonce", sa.Text(), nullable=False, server_default=sa.text("''"))
    op.add_column("turns", nonce)


def downgrade() -> None:
    op.drop_column("turns", "nonce")
