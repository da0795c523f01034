"""The state and polling offset of each channel account."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.base.text import clean

UNREADABLE_S = 7 * 86_400.0  # how far back dead letters are counted
DETAIL_MAX = 2000  # characters of a state's explanation


@dataclass(frozen=True, slots=True)
class ChannelView:
    """One account now. `cursor` is the poller's next offset."""

    channel: str
    account: str
    state: str
    detail: str
    cursor: int | None
    name: str
    last_in_at: float | None
    last_out_at: float | None
    updated_at: float


class ChannelStates:
    """What adapters report about their accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[ChannelView]:
        """Every account that ever reported, by channel and account."""
        async with self._database.read() as session:
            rows = await session.scalars(
                select(models.ChannelState).order_by(
                    models.ChannelState.channel, models.ChannelState.account
                )
            )
            return [_view(row) for row in rows]

    async def get(self, channel: str, account: str) -> ChannelView | None:
        """One account; None if it never reported."""
        async with self._database.read() as session:
            row = await session.get(models.ChannelState, (channel, account))
            return None if row is None else _view(row)

    async def set(
        self, channel: str, account: str, state: str, detail: str = "", *, name: str | None = None
    ) -> None:
        """Record the health; `name` is what the account is called, such as a bot's username."""
        values: dict[str, Any] = {"state": state, "detail": clean(detail)[:DETAIL_MAX]}
        if name is not None:
            values["name"] = clean(name)
        async with self._database.write() as session:
            await upsert_channel(session, channel, account, self._database.now(), **values)


async def unreadable_counts(session: AsyncSession, now: float) -> dict[tuple[str, str], int]:
    """Events of the last week that could not be read, by (channel, account)."""
    rows = await session.execute(
        select(models.Inbox.channel, models.Inbox.account, func.count())
        .where(
            models.Inbox.state == "ignored",
            models.Inbox.received_at >= now - UNREADABLE_S,
            models.Inbox.reason_code == "unreadable",
        )
        .group_by(models.Inbox.channel, models.Inbox.account)
    )
    return {(channel, account): count for channel, account, count in rows}


async def upsert_channel(
    session: AsyncSession, channel: str, account: str, now: float, **values: Any
) -> None:
    """Change columns of an account's row; it must be the last lock of a transaction."""
    key = (channel, account)
    row = await session.get(models.ChannelState, key, with_for_update=True)
    if row is None:
        await insert_missing(
            session,
            models.ChannelState,
            channel=channel,
            account=account,
            state="starting",
            detail="",
            name="",
            updated_at=now,
        )
        row = await session.get_one(models.ChannelState, key, with_for_update=True)
    for name, value in values.items():
        setattr(row, name, value)
    row.updated_at = now


def _view(row: models.ChannelState) -> ChannelView:
    return ChannelView(
        channel=row.channel,
        account=row.account,
        state=row.state,
        detail=row.detail,
        cursor=row.cursor,
        name=row.name,
        last_in_at=row.last_in_at,
        last_out_at=row.last_out_at,
        updated_at=row.updated_at,
    )
