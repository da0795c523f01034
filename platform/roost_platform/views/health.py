"""Whether the processes beat and the channels are connected."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.channels import UNREADABLE_S, unreadable_counts
from roost_platform.db.services import is_alive

LETTERS_MAX = 20  # dead letters shown on the page
RAW_MAX = 2000  # characters of each


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """One process. state: up | down | unknown."""

    name: str
    state: str
    detail: str = ""
    started_at: float | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that could not be read: why, and as it came."""

    at: float
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """One account of one channel, as its own process reports it."""

    channel: str
    account: str
    state: str
    detail: str
    name: str
    last_in_at: float | None
    last_out_at: float | None
    updated_at: float | None
    unreadable: int = 0  # events of the last week that were set aside
    dead_letters: tuple["DeadLetter", ...] = ()  # the newest of them


async def services(
    session: AsyncSession, expected: Sequence[str], now: float
) -> tuple[ServiceHealth, ...]:
    """Every expected process, then whatever else beats."""
    rows = {
        row.service: row for row in await session.scalars(select(models.ServiceHeartbeat)) if row
    }
    names = [*expected, *(name for name in sorted(rows) if name not in expected)]
    found = []
    for name in names:
        row = rows.get(name)
        if row is None:
            found.append(ServiceHealth(name, "down", "not seen yet"))
        elif not is_alive(row.seen_at, now):
            late = f"no sign of life for {round(now - row.seen_at)} s"
            found.append(ServiceHealth(name, "down", late, row.started_at))
        else:
            found.append(ServiceHealth(name, "up", f"version {row.version}", row.started_at))
    return tuple(found)


async def channels(session: AsyncSession, now: float) -> tuple[ChannelHealth, ...]:
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
    found: dict[tuple[str, str], list[DeadLetter]] = {}
    for row in rows:
        raw = json.dumps(row.raw, ensure_ascii=False)[:RAW_MAX]
        letter = DeadLetter(row.received_at, row.reason, raw)
        found.setdefault((row.channel, row.account), []).append(letter)
    return found
