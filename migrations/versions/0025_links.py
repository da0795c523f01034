"""People who are known by several addresses: codes that link them, and what was joined.

Revision ID: 0025
Revises: 0024
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0025"
down_revision: str | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    linked_from = sa.Column("linked_from", sa.Text(), nullable=False, server_default=sa.text("''"))
    op.add_column("aliases", linked_from)
    op.create_table(
        "person_links",
        sa.Column("former_id", sa.Text(), nullable=False),
        sa.Column("identity_id", sa.Text(), nullable=False),
        sa.Column("linked_at", sa.Double(), nullable=False),
        sa.Column("linked_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["identity_id"], ["identities.id"], name=op.f("fk_person_links_identity_id_identities")
        ),
        sa.PrimaryKeyConstraint("former_id", name=op.f("pk_person_links")),
    )
    op.create_index(op.f("ix_person_links_identity_id"), "person_links", ["identity_id"])
    op.create_table(
        "link_codes",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("identity_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_link_codes_conversation_id_conversations"),
        ),
        sa.ForeignKeyConstraint(
            ["identity_id"], ["identities.id"], name=op.f("fk_link_codes_identity_id_identities")
        ),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_link_codes")),
    )
    op.create_index(op.f("ix_link_codes_identity_id"), "link_codes", ["identity_id"])
    op.create_table(
        "link_failures",
        sa.Column("id", SERIAL, autoincrement=True, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_link_failures")),
    )
    op.create_index(op.f("ix_link_failures_subject_at"), "link_failures", ["subject", "at"])


def downgrade() -> None:
    op.drop_table("link_failures")
    op.drop_table("link_codes")
    op.drop_table("person_links")
    with op.batch_alter_table("aliases") as table:
        table.drop_column("linked_from")
