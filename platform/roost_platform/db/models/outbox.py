"""Messages to deliver, their parts, and the attempts to send them."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import Base, Serial

# Orders lanes on PostgreSQL; SQLite, which has one writer, counts on from the highest.
OUTBOX_SEQUENCE = "outbox_sequence"


class Outbox(Base):
    """One logical message to a chat. kind: answer | notice | approval | error | invitation.

    state: pending | sent | failed | cancelled.
    dropped_at: since when the person wants no more of it; what was in flight then is settled, the
    rest is dropped. drop_notice_id: the message that tells how much was sent.
    drop_words: of that message, its words beside the figure (head, tail).
    edits_id: the message of ours that this one replaces in place, where the channel can edit.
    dedupe_key makes queueing idempotent. sequence orders a lane; below zero goes before the rest.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index(None, "state", "channel", "account"),
        Index(None, "conversation_id", "sequence"),
        Index(None, "conversation_id", "state", "sequence"),
        Index(None, "turn_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(Serial, unique=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    channel: Mapped[str]
    account: Mapped[str]
    turn_id: Mapped[str | None]
    generation: Mapped[int] = mapped_column(default=0)
    kind: Mapped[str]
    text: Mapped[str]
    reply_to: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    buttons: Mapped[list[Any]] = mapped_column(default=list)
    media: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    state: Mapped[str]
    dedupe_key: Mapped[str] = mapped_column(unique=True)
    next_at: Mapped[float]
    created_at: Mapped[float]
    finished_at: Mapped[float | None]
    dropped_at: Mapped[float | None]
    drop_notice_id: Mapped[str | None]
    drop_words: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    edits_id: Mapped[str | None]


class Part(Base):
    """One physical send.

    state: planned | sending | sent | not_sent | ambiguous | failed | expired | dropped.
    """

    __tablename__ = "parts"
    __table_args__ = (
        UniqueConstraint("outbox_id", "position"),
        Index(None, "conversation_id", "message_id"),
        Index(None, "conversation_id", "sent_at"),
        Index(None, "message_id"),
        Index(None, "state"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    outbox_id: Mapped[str] = mapped_column(ForeignKey("outbox.id"))
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    position: Mapped[int]
    count: Mapped[int]
    rendered: Mapped[dict[str, Any]]
    char_start: Mapped[int]
    char_end: Mapped[int]
    state: Mapped[str]
    # sent | delivered | read | failed, as the provider reports; empty before it does.
    receipt: Mapped[str] = mapped_column(default="")
    attempts: Mapped[int] = mapped_column(default=0)
    owner: Mapped[str] = mapped_column(default="")
    lease_until: Mapped[float | None]
    next_at: Mapped[float]
    message_id: Mapped[str | None]
    # The part waits for the person: the session window is closed until they write again.
    held: Mapped[bool] = mapped_column(default=False, server_default=false())
    plain: Mapped[bool] = mapped_column(default=False)
    duplicate_label: Mapped[bool] = mapped_column(default=False)
    # A word of roost_channels.outbox.FailureReason, which decides; `error` explains it to people.
    reason_code: Mapped[str] = mapped_column(default="", server_default=text("''"))
    error: Mapped[str] = mapped_column(default="")
    # Ids under which the provider took the part and refused it afterwards; the newest.
    refused_ids: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    evidence: Mapped[list[Any]] = mapped_column(default=list)  # lines for people
    started_at: Mapped[float | None]
    sent_at: Mapped[float | None]


class DeliveryAttempt(Base):
    """One try of one part, or one inquiry about its outcome, for operators.

    kind: send | check (we asked the provider) | receipt (it reported) | operator.
    asked: the question; description: what came back; concluded: what we conclude from it.
    """

    __tablename__ = "delivery_attempts"
    __table_args__ = (Index(None, "part_id", "attempt"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    part_id: Mapped[str] = mapped_column(ForeignKey("parts.id"))
    attempt: Mapped[int]
    kind: Mapped[str] = mapped_column(default="send")
    outcome: Mapped[str]  # sending | sent | not_sent | ambiguous | failed | looked
    asked: Mapped[str] = mapped_column(default="")
    concluded: Mapped[str] = mapped_column(default="")
    http_status: Mapped[int] = mapped_column(default=0)
    code: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(default="")
    retry_at: Mapped[float | None]
    started_at: Mapped[float]
    finished_at: Mapped[float | None]


class ChatWait(Base):
    """A chat in which the provider asked for silence; over when `until` is past."""

    __tablename__ = "chat_waits"

    channel: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    chat: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[float]
