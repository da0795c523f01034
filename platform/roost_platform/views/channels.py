"""The accounts of channels as their own processes report them, with events that were unreadable."""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.channels import UNREADABLE_S, unreadable_counts
from roost_platform.db.services import is_alive

LETTERS_MAX = 20  # dead letters shown on the page
RAW_MAX = 2000  # characters of each

OURS: Final = "console"  # the channel that connects to nothing outside
REMOVED: Final = "removed"  # the state of an account that is not configured any more
DOWN: Final = "down"  # the state of an account whose process does not run
COURIER_IS_DOWN: Final = "The courier, which connects this account, is not running."

# What people below operators read in place of an error, whose words may be those of other programs.
SEEN_BY_OPERATORS: Final = "Operators see the reason here."

Accounts = Collection[tuple[str, str]]  # (channel, account) of each


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be read: why, and its content as it came."""

    at: float
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """One account of one channel.

    state: as its process reported it, while that process runs and the account is configured; else
        DOWN or REMOVED.
    label: which account it is, as people know it.
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

    @property
    def label(self) -> str:
        """The name that the network gave the account, else its id without our channel's prefix."""
        return account_label(self.channel, self.account, self.name)


def account_label(channel: str, account: str, name: str = "") -> str:
    """What people know an account by: its name on the network, else its number or id."""
    return name or account.removeprefix(f"{channel}:")


async def account_labels(session: AsyncSession) -> dict[tuple[str, str], str]:
    """The labels of the accounts of every channel that has several, by (channel, account)."""
    states = models.ChannelState
    rows = (await session.execute(select(states.channel, states.account, states.name))).all()
    several = Counter(channel for channel, _, _ in rows)
    return {
        (channel, account): account_label(channel, account, name)
        for channel, account, name in rows
        if several[channel] > 1
    }


async def channels(
    session: AsyncSession, now: float, configured: Accounts | None = None
) -> tuple[ChannelHealth, ...]:
    """Every account that ever reported, by channel and account.

    configured: the accounts in the settings; None where they are not known.
    """
    courier = await session.get(models.ServiceHeartbeat, "courier")
    runs = courier is not None and is_alive(courier.seen_at, now)
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
            *_state_of(r, configured, runs),
            r.name,
            r.last_in_at,
            r.last_out_at,
            r.updated_at,
            unreadable.get((r.channel, r.account), 0),
            tuple(letters.get((r.channel, r.account), ())),
        )
        for r in rows
    )


def plain_channel(one: ChannelHealth) -> ChannelHealth:
    """An account for viewers: without its process's own words and without unreadable events."""
    detail = "" if one.is_up or not one.detail else SEEN_BY_OPERATORS
    return replace(one, detail=detail, dead_letters=())


def _state_of(
    row: models.ChannelState, configured: Accounts | None, courier_runs: bool
) -> tuple[str, str]:
    """The state and its explanation; what was reported holds only while somebody keeps it true."""
    if row.channel == OURS:
        return row.state, row.detail
    if configured is not None and (row.channel, row.account) not in configured:
        return REMOVED, ""
    return (row.state, row.detail) if courier_runs else (DOWN, COURIER_IS_DOWN)


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
