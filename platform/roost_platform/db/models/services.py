"""Running services and the health of channel accounts."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from roost_platform.db.models.base import Base


class ChannelState(Base):
    """Health and polling offset of one account.

    state: starting | up | degraded | conflict | auth_error | paused.
    """

    __tablename__ = "channel_states"

    channel: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    detail: Mapped[str] = mapped_column(default="")
    cursor: Mapped[int | None] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(default="")
    last_in_at: Mapped[float | None]
    last_out_at: Mapped[float | None]
    updated_at: Mapped[float]


class ServiceHeartbeat(Base):
    """A running service reports that it is alive, for the health strip and `roost status`."""

    __tablename__ = "service_heartbeats"

    service: Mapped[str] = mapped_column(primary_key=True)
    pid: Mapped[int]
    version: Mapped[str]
    started_at: Mapped[float]
    seen_at: Mapped[float]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
