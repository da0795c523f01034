"""Work that agents hand to other agents, what it may cost, and flows."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import EMPTY, Base
from roost_platform.db.models.turns import ZERO


class ChildTask(Base):
    """A task that a call of a turn gave to another agent; the child conversation works on it.

    conversation_id: the child's. parent_id: the conversation of the turn that gave the task.
    context: brief (the task alone) | fork (all that the parent's session said before).
    is_waited: the call waits for the answer; else an inbox row of the parent brings it.
    fork_session_id, fork_position: where a fork begins.
    state: running | done | failed | stopped. schema_valid: None without a schema.
    """

    __tablename__ = "child_tasks"
    __table_args__ = (
        UniqueConstraint("parent_turn_id", "parent_step", "parent_call_id"),
        Index(None, "parent_id", "state"),
        Index(None, "root_id", "state"),
    )

    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), primary_key=True)
    parent_id: Mapped[str]
    root_id: Mapped[str]
    parent_turn_id: Mapped[str]
    parent_step: Mapped[int]
    parent_call_id: Mapped[str]
    agent: Mapped[str]
    task: Mapped[str]
    context: Mapped[str]
    is_waited: Mapped[bool]
    answer_schema: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    fork_session_id: Mapped[str | None]
    fork_position: Mapped[int] = mapped_column(default=0)
    state: Mapped[str]
    result: Mapped[str] = mapped_column(default="")
    schema_valid: Mapped[bool | None]
    artifact_id: Mapped[str | None]
    reason: Mapped[str] = mapped_column(default="")
    created_at: Mapped[float]
    finished_at: Mapped[float | None]


class Budget(Base):
    """What one tree of turns may spend; `root_turn_id` is the turn that people see."""

    __tablename__ = "budgets"

    root_turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    tokens_max: Mapped[int]
    tokens: Mapped[int] = mapped_column(default=0)
    steps_max: Mapped[int]
    steps: Mapped[int] = mapped_column(default=0)
    children_max: Mapped[int]
    children: Mapped[int] = mapped_column(default=0)


class FlowRun(Base):
    """A flow that is a turn: its journal are the turn's calls with an `op`.

    advances: how often the function ran over the journal. code_hash: of the code that began it.
    run_key: what `ctx.key` is: the id of the first run's turn; empty stands for this turn.
    forked_from: the turn of the run from whose journal it began, forked_at: the step of that run
    with which its own work begins, kept: how many entries it took over; empty and 0 for others.
    """

    __tablename__ = "flows"
    __table_args__ = (Index(None, "name", "created_at"),)

    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    name: Mapped[str]
    code_hash: Mapped[str]
    input: Mapped[dict[str, Any]]
    result: Mapped[str] = mapped_column(default="")
    started_by: Mapped[str]
    advances: Mapped[int] = mapped_column(default=0)
    run_key: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    forked_from: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    forked_at: Mapped[int] = mapped_column(default=0, server_default=ZERO)
    kept: Mapped[int] = mapped_column(default=0, server_default=ZERO)
    created_at: Mapped[float]
    finished_at: Mapped[float | None]
