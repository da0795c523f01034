"""Operators of the console: logins, tokens and the audit log."""

from typing import Any

from sqlalchemy import ForeignKey, Index, false
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import Base, Serial


class Operator(Base):
    """A person who may use the console. role: viewer | operator | admin."""

    __tablename__ = "operators"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str]
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[float]


class OperatorSession(Base):
    """A login: SHA-256 of the cookie's token. Idle and absolute limits are the console's."""

    __tablename__ = "operator_sessions"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    operator_id: Mapped[str] = mapped_column(ForeignKey("operators.id"), index=True)
    ip: Mapped[str]
    user_agent: Mapped[str]
    created_at: Mapped[float]
    seen_at: Mapped[float]


class ApiToken(Base):
    """A bearer token for programs, hashed; role as an operator's."""

    __tablename__ = "api_tokens"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[float]
    used_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class SetupToken(Base):
    """The one-time link that makes the first admin, hashed."""

    __tablename__ = "setup_tokens"

    token_hash: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[float]
    expires_at: Mapped[float]
    used_at: Mapped[float | None]


class LoginFailure(Base):
    """A failed login, counted per account and address to slow guessing."""

    __tablename__ = "login_failures"
    __table_args__ = (Index(None, "subject", "at"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    subject: Mapped[str]
    at: Mapped[float]


class Audit(Base):
    """Append-only: triggers refuse changes. hash: over prev_hash and the row's canonical JSON, with
    the installation's key where `keyed`, without one in rows from before there was a key."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    at: Mapped[float]
    actor: Mapped[str]
    action: Mapped[str]
    object: Mapped[str]
    detail: Mapped[dict[str, Any]]
    ip: Mapped[str] = mapped_column(default="")
    prev_hash: Mapped[str]
    hash: Mapped[str]
    keyed: Mapped[bool] = mapped_column(default=False, server_default=false())


class AuditAnchor(Base):
    """One row: how many rows the trail has and the newest one's hash, sealed with the key, so that
    rows cut off its end are missed. seal: empty until a key is there."""

    __tablename__ = "audit_anchor"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    length: Mapped[int]
    last_hash: Mapped[str]
    seal: Mapped[str]
