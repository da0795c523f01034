"""Files that came with messages or that agents made."""

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import Base


class Artifact(Base):
    """A file: one that came with a message, or one that an agent made.

    The bytes lie in the data folder under the artifact's id, a short word that models can repeat.
    state: pending (to be fetched) | stored | failed | expired.
    origin: the inbound message's id and the attachment's number, or the tool call that made it.
    attached: its place among the files that go with the turn's answer.
    """

    __tablename__ = "artifacts"
    __table_args__ = (
        UniqueConstraint("conversation_id", "origin"),
        Index(None, "state", "next_at"),
        Index(None, "turn_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    inbox_id: Mapped[str | None] = mapped_column(ForeignKey("inbox.id"))
    turn_id: Mapped[str | None]
    origin: Mapped[str]
    channel: Mapped[str]
    account: Mapped[str]
    kind: Mapped[str]
    name: Mapped[str] = mapped_column(default="")
    mime_type: Mapped[str] = mapped_column(default="")
    size: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(default="")
    provider_id: Mapped[str] = mapped_column(default="")
    url: Mapped[str] = mapped_column(default="")
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[float]
    attached: Mapped[int | None]
    created_at: Mapped[float]
    stored_at: Mapped[float | None]
