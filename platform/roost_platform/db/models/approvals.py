"""Questions to people: approvals of tool calls, what they allow from then on, and who decides."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import EMPTY, Base

_PENDING = text("state = 'pending'")


class Approval(Base):
    """What a call of a turn waits for a person to say, and what the person said.

    kind: approve | ask (one question) | form (up to three questions).
    state: pending | approved | denied | answered | expired | cancelled | stale | unreachable.
    round: counts from 1; a call whose tool or arguments changed asks again.
    chat_id: the conversation in which the card is shown: that of the root of a child's tree.
    rule: requester | operator | another. preview: what the card shows.
    questions: [{text, options, free_text}] of ask and form. answers: one text for each of them.
    nonce: what the card's buttons carry. code: three letters for chats without buttons.
    card_id: the outbox row of the card. decided_by: a person's id or an operator's name;
    decided_via: a channel's name, console, cli or api; decided_name: whom the card names.
    """

    __tablename__ = "approvals"
    __table_args__ = (
        UniqueConstraint("turn_id", "step", "call_id", "round"),
        UniqueConstraint("nonce"),
        Index(None, "conversation_id", "state"),
        Index(None, "chat_id", "state"),
        Index("ix_approvals_due", "due_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
        Index(None, "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    chat_id: Mapped[str]
    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"))
    step: Mapped[int]
    call_id: Mapped[str]
    round: Mapped[int] = mapped_column(default=1)
    kind: Mapped[str]
    agent: Mapped[str]
    tool: Mapped[str]
    tool_hash: Mapped[str] = mapped_column(default="")
    args_hash: Mapped[str] = mapped_column(default="")
    arguments: Mapped[str] = mapped_column(default="")
    preview: Mapped[str]
    questions: Mapped[list[Any]] = mapped_column(default=list)
    answers: Mapped[list[Any]] = mapped_column(default=list)
    requester_id: Mapped[str] = mapped_column(default="")
    rule: Mapped[str] = mapped_column(default="requester")
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    nonce: Mapped[str]
    code: Mapped[str] = mapped_column(default="")
    card_id: Mapped[str | None]
    decided_by: Mapped[str] = mapped_column(default="")
    decided_name: Mapped[str] = mapped_column(default="")
    decided_via: Mapped[str] = mapped_column(default="")
    decided_at: Mapped[float | None]
    # The reminder, and after it the expiry.
    due_at: Mapped[float]
    reminded_at: Mapped[float | None]
    created_at: Mapped[float]
    expires_at: Mapped[float]


class Grant(Base):
    """What may run without being asked about again: one tool with one set of arguments.

    subject: `person:ID` or `schedule:ID`. Both hashes must be those of the call.
    """

    __tablename__ = "grants"
    __table_args__ = (Index(None, "subject", "tool"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str]
    agent: Mapped[str]
    tool: Mapped[str]
    tool_hash: Mapped[str]
    args_hash: Mapped[str]
    uses: Mapped[int] = mapped_column(default=0)
    uses_max: Mapped[int | None]
    approval_id: Mapped[str | None] = mapped_column(ForeignKey("approvals.id"))
    created_at: Mapped[float]
    expires_at: Mapped[float]
    revoked_at: Mapped[float | None]


class ToolPolicy(Base):
    """What operators decided about a tool: allow | ask | deny | off. An empty field means any.

    The most specific row counts: person before channel before tool before agent. `off` with no
    tool switches the agent off.
    """

    __tablename__ = "tool_policies"
    __table_args__ = (UniqueConstraint("agent", "tool", "channel", "person_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    agent: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    tool: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    channel: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    person_id: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    verdict: Mapped[str]
    set_by: Mapped[str]
    set_at: Mapped[float]


class AgentVersion(Base):
    """An agent as it was declared: instructions, tools with their effects and policies, limits."""

    __tablename__ = "agent_versions"

    agent: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    definition: Mapped[dict[str, Any]] = mapped_column(JSON())
    first_seen_at: Mapped[float]
    last_seen_at: Mapped[float]
