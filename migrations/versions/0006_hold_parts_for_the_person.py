"""Say which parts wait for the person to open the session window.

Revision ID: 0006
Revises: 0005
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The code that marked such parts before.
WINDOW_CLOSED = "63016"


def upgrade() -> None:
    op.add_column(
        "parts", sa.Column("held", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    held = "true" if op.get_context().dialect.name == "postgresql" else "1"
    op.execute(
        f"UPDATE parts SET held = {held} WHERE state = 'not_sent' AND EXISTS ("
        "SELECT 1 FROM delivery_attempts WHERE delivery_attempts.part_id = parts.id "
        f"AND delivery_attempts.attempt = parts.attempts "
        f"AND delivery_attempts.code = '{WINDOW_CLOSED}')"
    )


def downgrade() -> None:
    with op.batch_alter_table("parts") as parts:
        parts.drop_column("held")
