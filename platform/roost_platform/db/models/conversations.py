"""Conversations and their sessions."""

from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import EMPTY, Base


class Conversation(Base):
    """One chat (and thread) of one account: the unit with one writer. `key` is Address.key.

    inbox_sequence and turn_count are counters, raised in the transaction that uses the number.
    kind: chat | child (an agent works there for another; see ChildTask) | job (a time of a schedule
        is worked on there; see Occurrence). People read chats alone.
    root_id: the chat at the top of a child's or a job's tree, whose row is the lock of the whole
        tree. depth: 0 for a chat.
    """

    __tablename__ = "conversations"
    __table_args__ = (UniqueConstraint("channel", "account", "chat", "thread"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    channel: Mapped[str]
    account: Mapped[str]
    chat: Mapped[str]
    thread: Mapped[str] = mapped_column(default="")
    is_group: Mapped[bool] = mapped_column(server_default=false())
    session_id: Mapped[str | None]  # the current session; /new points it to another
    agent: Mapped[str]
    identity_id: Mapped[str | None] = mapped_column(ForeignKey("identities.id"))
    title: Mapped[str] = mapped_column(default="")
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    inbox_sequence: Mapped[int] = mapped_column(default=0)
    # What came with a command, such as /start of a link; the next message takes it to the agent.
    payload: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    turn_count: Mapped[int] = mapped_column(default=0)
    last_inbound_at: Mapped[float | None]
    kind: Mapped[str] = mapped_column(default="chat", server_default=text("'chat'"))
    root_id: Mapped[str | None] = mapped_column(index=True)
    depth: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    created_at: Mapped[float]


class Session(Base):
    """One stretch of a conversation with its own transcript; /new closes it and opens the next."""

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "conversation_id", "number", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    number: Mapped[int]
    agent: Mapped[str]
    transcript_length: Mapped[int] = mapped_column(default=0)  # next position
    created_at: Mapped[float]
    closed_at: Mapped[float | None]
