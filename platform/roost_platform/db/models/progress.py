"""What people see of a running turn: the latest snapshot and the status message."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import Base


class RunProgress(Base):
    """The latest snapshot of a turn, one row per turn, overwritten. Lossy by contract."""

    __tablename__ = "run_progress"

    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"), index=True)
    phase: Mapped[str]
    text: Mapped[str] = mapped_column(default="")
    tools: Mapped[list[Any]] = mapped_column(default=list)
    plan: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    version: Mapped[int] = mapped_column(default=1)
    updated_at: Mapped[float]


class StatusMessageRow(Base):
    """The editable status message of a turn: its id is stored before its content changes."""

    __tablename__ = "status_messages"
    __table_args__ = (Index(None, "state"),)

    turn_id: Mapped[str] = mapped_column(ForeignKey("turns.id"), primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    message_id: Mapped[str | None]
    shown: Mapped[str] = mapped_column(default="")
    answer_part_id: Mapped[str | None]  # the part of the answer that the message has become
    state: Mapped[str]  # planned | lost | open | closed
    edited_at: Mapped[float]
    late_until: Mapped[float] = mapped_column(default=0.0, server_default=text("0"))
    left_at: Mapped[float] = mapped_column(default=0.0, server_default=text("0"))
