"""Accepted events of the channels."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import EMPTY, Base


class Inbox(Base):
    """One accepted event.

    state: pending | held (sender not admitted yet) | taken | done | dropped | ignored.
    """

    __tablename__ = "inbox"
    __table_args__ = (
        UniqueConstraint("channel", "account", "event_id"),
        UniqueConstraint("conversation_id", "sequence"),
        Index(None, "state", "received_at"),
        Index(None, "conversation_id", "message_id"),
        Index(None, "conversation_id", "state"),
        Index(None, "identity_id", "state"),
        Index(None, "turn_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    sequence: Mapped[int]
    channel: Mapped[str]
    account: Mapped[str]
    event_id: Mapped[str]
    message_id: Mapped[str]
    kind: Mapped[str]
    album: Mapped[str | None]
    identity_id: Mapped[str | None] = mapped_column(ForeignKey("identities.id"))
    sender: Mapped[dict[str, Any]]
    text: Mapped[str]
    # Whose words the text is, where it was forwarded; what came along and is nobody's words.
    forwarded_from: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    payload: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    quote: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    attachments: Mapped[list[Any]] = mapped_column(default=list)
    raw: Mapped[dict[str, Any]]
    state: Mapped[str]
    # Why held, dropped or ignored: a code of db/reasons.py, and words for operators.
    reason_code: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    reason: Mapped[str] = mapped_column(default="")
    turn_id: Mapped[str | None]
    sent_at: Mapped[float]
    received_at: Mapped[float]
    rung_at: Mapped[float | None]  # last doorbell; the sweeper rings again


class ForgottenEvent(Base):
    """An event whose writer was deleted, by a hash of its id: a list of a provider's messages must
    not bring it back.
    """

    __tablename__ = "forgotten_events"

    digest: Mapped[str] = mapped_column(primary_key=True)
    forgotten_at: Mapped[float]
