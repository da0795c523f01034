"""Schedules and what became of each of their times."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint
from sqlalchemy import text as sql_text
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import EMPTY, Base

_ACTIVE = sql_text("state = 'active'")
_HELD = sql_text("held_turn_id IS NOT NULL")


class Schedule(Base):
    """Something to be done at certain times.

    kind: reminder (a text, no model) | task (a turn in the conversation) | job (a turn in a
        conversation of its own) | check (a job that tells something only if there is something).
    spec: one of {at}, {every_s, start, end}, {cron}; times are local to `zone`, an IANA name.
    missed: late | once | skip | all. overlap: skip | queue.
    options: active hours, tokens a day, until done, and what else a kind needs.
    owner_id: the person whose it is, empty for an operator's. key: the call that made it.
    due_at: the next time; None when there is none. planned_at: what the clock said when that was
        found, 0 where it is not to be found again. state: active | paused | done | deleted.
    fails: how often in a row it failed, for the reason fail_code.
    """

    __tablename__ = "schedules"
    __table_args__ = (
        UniqueConstraint("conversation_id", "key"),
        Index(None, "owner_id", "state"),
        Index(None, "planned_at"),
        Index("ix_schedules_due", "due_at", sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    key: Mapped[str]
    owner_id: Mapped[str] = mapped_column(default="")
    agent: Mapped[str]
    kind: Mapped[str]
    text: Mapped[str]
    spec: Mapped[dict[str, Any]]
    zone: Mapped[str]
    missed: Mapped[str]
    overlap: Mapped[str]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    due_at: Mapped[float | None]
    planned_at: Mapped[float] = mapped_column(default=0.0, server_default=sql_text("0"))
    state: Mapped[str]
    fails: Mapped[int] = mapped_column(default=0)
    fail_code: Mapped[str] = mapped_column(default="")
    created_by: Mapped[str]
    created_at: Mapped[float]


class Occurrence(Base):
    """One time of a schedule: it fires once, or is skipped and says why.

    state: fired | skipped | done | failed. late_s: how long after its time it fired.
    held_turn_id: the chat's turn after which `held_text`, what a job said, enters the transcript.
    told: who heard of a message that did not arrive: elsewhere (the owner, in another chat) |
        nobody (operators see it here).
    """

    __tablename__ = "occurrences"
    __table_args__ = (
        UniqueConstraint("schedule_id", "scheduled_for"),
        Index(None, "turn_id"),
        Index(None, "outbox_id"),
        Index("ix_occurrences_held", "held_turn_id", sqlite_where=_HELD, postgresql_where=_HELD),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    schedule_id: Mapped[str] = mapped_column(ForeignKey("schedules.id"))
    scheduled_for: Mapped[float]
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    late_s: Mapped[float] = mapped_column(default=0.0)
    inbox_id: Mapped[str | None]
    outbox_id: Mapped[str | None]
    turn_id: Mapped[str | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    fired_at: Mapped[float]
    held_turn_id: Mapped[str | None]
    held_text: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    told: Mapped[str] = mapped_column(default="", server_default=EMPTY)
