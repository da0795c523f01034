"""What was wrong, since when, and whether an operator was told."""

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import Base


class Alert(Base):
    """One stretch of time in which a rule held for a subject; nothing of people is in it.

    state: open | resolved. count: how many things the newest look found. told_at: when operators
    were last told; notices: how often. delivery: how the last notice went, in words.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        # The database itself refuses a second open alert of one subject.
        Index(
            "uq_alerts_open",
            "rule",
            "subject",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index(None, "opened_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    rule: Mapped[str]
    subject: Mapped[str]
    count: Mapped[int]
    state: Mapped[str]
    opened_at: Mapped[float]
    seen_at: Mapped[float]
    resolved_at: Mapped[float | None]
    told_at: Mapped[float | None]
    notices: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    delivery: Mapped[str] = mapped_column(default="", server_default=text("''"))
