"""The rules: what is wrong now, in counts and codes. No rule reads what people or agents wrote."""

import shutil
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, get_args

from sqlalchemy import BindParameter, bindparam, func, or_, select

from roost_platform.alerts.conditions import Condition
from roost_platform.alerts.gateway import gateway_conditions
from roost_platform.db import models
from roost_platform.db.base.plain import PlainConnection, PlainStatement
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

# Each look runs all of these, mostly in a process that did nothing since the last one.
_since: BindParameter[float] = bindparam("since")
_before: BindParameter[float] = bindparam("before")
_FAILED_TURNS = PlainStatement(
    select(models.Turn.reason_code, func.count().label("number"))
    .where(models.Turn.state == "failed", models.Turn.finished_at >= _since)
    .group_by(models.Turn.reason_code)
)
_is_unreachable = models.RunProgress.phase == "unreachable"
_running = (
    select(func.count().label("number"))
    .select_from(models.Turn)
    .join(models.RunProgress, models.RunProgress.turn_id == models.Turn.id)
    .where(models.Turn.state == "running")
)
_WITHOUT_ENGINE = PlainStatement(_running.where(_is_unreachable, models.Turn.started_at <= _before))
_STUCK = PlainStatement(_running.where(~_is_unreachable, models.RunProgress.updated_at <= _before))
_CHANNELS = PlainStatement(
    select(
        models.ChannelState.channel, models.ChannelState.account, models.ChannelState.state
    ).where(or_(*(models.ChannelState.state == one for one in CHANNEL_TROUBLE)))
)
_messages = (
    select(models.Outbox.channel, models.Outbox.account, func.count().label("number"))
    .join(models.Part, models.Part.outbox_id == models.Outbox.id)
    .group_by(models.Outbox.channel, models.Outbox.account)
)
_UNCERTAIN = PlainStatement(
    _messages.where(models.Part.state == "ambiguous", models.Part.started_at <= _before)
)
_NOT_DELIVERED = PlainStatement(
    _messages.where(
        or_(models.Part.state == "failed", models.Part.state == "expired"),
        models.Outbox.finished_at >= _since,
    )
)
_APPROVALS = PlainStatement(
    select(models.Approval.agent, func.count().label("number"))
    .where(waits_for_operator(), models.Approval.created_at <= _before)
    .group_by(models.Approval.agent)
)
_PARTS = PlainStatement(
    select(
        models.ServiceHeartbeat.service,
        models.ServiceHeartbeat.started_at,
        models.ServiceHeartbeat.seen_at,
    )
)


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


def conditions(
    connection: PlainConnection,
    now: float,
    *,
    starts: Starts,
    data_dir: Path,
    config: AlertsConfig,
    accounts: Collection[tuple[str, str]] | None = None,
) -> list[Condition]:
    """All that is wrong now. accounts: the configured ones, None where they are not known."""
    found = [
        *_turns(connection, now),
        *_channels(connection, accounts),
        *_deliveries(connection, now),
        *_approvals(connection, now - config.approval_wait_s),
        *_parts(connection, now, starts),
        *gateway_conditions(connection, now),
    ]
    free_mib = shutil.disk_usage(data_dir).free // 2**20
    if free_mib < config.disk_free_mib:
        found.append(Condition("disk", "data folder", free_mib))
    return found


def _turns(connection: PlainConnection, now: float) -> Iterator[Condition]:
    for row in _FAILED_TURNS.run(connection, {"since": now - RECENT_S}).all():
        code = row.reason_code
        rule: AlertRule = "engine_refused" if code in ENGINE_REASONS else "turn_failed"
        yield Condition(rule, code or "no reason", row.number)
    waiting = _count(_WITHOUT_ENGINE, connection, now - LASTS_S)
    stuck = _count(_STUCK, connection, now - STUCK_S)
    if waiting:
        yield Condition("engine_down", "engine", waiting)
    if stuck:
        yield Condition("turn_stuck", "turns", stuck)


def _count(statement: PlainStatement, connection: PlainConnection, before: float) -> int:
    [row] = statement.run(connection, {"before": before}).all()
    return int(row.number)


def _channels(
    connection: PlainConnection, accounts: Collection[tuple[str, str]] | None
) -> Iterator[Condition]:
    for one in _CHANNELS.run(connection, {}).all():
        if accounts is None or (one.channel, one.account) in accounts:
            lasts_s = LASTS_S if one.state == "degraded" else 0.0
            yield Condition("channel", f"{one.channel} {one.account} ({one.state})", 1, lasts_s)


def _deliveries(connection: PlainConnection, now: float) -> Iterator[Condition]:
    for one in _UNCERTAIN.run(connection, {"before": now - LASTS_S}).all():
        yield Condition("delivery_uncertain", f"{one.channel} {one.account}", one.number)
    for one in _NOT_DELIVERED.run(connection, {"since": now - RECENT_S}).all():
        yield Condition("delivery_failed", f"{one.channel} {one.account}", one.number)


def _approvals(connection: PlainConnection, asked_before: float) -> Iterator[Condition]:
    for one in _APPROVALS.run(connection, {"before": asked_before}).all():
        yield Condition("approval_waits", one.agent, one.number)


def _parts(connection: PlainConnection, now: float, starts: Starts) -> Iterator[Condition]:
    for row in _PARTS.run(connection, {}).all():
        again = starts.count(row.service, row.started_at, now)
        if again >= RESTARTS:
            yield Condition("part_restarts", row.service, again)
        if not is_alive(row.seen_at, now) and row.seen_at <= now - LASTS_S:
            yield Condition("part_down", row.service, 1)
