"""Turns, their model calls and tool calls, and the transcript that they write."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import EMPTY, Base

_OPEN = text("state IN ('running', 'waiting')")
_WAITING = text("state = 'waiting'")
_READY = text("state = 'ready'")
ZERO = text("0")  # the default of a number that was added to a table with rows


class Turn(Base):
    """One answer in the making; `number` is the generation fence.

    state: running | waiting | done | stopped | failed; nothing of a waiting turn runs: its open
    calls wait for people, children or a time. waiting_since: when it began to wait; waited_s: how
    long it waited before. nonce: what its buttons carry beside its id.
    worker_deaths: workers that froze or died while they computed for it.
    resumes: runs that took it up again since its last model call.
    error: the engine's own words or a trace, for operators.
    retries: how often operators had it tried again. steps_before: its model calls before the last
    of these; limits count from there.
    """

    __tablename__ = "turns"
    __table_args__ = (
        UniqueConstraint("conversation_id", "number"),
        Index(None, "state"),
        Index(None, "session_id"),
        # The database itself refuses a second writer of a conversation.
        Index(
            "uq_turns_open",
            "conversation_id",
            unique=True,
            sqlite_where=_OPEN,
            postgresql_where=_OPEN,
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"))
    number: Mapped[int]
    agent: Mapped[str]
    state: Mapped[str]
    # How it was stopped, or why it failed: a code of roost_workflows.ports.
    reason_code: Mapped[str] = mapped_column(default="")
    stop_requested_at: Mapped[float | None]
    stop_requested_by: Mapped[str] = mapped_column(default="")
    reply_to: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    queued_at: Mapped[float]  # when the first message it answers was received
    started_at: Mapped[float]
    finished_at: Mapped[float | None]
    nonce: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    worker_deaths: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    resumes: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    waiting_since: Mapped[float | None]
    waited_s: Mapped[float] = mapped_column(default=0.0, server_default=ZERO)
    error: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    retries: Mapped[int] = mapped_column(default=0, server_default=ZERO)
    steps_before: Mapped[int] = mapped_column(default=0, server_default=ZERO)


class TurnStep(Base):
    """One model call of a turn; its content stays here until the tool group closes.

    state: open (tools outstanding) | closed. engine: the engine's own figures of the call.
    The columns from prompt_end on are those of `Asked`: how the model was asked. manifest: what
    the prompt was made of, by ids and hashes.
    """

    __tablename__ = "turn_steps"

    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    finish: Mapped[str]
    text: Mapped[str]
    model: Mapped[str] = mapped_column(default="")
    engine_message_id: Mapped[str] = mapped_column(default="")
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    cached_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    time_to_first_token_s: Mapped[float | None]
    duration_s: Mapped[float] = mapped_column(default=0.0)
    engine: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    started_at: Mapped[float]
    created_at: Mapped[float]
    prompt_end: Mapped[int | None]
    shortening: Mapped[int] = mapped_column(default=0, server_default=ZERO)
    last: Mapped[bool] = mapped_column(default=False, server_default=false())
    pictures: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    temperature: Mapped[float | None]
    max_tokens: Mapped[int | None]
    agent_digest: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    finish_reason: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    manifest: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class ToolCall(Base):
    """One tool call, or one entry of a flow's journal.

    state: planned | waiting | ready | running | ok | error | cancelled | unknown | skipped.
    wait: what a waiting call waits for: approval | question | child | sleep; `ready` means that
    the wait is over and the call goes on. due_at: the end of a sleep.
    op: of a flow's entry, the method of FlowContext; its call_id is the entry's path.
    error: the trace of a tool that broke, for operators.
    """

    __tablename__ = "tool_calls"
    __table_args__ = (
        Index("ix_tool_calls_due", "due_at", sqlite_where=_WAITING, postgresql_where=_WAITING),
        Index("ix_tool_calls_ready", "turn_id", sqlite_where=_READY, postgresql_where=_READY),
    )

    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    call_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    name: Mapped[str]
    arguments: Mapped[str]
    effect: Mapped[str]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    result: Mapped[str] = mapped_column(default="")
    error: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    wait: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    op: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    args_hash: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    due_at: Mapped[float | None]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class Transcript(Base):
    """What was said, in order: the model's and the operators' truth. Only ever appended to."""

    __tablename__ = "transcript"
    __table_args__ = (UniqueConstraint("session_id", "position"), Index(None, "turn_id"))

    id: Mapped[str] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"))
    position: Mapped[int]
    turn_id: Mapped[str | None]
    # user | assistant | tool | operator (a person answered in the agent's place) | system (a note)
    role: Mapped[str]
    content: Mapped[str]
    # See InboundMessage; kept apart from the content, which is the user's own.
    forwarded_from: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    payload: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    quoted: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # In groups, [name, text] of what was said since the agent was last spoken to; else None.
    context: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    # The files that came with it, as MessageFile; what was read of each is filled in once.
    files: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    tool_calls: Mapped[list[Any]] = mapped_column(default=list)
    tool_call_id: Mapped[str] = mapped_column(default="")
    name: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(default="")
    # What happened to the message, for the model and for operators; its kind is a NoteKind.
    note_kind: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    note: Mapped[str] = mapped_column(default="")
    inbox_id: Mapped[str | None]
    message_id: Mapped[str] = mapped_column(default="")
    engine_message_id: Mapped[str] = mapped_column(default="")
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float]
