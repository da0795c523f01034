"""The accounts of channels as their own processes report them, with events that were unreadable."""

import json
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.channels import UNREADABLE_S, unreadable_counts

LETTERS_MAX = 20  # dead letters shown on the page
RAW_MAX = 2000  # characters of each


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be read: why, and its content as it came."""

    at: float
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """One account of one channel.

    unreadable: how many events of the last week were set aside; dead_letters: the newest of them.
    """

    channel: str
    account: str
    state: str
    detail: str
    name: str
    last_in_at: float | None
    last_out_at: float | None
    updated_at: float | None
    unreadable: int = 0
    dead_letters: tuple[DeadLetter, ...] = ()

    @property
    def is_up(self) -> bool:
        """Whether the account works, or is just being connected."""
        return self.state in ("up", "starting")


async def channels(session: AsyncSession, now: float) -> tuple[ChannelHealth, ...]:
    """Every account that ever reported, by channel and account."""
    unreadable = await unreadable_counts(session, now)
    letters = await _dead_letters(session, now) if unreadable else {}
    rows = await session.scalars(
        select(models.ChannelState).order_by(
            models.ChannelState.channel, models.ChannelState.account
        )
    )
    return tuple(
        ChannelHealth(
            r.channel,
            r.account,
            r.state,
            r.detail,
            r.name,
            r.last_in_at,
            r.last_out_at,
            r.updated_at,
            unreadable.get((r.channel, r.account), 0),
            tuple(letters.get((r.channel, r.account), ())),
        )
        for r in rows
    )


async def _dead_letters(
    session: AsyncSession, now: float
) -> dict[tuple[str, str], list[DeadLetter]]:
    rows = await session.scalars(
        select(models.Inbox)
        .where(
            models.Inbox.state == "ignored",
            models.Inbox.received_at >= now - UNREADABLE_S,
            models.Inbox.reason_code == "unreadable",
        )
        .order_by(models.Inbox.received_at.desc())
        .limit(LETTERS_MAX)
    )
    letters: dict[tuple[str, str], list[DeadLetter]] = {}
    for row in rows:
        raw = json.dumps(row.raw, ensure_ascii=False)[:RAW_MAX]
        letter = DeadLetter(row.received_at, row.reason, raw)
        letters.setdefault((row.channel, row.account), []).append(letter)
    return letters
