"""Hashes of the audit trail with a key, and an anchor that knows how long the trail is.

Revision ID: 0024
Revises: 0016
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

GENESIS = "0" * 64


def upgrade() -> None:
    # Rows from before have hashes without a key; the first row with a key covers them all.
    keyed: sa.Column[bool] = sa.Column(
        "keyed", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("audit", keyed)
    anchor = op.create_table(
        "audit_anchor",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("last_hash", sa.Text(), nullable=False),
        sa.Column("seal", sa.Text(), nullable=False),
    )
    audit = sa.table("audit", sa.column("id"), sa.column("hash"))
    connection = op.get_bind()
    length = connection.scalar(sa.select(sa.func.count()).select_from(audit)) or 0
    newest = sa.select(audit.c.hash).order_by(audit.c.id.desc()).limit(1)
    op.bulk_insert(
        anchor,
        [
            {
                "id": 1,
                "length": length,
                "last_hash": connection.scalar(newest) or GENESIS,
                "seal": "",
            }
        ],
    )


def downgrade() -> None:
    op.drop_table("audit_anchor")
    op.drop_column("audit", "keyed")
