"""The gateway: its keys with their budgets, its calls, stored responses, and who runs calls."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import Base


class GatewayKeyRow(Base):
    """A key of the gateway; its secret is stored as a SHA-256. old_secret_hash: of the one before
    the last rotation, which is good until old_secret_until.

    models: those it may use, empty for all. Budgets count in a period: `day` or `month` in UTC,
    empty for the key's whole life. spent: in this period; held: by calls that run. Levels: what is
    left in the buckets of requests and tokens a minute, as of levels_at.
    """

    __tablename__ = "gateway_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    secret_hash: Mapped[str] = mapped_column(unique=True)
    old_secret_hash: Mapped[str | None] = mapped_column(index=True)
    old_secret_until: Mapped[float | None]
    hint: Mapped[str]
    salt: Mapped[str]
    models: Mapped[list[Any]]
    compress: Mapped[bool] = mapped_column(default=False)
    budget_microusd: Mapped[int | None] = mapped_column(BigInteger)
    budget_tokens: Mapped[int | None] = mapped_column(BigInteger)
    period: Mapped[str] = mapped_column(default="")
    period_ends: Mapped[float | None]
    spent_microusd: Mapped[int] = mapped_column(BigInteger, default=0)
    spent_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    held_microusd: Mapped[int] = mapped_column(BigInteger, default=0)
    held_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    request_level: Mapped[float] = mapped_column(default=0.0)
    token_level: Mapped[float] = mapped_column(default=0.0)
    levels_at: Mapped[float] = mapped_column(default=0.0)
    parallel: Mapped[int | None]
    in_flight: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[float]
    created_by: Mapped[str]
    used_at: Mapped[float | None]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class GatewayCall(Base):
    """One call, without its content. outcome: empty while it runs, then ok | cancelled | failed |
    refused | lost. owner: the process that runs it. key_id: empty for agents' own calls. tries: a
    JSON list of [target, code of its error]. calls: 1, or how many equal refusals this row counts.
    saved_tokens: of the prompt, by compressing it.
    """

    __tablename__ = "gateway_calls"
    __table_args__ = (
        Index(None, "started_at"),
        Index(None, "key_id", "started_at"),
        Index(None, "outcome", "owner"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(default="")
    owner: Mapped[str]
    family: Mapped[str]
    model: Mapped[str]
    target: Mapped[str] = mapped_column(default="")
    agent: Mapped[str] = mapped_column(default="")
    session: Mapped[str] = mapped_column(default="")
    person: Mapped[str] = mapped_column(default="")
    started_at: Mapped[float]
    ended_at: Mapped[float | None]
    calls: Mapped[int] = mapped_column(default=1)
    outcome: Mapped[str] = mapped_column(default="")
    status: Mapped[int] = mapped_column(default=0)
    error_code: Mapped[str] = mapped_column(default="")
    held_microusd: Mapped[int] = mapped_column(BigInteger, default=0)
    held_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    input_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cached_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cache_write_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    output_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    reasoning_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    saved_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cost_microusd: Mapped[int] = mapped_column(BigInteger, default=0)
    ttft_ms: Mapped[float | None]
    duration_ms: Mapped[float | None]
    tries: Mapped[str] = mapped_column(default="[]")


class GatewayOwner(Base):
    """A process that runs calls. beats: counts up while it lives; see db/gateway/owners.py."""

    __tablename__ = "gateway_owners"

    id: Mapped[str] = mapped_column(primary_key=True)
    beats: Mapped[int] = mapped_column(BigInteger, default=0)
    started_at: Mapped[float]


class GatewayResponse(Base):
    """A stored response: the resource as it was told, and the items of its input."""

    __tablename__ = "gateway_responses"
    __table_args__ = (Index(None, "key_id", "created_at"), Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str]
    previous_id: Mapped[str | None] = mapped_column(
        ForeignKey("gateway_responses.id", ondelete="SET NULL")
    )
    resource: Mapped[dict[str, Any]]
    input_items: Mapped[list[Any]]
    created_at: Mapped[float]
    expires_at: Mapped[float]


class GatewayOriginal(Base):
    """A text that a compressed prompt left out, which `retrieve` brings back."""

    __tablename__ = "gateway_originals"
    __table_args__ = (Index(None, "expires_at"),)

    key_id: Mapped[str] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float]
