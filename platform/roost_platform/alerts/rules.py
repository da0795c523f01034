"""The rules: what is wrong now, in counts and codes. No rule reads what people or agents wrote."""

import shutil
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, get_args

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.alerts.conditions import Condition
from roost_platform.alerts.gateway import gateway_conditions
from roost_platform.db import models
from roost_platform.db.services import is_alive
from roost_platform.db.waits.for_operators import waits_for_operator
from roost_platform.settings.watching import AlertRule, AlertsConfig

RULES: Final[tuple[AlertRule, ...]] = get_args(AlertRule)
RECENT_S: Final = 600.0  # a failure counts for so long after it happened
STUCK_S: Final = 120.0  # a turn without progress for so long is stuck
LASTS_S: Final = 60.0  # what may pass by itself is told once it lasted this long
RESTARTS: Final = 3  # starts of one part within RECENT_S beyond its first
REMEMBERED_MAX: Final = 20  # starts of one part
CHANNEL_TROUBLE: Final = ("degraded", "conflict", "auth_error")
ENGINE_REASONS: Final = ("engine_refused", "engine_failed")

# What each rule finds, and the same in a sentence, for one and for several of its `count`.
MEANINGS: Final[Mapping[AlertRule, str]] = {
    "turn_failed": "a turn failed",
    "turn_stuck": "a turn makes no progress",
    "engine_refused": "a turn failed because of the engine",
    "engine_down": "a turn waits because the engine does not answer",
    "channel": "a channel has trouble",
    "delivery_uncertain": "a message may or may not have arrived",
    "delivery_failed": "a message could not be delivered",
    "approval_waits": "an approval waits for an operator",
    "part_down": "a part gives no sign of life",
    "part_restarts": "a part is restarted again and again",
    "disk": "little space is left on the disk",
    "target_failing": "a target of the gateway does not answer",
    "key_budget": "the budget of a key is nearly spent",
}
_SENTENCES: Final[Mapping[AlertRule, tuple[str, str]]] = {
    "turn_failed": ("{} turn failed", "{} turns failed"),
    "turn_stuck": ("{} turn makes no progress", "{} turns make no progress"),
    "engine_refused": (
        "{} turn failed because of the engine",
        "{} turns failed because of the engine",
    ),
    "engine_down": (
        "{} turn waits because the engine does not answer",
        "{} turns wait because the engine does not answer",
    ),
    "channel": ("the channel has trouble",) * 2,
    "delivery_uncertain": (
        "{} message may or may not have arrived",
        "{} messages may or may not have arrived",
    ),
    "delivery_failed": (
        "{} message could not be delivered",
        "{} messages could not be delivered",
    ),
    "approval_waits": ("{} approval waits for an operator", "{} approvals wait for an operator"),
    "part_down": ("the part gives no sign of life",) * 2,
    "part_restarts": (
        "the part was started again once in 10 minutes",
        "the part was started again {} times in 10 minutes",
    ),
    "disk": ("{} MiB is left on the disk", "{} MiB are left on the disk"),
    "target_failing": (
        "the target did not answer {} call in a row",
        "the target did not answer {} calls in a row",
    ),
    "key_budget": ("{} percent of the budget is spent",) * 2,
}


@dataclass(slots=True)
class Starts:
    """When each part was seen to start, while we look."""

    seen: dict[str, deque[float]] = field(default_factory=dict)

    def count(self, service: str, started_at: float, now: float) -> int:
        """How often the part was started again in the last RECENT_S."""
        starts = self.seen.setdefault(service, deque(maxlen=REMEMBERED_MAX))
        if not starts or starts[-1] != started_at:
            starts.append(started_at)
        return sum(1 for at in list(starts)[1:] if at > now - RECENT_S)


def sentence(rule: str, count: int) -> str:
    """What a rule found, in words. A rule of another version is its own name."""
    one, several = _SENTENCES.get(rule, (rule, rule))  # type: ignore[call-overload]
    words: str = one if count == 1 else several
    return words.format(count)


async def conditions(
    session: AsyncSession,
    now: float,
    *,
    starts: Starts,
    data_dir: Path,
    config: AlertsConfig,
    accounts: Collection[tuple[str, str]] | None = None,
) -> list[Condition]:
    """All that is wrong now. accounts: the configured ones, None where they are not known."""
    found = [
        *await _turns(session, now),
        *await _channels(session, accounts),
        *await _deliveries(session, now),
        *await _approvals(session, now - config.approval_wait_s),
        *await _parts(session, now, starts),
        *await gateway_conditions(session, now),
    ]
    free_mib = shutil.disk_usage(data_dir).free // 2**20
    if free_mib < config.disk_free_mib:
        found.append(Condition("disk", "data folder", free_mib))
    return found


async def _turns(session: AsyncSession, now: float) -> list[Condition]:
    failed = await session.execute(
        select(models.Turn.reason_code, func.count())
        .where(models.Turn.state == "failed", models.Turn.finished_at >= now - RECENT_S)
        .group_by(models.Turn.reason_code)
    )
    found = []
    for code, count in failed.all():
        rule: AlertRule = "engine_refused" if code in ENGINE_REASONS else "turn_failed"
        found.append(Condition(rule, code or "no reason", count))
    progress = models.RunProgress
    running = (
        select(func.count())
        .select_from(models.Turn)
        .join(progress, progress.turn_id == models.Turn.id)
        .where(models.Turn.state == "running")
    )
    unreachable = progress.phase == "unreachable"
    waiting = await session.scalar(
        running.where(unreachable, models.Turn.started_at <= now - LASTS_S)
    )
    stuck = await session.scalar(running.where(~unreachable, progress.updated_at <= now - STUCK_S))
    if waiting:
        found.append(Condition("engine_down", "engine", waiting))
    if stuck:
        found.append(Condition("turn_stuck", "turns", stuck))
    return found


async def _channels(
    session: AsyncSession, accounts: Collection[tuple[str, str]] | None
) -> list[Condition]:
    states = await session.scalars(
        select(models.ChannelState).where(models.ChannelState.state.in_(CHANNEL_TROUBLE))
    )
    return [
        Condition(
            "channel",
            f"{one.channel} {one.account} ({one.state})",
            1,
            LASTS_S if one.state == "degraded" else 0.0,
        )
        for one in states
        if accounts is None or (one.channel, one.account) in accounts
    ]


async def _deliveries(session: AsyncSession, now: float) -> list[Condition]:
    parts, outbox = models.Part, models.Outbox
    counted = (
        select(outbox.channel, outbox.account, func.count())
        .join(parts, parts.outbox_id == outbox.id)
        .group_by(outbox.channel, outbox.account)
    )
    uncertain = await session.execute(
        counted.where(parts.state == "ambiguous", parts.started_at <= now - LASTS_S)
    )
    failed = await session.execute(
        counted.where(parts.state.in_(("failed", "expired")), outbox.finished_at >= now - RECENT_S)
    )
    return [
        *(Condition("delivery_uncertain", f"{c} {a}", n) for c, a, n in uncertain.all()),
        *(Condition("delivery_failed", f"{c} {a}", n) for c, a, n in failed.all()),
    ]


async def _approvals(session: AsyncSession, asked_before: float) -> list[Condition]:
    waiting = await session.execute(
        select(models.Approval.agent, func.count())
        .where(waits_for_operator(), models.Approval.created_at <= asked_before)
        .group_by(models.Approval.agent)
    )
    return [Condition("approval_waits", agent, count) for agent, count in waiting.all()]


async def _parts(session: AsyncSession, now: float, starts: Starts) -> list[Condition]:
    found = []
    for row in await session.scalars(select(models.ServiceHeartbeat)):
        again = starts.count(row.service, row.started_at, now)
        if again >= RESTARTS:
            found.append(Condition("part_restarts", row.service, again))
        if not is_alive(row.seen_at, now) and row.seen_at <= now - LASTS_S:
            found.append(Condition("part_down", row.service, 1))
    return found
