"""Keys, calls and stored responses of the gateway.

Revision ID: 0032
Revises: 0031
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0032"
down_revision: str | None = "0031"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "gateway_calls",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=False),
        sa.Column("held_microusd", sa.BigInteger(), nullable=False),
        sa.Column("held_tokens", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("saved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_microusd", sa.BigInteger(), nullable=False),
        sa.Column("ttft_ms", sa.Double(), nullable=True),
        sa.Column("duration_ms", sa.Double(), nullable=True),
        sa.Column("tries", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_calls")),
    )
    op.create_index(
        op.f("ix_gateway_calls_key_id_started_at"),
        "gateway_calls",
        ["key_id", "started_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_gateway_calls_outcome_owner"), "gateway_calls", ["outcome", "owner"], unique=False
    )
    op.create_index(
        op.f("ix_gateway_calls_started_at"), "gateway_calls", ["started_at"], unique=False
    )
    op.create_table(
        "gateway_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("old_secret_hash", sa.Text(), nullable=True),
        sa.Column("old_secret_until", sa.Double(), nullable=True),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("compress", sa.Boolean(), nullable=False),
        sa.Column("budget_microusd", sa.BigInteger(), nullable=True),
        sa.Column("budget_tokens", sa.BigInteger(), nullable=True),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("period_ends", sa.Double(), nullable=True),
        sa.Column("spent_microusd", sa.BigInteger(), nullable=False),
        sa.Column("spent_tokens", sa.BigInteger(), nullable=False),
        sa.Column("held_microusd", sa.BigInteger(), nullable=False),
        sa.Column("held_tokens", sa.BigInteger(), nullable=False),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=True),
        sa.Column("request_level", sa.Double(), nullable=False),
        sa.Column("token_level", sa.Double(), nullable=False),
        sa.Column("levels_at", sa.Double(), nullable=False),
        sa.Column("parallel", sa.Integer(), nullable=True),
        sa.Column("in_flight", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_keys")),
        sa.UniqueConstraint("name", name=op.f("uq_gateway_keys_name")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_gateway_keys_secret_hash")),
    )
    op.create_index(
        op.f("ix_gateway_keys_old_secret_hash"), "gateway_keys", ["old_secret_hash"], unique=False
    )
    op.create_table(
        "gateway_owners",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_owners")),
    )
    op.create_table(
        "gateway_originals",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "reference", name=op.f("pk_gateway_originals")),
    )
    op.create_index(
        op.f("ix_gateway_originals_expires_at"), "gateway_originals", ["expires_at"], unique=False
    )
    op.create_table(
        "gateway_responses",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("previous_id", sa.Text(), nullable=True),
        sa.Column("resource", sa.JSON(), nullable=False),
        sa.Column("input_items", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["previous_id"],
            ["gateway_responses.id"],
            name=op.f("fk_gateway_responses_previous_id_gateway_responses"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_responses")),
    )
    op.create_index(
        op.f("ix_gateway_responses_expires_at"), "gateway_responses", ["expires_at"], unique=False
    )
    op.create_index(
        op.f("ix_gateway_responses_key_id_created_at"),
        "gateway_responses",
        ["key_id", "created_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_gateway_responses_key_id_created_at"), table_name="gateway_responses")
    op.drop_index(op.f("ix_gateway_responses_expires_at"), table_name="gateway_responses")
    op.drop_table("gateway_responses")
    op.drop_index(op.f("ix_gateway_originals_expires_at"), table_name="gateway_originals")
    op.drop_table("gateway_originals")
    op.drop_table("gateway_owners")
    op.drop_index(op.f("ix_gateway_keys_old_secret_hash"), table_name="gateway_keys")
    op.drop_table("gateway_keys")
    op.drop_index(op.f("ix_gateway_calls_started_at"), table_name="gateway_calls")
    op.drop_index(op.f("ix_gateway_calls_outcome_owner"), table_name="gateway_calls")
    op.drop_index(op.f("ix_gateway_calls_key_id_started_at"), table_name="gateway_calls")
    op.drop_table("gateway_calls")
