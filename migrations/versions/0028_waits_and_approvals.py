"""Calls that wait, approvals, grants, policies of tools, and manifests of model calls.

Revision ID: 0028
Revises: 0027
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0028"
down_revision: str | None = "0027"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "agent_versions",
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("first_seen_at", sa.Double(), nullable=False),
        sa.Column("last_seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("agent", "digest", name=op.f("pk_agent_versions")),
    )
    op.create_table(
        "tool_policies",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("tool", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("channel", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("person_id", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_policies")),
        sa.UniqueConstraint(
            "agent",
            "tool",
            "channel",
            "person_id",
            name=op.f("uq_tool_policies_agent_tool_channel_person_id"),
        ),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("chat_id", sa.Text(), nullable=False),
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("tool_hash", sa.Text(), nullable=False),
        sa.Column("args_hash", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("preview", sa.Text(), nullable=False),
        sa.Column("questions", sa.JSON(), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.Column("requester_id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("card_id", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_name", sa.Text(), nullable=False),
        sa.Column("decided_via", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.Double(), nullable=True),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("reminded_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_approvals_conversation_id_conversations"),
        ),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("fk_approvals_turn_id_turns")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("nonce", name=op.f("uq_approvals_nonce")),
        sa.UniqueConstraint(
            "turn_id",
            "step",
            "call_id",
            "round",
            name=op.f("uq_approvals_turn_id_step_call_id_round"),
        ),
    )
    op.create_index(
        op.f("ix_approvals_chat_id_state"), "approvals", ["chat_id", "state"], unique=False
    )
    op.create_index(
        op.f("ix_approvals_conversation_id_state"),
        "approvals",
        ["conversation_id", "state"],
        unique=False,
    )
    op.create_index(op.f("ix_approvals_created_at"), "approvals", ["created_at"], unique=False)
    op.create_index(
        "ix_approvals_due",
        "approvals",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "grants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("tool_hash", sa.Text(), nullable=False),
        sa.Column("args_hash", sa.Text(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("uses_max", sa.Integer(), nullable=True),
        sa.Column("approval_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approvals.id"], name=op.f("fk_grants_approval_id_approvals")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_subject_tool"), "grants", ["subject", "tool"], unique=False)
    op.add_column("outbox", sa.Column("edits_id", sa.Text(), nullable=True))
    op.add_column(
        "tool_calls", sa.Column("wait", sa.Text(), server_default=sa.text("''"), nullable=False)
    )
    op.add_column(
        "tool_calls", sa.Column("op", sa.Text(), server_default=sa.text("''"), nullable=False)
    )
    op.add_column(
        "tool_calls",
        sa.Column("args_hash", sa.Text(), server_default=sa.text("''"), nullable=False),
    )
    op.add_column("tool_calls", sa.Column("due_at", sa.Double(), nullable=True))
    op.create_index(
        "ix_tool_calls_due",
        "tool_calls",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_tool_calls_ready",
        "tool_calls",
        ["turn_id"],
        unique=False,
        sqlite_where=sa.text("state = 'ready'"),
        postgresql_where=sa.text("state = 'ready'"),
    )
    op.add_column("turn_steps", sa.Column("manifest", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("turns", sa.Column("waiting_since", sa.Double(), nullable=True))
    op.add_column(
        "turns", sa.Column("waited_s", sa.Double(), server_default=sa.text("0"), nullable=False)
    )
    op.drop_index("uq_turns_running", table_name="turns")
    op.create_index(
        "uq_turns_open",
        "turns",
        ["conversation_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('running', 'waiting')"),
        postgresql_where=sa.text("state IN ('running', 'waiting')"),
    )


def downgrade() -> None:
    # Older code knows no waits: what waits has failed, and says so.
    op.execute(
        "UPDATE turns SET state = 'failed', reason_code = 'internal' WHERE state = 'waiting'"
    )
    op.execute("UPDATE tool_calls SET state = 'cancelled' WHERE state IN ('waiting', 'ready')")
    op.drop_index(
        "uq_turns_open",
        table_name="turns",
        sqlite_where=sa.text("state IN ('running', 'waiting')"),
        postgresql_where=sa.text("state IN ('running', 'waiting')"),
    )
    op.create_index(
        "uq_turns_running",
        "turns",
        ["conversation_id"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.drop_column("turns", "waited_s")
    op.drop_column("turns", "waiting_since")
    op.drop_column("turn_steps", "manifest")
    op.drop_index("ix_tool_calls_ready", table_name="tool_calls")
    op.drop_index(
        "ix_tool_calls_due",
        table_name="tool_calls",
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.drop_column("tool_calls", "due_at")
    op.drop_column("tool_calls", "args_hash")
    op.drop_column("tool_calls", "op")
    op.drop_column("tool_calls", "wait")
    op.drop_column("outbox", "edits_id")
    op.drop_index(op.f("ix_grants_subject_tool"), table_name="grants")
    op.drop_table("grants")
    op.drop_index(
        "ix_approvals_due",
        table_name="approvals",
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.drop_index(op.f("ix_approvals_created_at"), table_name="approvals")
    op.drop_index(op.f("ix_approvals_conversation_id_state"), table_name="approvals")
    op.drop_index(op.f("ix_approvals_chat_id_state"), table_name="approvals")
    op.drop_table("approvals")
    op.drop_table("tool_policies")
    op.drop_table("agent_versions")
