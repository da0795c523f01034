"""The people who write: identities, aliases, pairings, links, notes and tenants."""

from sqlalchemy import ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import EMPTY, Base, Serial


class Identity(Base):
    """One person. access: pending | allowed | blocked."""

    __tablename__ = "identities"

    id: Mapped[str] = mapped_column(primary_key=True)
    display_name: Mapped[str]
    access: Mapped[str]
    created_at: Mapped[float]
    decided_at: Mapped[float | None]
    decided_by: Mapped[str] = mapped_column(default="")
    # The access setting decided, not an operator: it decides again when the setting changes.
    decided_by_policy: Mapped[bool] = mapped_column(default=False, server_default=false())
    # The IANA time zone that the person named; empty until they did.
    zone: Mapped[str] = mapped_column(default="", server_default=EMPTY)


class Alias(Base):
    """A channel's id for a person: Telegram user id, phone, BSUID.

    linked_from: the person's id from before the address was linked; empty for the person's own.
    """

    __tablename__ = "aliases"

    channel: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identities.id"), index=True)
    linked_from: Mapped[str] = mapped_column(default="", server_default=EMPTY)
    username: Mapped[str] = mapped_column(default="")
    created_at: Mapped[float]


class ListedName(Base):
    """Whose account an @name of the allowlist means: the first admitted under it.

    name: lower-cased, without the "@". told_address: the last other account that came under the
    name, which operators have been told of; empty for none.
    """

    __tablename__ = "listed_names"

    channel: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str]
    bound_at: Mapped[float]
    told_address: Mapped[str] = mapped_column(default="", server_default=EMPTY)


class Pairing(Base):
    """A pairing code a stranger was given, for an operator to approve.

    state: open | evicted (newer requests took its place) | approved | refused | expired.
    """

    __tablename__ = "pairings"

    code: Mapped[str] = mapped_column(primary_key=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identities.id"), index=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    state: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float]
    notified_at: Mapped[float]  # when the person was last told the code


class PersonLink(Base):
    """A person who was joined to another: `former_id` is nobody's any more and means `identity_id`.

    linked_by: the operator, or `chat` where a code did it.
    """

    __tablename__ = "person_links"

    former_id: Mapped[str] = mapped_column(primary_key=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identities.id"), index=True)
    linked_at: Mapped[float]
    linked_by: Mapped[str]


class LinkCode(Base):
    """A code that a person was given in a private chat, to enter in another.

    state: open | used | void.
    """

    __tablename__ = "link_codes"

    code: Mapped[str] = mapped_column(primary_key=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identities.id"), index=True)
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    state: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float]


class LinkFailure(Base):
    """A wrong code, counted per person and per account to end guessing."""

    __tablename__ = "link_failures"
    __table_args__ = (Index(None, "subject", "at"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    subject: Mapped[str]
    at: Mapped[float]


class NoteRow(Base):
    """A note kept for one person; `key` is the tool call that made it."""

    __tablename__ = "notes"
    __table_args__ = (UniqueConstraint("identity_id", "key"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    identity_id: Mapped[str] = mapped_column(ForeignKey("identities.id"))
    key: Mapped[str]
    text: Mapped[str]
    created_at: Mapped[float]


class Tenant(Base):
    """A group of sessions that share cached prefixes. `salt` is random; only the engine gets it."""

    __tablename__ = "tenants"

    name: Mapped[str] = mapped_column(primary_key=True)
    salt: Mapped[str]
    created_at: Mapped[float]
