"""The figures of the Overview: how much runs, how fast, and what waits for people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.views.deliveries import count_of

SERIES_MINUTES = 60
STEPS_READ_MAX = 20_000  # of the last hour; beyond this the oldest minutes are incomplete
RATE_WINDOW_S = 300.0
LATENCY_WINDOW_S = 900.0


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute of the last hour. ttft: milliseconds to the first token, None without a call."""

    at: float
    turns: int
    tokens: int
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class OverviewFigures:
    """The numbers on the tiles. Times in milliseconds; None where nothing was measured.

    turns_per_minute, tokens_per_second: over RATE_WINDOW_S; the latter while an answer is written.
    ttft: over LATENCY_WINDOW_S. cached_share: of prompt tokens, over SERIES_MINUTES.
    """

    sessions_active: int
    turns_waiting: int
    turns_per_minute: float
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    tokens_per_second: float | None
    messages_waiting: int
    deliveries_failed: int
    deliveries_uncertain: int
    people_waiting: int
    cached_share: float | None
    series: tuple[Minute, ...]


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value at this share (0 to 1) by nearest rank; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def count(session: AsyncSession, *conditions: ColumnElement[bool]) -> int:
    """How many rows meet all conditions."""
    return await session.scalar(select(func.count()).where(*conditions)) or 0


async def waiting_turns_count(session: AsyncSession) -> int:
    """How many chats have a turn that waits for somebody."""
    return await count(
        session,
        models.Turn.state == "waiting",
        models.Turn.conversation_id == models.Conversation.id,
        models.Conversation.kind == "chat",
    )


async def figures(session: AsyncSession, now: float) -> OverviewFigures:
    """Everything for the tiles and the chart."""
    steps = (
        await session.execute(
            select(
                models.TurnStep.created_at,
                models.TurnStep.completion_tokens,
                models.TurnStep.prompt_tokens,
                models.TurnStep.cached_tokens,
                models.TurnStep.time_to_first_token_s,
                models.TurnStep.duration_s,
            )
            .where(models.TurnStep.created_at > now - SERIES_MINUTES * 60)
            .order_by(models.TurnStep.created_at.desc())
            .limit(STEPS_READ_MAX)
        )
    ).all()
    finished = (
        await session.scalars(
            select(models.Turn.finished_at).where(
                models.Turn.finished_at > now - SERIES_MINUTES * 60
            )
        )
    ).all()
    recent = [
        s.time_to_first_token_s * 1000
        for s in steps
        if s.created_at > now - LATENCY_WINDOW_S and s.time_to_first_token_s is not None
    ]
    busy = [s for s in steps if s.created_at > now - RATE_WINDOW_S and s.duration_s > 0]
    prompt = sum(s.prompt_tokens for s in steps)
    return OverviewFigures(
        sessions_active=await count(session, models.Turn.state == "running"),
        turns_waiting=await waiting_turns_count(session),
        turns_per_minute=sum(at is not None and at > now - RATE_WINDOW_S for at in finished)
        / (RATE_WINDOW_S / 60),
        ttft_p50_ms=percentile(recent, 0.5),
        ttft_p95_ms=percentile(recent, 0.95),
        tokens_per_second=sum(s.completion_tokens for s in busy)
        / max(1e-9, sum(s.duration_s for s in busy))
        if busy
        else None,
        messages_waiting=await count(session, models.Inbox.state == "pending"),
        deliveries_failed=await count_of(session, "failed"),
        deliveries_uncertain=await count_of(session, "uncertain"),
        people_waiting=await count(session, models.Identity.access == "pending"),
        cached_share=sum(s.cached_tokens for s in steps) / prompt if prompt else None,
        series=series(steps, [at for at in finished if at is not None], now),
    )


def series(steps: Sequence[Any], finished: Sequence[float], now: float) -> tuple[Minute, ...]:
    """The last hour by whole minutes, oldest first, empty minutes included."""
    last = int(now // 60)
    minutes = range(last - SERIES_MINUTES + 1, last + 1)
    tokens = dict.fromkeys(minutes, 0)
    turns = dict.fromkeys(minutes, 0)
    first: dict[int, list[float]] = {minute: [] for minute in minutes}
    for step in steps:
        minute = int(step.created_at // 60)
        if minute in tokens:
            tokens[minute] += step.completion_tokens
            ttft = step.time_to_first_token_s
            if ttft is not None:
                first[minute].append(ttft * 1000)
    for at in finished:
        if int(at // 60) in turns:
            turns[int(at // 60)] += 1
    return tuple(
        Minute(m * 60.0, turns[m], tokens[m], percentile(first[m], 0.5), percentile(first[m], 0.95))
        for m in minutes
    )
