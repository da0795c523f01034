"""Schedules, children, budgets and flows.

Revision ID: 0029
Revises: 0028
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0029"
down_revision: str | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "child_tasks",
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("root_id", sa.Text(), nullable=False),
        sa.Column("parent_turn_id", sa.Text(), nullable=False),
        sa.Column("parent_step", sa.Integer(), nullable=False),
        sa.Column("parent_call_id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        sa.Column("is_waited", sa.Boolean(), nullable=False),
        sa.Column("answer_schema", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("fork_session_id", sa.Text(), nullable=True),
        sa.Column("fork_position", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("schema_valid", sa.Boolean(), nullable=True),
        sa.Column("artifact_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_child_tasks_conversation_id_conversations"),
        ),
        sa.PrimaryKeyConstraint("conversation_id", name=op.f("pk_child_tasks")),
        sa.UniqueConstraint(
            "parent_turn_id",
            "parent_step",
            "parent_call_id",
            name=op.f("uq_child_tasks_parent_turn_id_parent_step_parent_call_id"),
        ),
    )
    op.create_index(
        op.f("ix_child_tasks_parent_id_state"), "child_tasks", ["parent_id", "state"], unique=False
    )
    op.create_index(
        op.f("ix_child_tasks_root_id_state"), "child_tasks", ["root_id", "state"], unique=False
    )
    op.create_table(
        "schedules",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("missed", sa.Text(), nullable=False),
        sa.Column("overlap", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fails", sa.Integer(), nullable=False),
        sa.Column("fail_code", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_schedules_conversation_id_conversations"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedules")),
        sa.UniqueConstraint(
            "conversation_id", "key", name=op.f("uq_schedules_conversation_id_key")
        ),
    )
    op.create_index(
        "ix_schedules_due",
        "schedules",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_index(
        op.f("ix_schedules_owner_id_state"), "schedules", ["owner_id", "state"], unique=False
    )
    op.create_table(
        "occurrences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.Text(), nullable=False),
        sa.Column("scheduled_for", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("late_s", sa.Double(), nullable=False),
        sa.Column("inbox_id", sa.Text(), nullable=True),
        sa.Column("outbox_id", sa.Text(), nullable=True),
        sa.Column("turn_id", sa.Text(), nullable=True),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("fired_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["schedule_id"], ["schedules.id"], name=op.f("fk_occurrences_schedule_id_schedules")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_occurrences")),
        sa.UniqueConstraint(
            "schedule_id", "scheduled_for", name=op.f("uq_occurrences_schedule_id_scheduled_for")
        ),
    )
    op.create_index(op.f("ix_occurrences_turn_id"), "occurrences", ["turn_id"], unique=False)
    op.create_table(
        "budgets",
        sa.Column("root_turn_id", sa.Text(), nullable=False),
        sa.Column("tokens_max", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("steps_max", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("children_max", sa.Integer(), nullable=False),
        sa.Column("children", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["root_turn_id"], ["turns.id"], name=op.f("fk_budgets_root_turn_id_turns")
        ),
        sa.PrimaryKeyConstraint("root_turn_id", name=op.f("pk_budgets")),
    )
    op.create_table(
        "flows",
        sa.Column("turn_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.Text(), nullable=False),
        sa.Column("input", sa.JSON(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("advances", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["turn_id"], ["turns.id"], name=op.f("fk_flows_turn_id_turns")),
        sa.PrimaryKeyConstraint("turn_id", name=op.f("pk_flows")),
    )
    op.create_index(op.f("ix_flows_name_created_at"), "flows", ["name", "created_at"], unique=False)
    op.add_column(
        "conversations",
        sa.Column("kind", sa.Text(), server_default=sa.text("'chat'"), nullable=False),
    )
    op.add_column("conversations", sa.Column("root_id", sa.Text(), nullable=True))
    op.add_column(
        "conversations",
        sa.Column("depth", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    op.create_index(op.f("ix_conversations_root_id"), "conversations", ["root_id"], unique=False)
    op.add_column(
        "identities", sa.Column("zone", sa.Text(), server_default=sa.text("''"), nullable=False)
    )


def downgrade() -> None:
    op.drop_column("identities", "zone")
    op.drop_index(op.f("ix_conversations_root_id"), table_name="conversations")
    op.drop_column("conversations", "depth")
    op.drop_column("conversations", "root_id")
    op.drop_column("conversations", "kind")
    op.drop_index(op.f("ix_flows_name_created_at"), table_name="flows")
    op.drop_table("flows")
    op.drop_table("budgets")
    op.drop_index(op.f("ix_occurrences_turn_id"), table_name="occurrences")
    op.drop_table("occurrences")
    op.drop_index(op.f("ix_schedules_owner_id_state"), table_name="schedules")
    op.drop_index(
        "ix_schedules_due",
        table_name="schedules",
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.drop_table("schedules")
    op.drop_index(op.f("ix_child_tasks_root_id_state"), table_name="child_tasks")
    op.drop_index(op.f("ix_child_tasks_parent_id_state"), table_name="child_tasks")
    op.drop_table("child_tasks")
