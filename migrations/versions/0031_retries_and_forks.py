"""Turns that are tried again, and flows that begin from the journal of an earlier run.

Revision ID: 0031
Revises: 0030
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0031"
down_revision: str | None = "0030"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMNS = {
    "turns": ("retries", "steps_before"),
    "flows": ("run_key", "forked_from", "forked_at", "kept"),
}
TEXTS = ("run_key", "forked_from")


def upgrade() -> None:
    for table, names in COLUMNS.items():
        with op.batch_alter_table(table) as batch:
            for name in names:
                kind = sa.Text() if name in TEXTS else sa.Integer()
                default = "''" if name in TEXTS else "0"
                batch.add_column(
                    sa.Column(name, kind, nullable=False, server_default=sa.text(default))
                )


def downgrade() -> None:
    for table, names in COLUMNS.items():
        with op.batch_alter_table(table) as batch:
            for name in reversed(names):
                batch.drop_column(name)
