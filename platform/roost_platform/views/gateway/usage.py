"""What was used through the gateway: by day, model, target, agent, key or person.

It is read a day at a time. So a long range holds up nobody: others work between two days, and each
day is one range of an index.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal, get_args

from sqlalchemy import ColumnElement, case, func, or_, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.errors import Refused
from roost_platform.views.figures import percentile

DAYS_MAX: Final = 400
GROUPS_MAX: Final = 1000  # shown; the rest is one row
GROUPS_READ_MAX: Final = 10_000  # of one day, and kept while reading
TIMES_PER_DAY_MAX: Final = 2000  # newest times to the first byte of a day, for the percentiles
TIMES_MAX: Final = 50_000
DAY_S: Final = 86_400.0
REST: Final = "(others)"

By = Literal["day", "model", "target", "agent", "key", "person"]
GROUPINGS: Final[Sequence[str]] = get_args(By)


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which calls: those of these names; None for all. key: its id or its name; empty for agents'
    own calls.
    """

    key: str | None = None
    model: str | None = None
    target: str | None = None
    agent: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group, or all. name: as people know it, `group` as it is stored. Tokens of the prompt
    have the cached ones in them. cost_microusd: millionths of a US dollar. ttft: milliseconds to
    the first byte, None where none is known.
    """

    group: str = ""
    name: str = ""
    calls: int = 0
    ok: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    lost: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_microusd: int = 0
    ttft_p50_ms: float | None = None
    ttft_p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The groups, those that cost most first, or the days in order, and all together. since,
    until: the first and the last day (UTC).
    """

    by: str
    since: date
    until: date
    rows: tuple[UsageRow, ...]
    total: UsageRow


SUMS: Final = (
    *("calls", "ok", "cancelled", "failed", "refused", "lost"),
    *("input_tokens", "cached_tokens", "cache_write_tokens"),
    *("output_tokens", "reasoning_tokens", "cost_microusd"),
)
OUTCOMES: Final = ("ok", "cancelled", "failed", "refused", "lost")
CALL = models.GatewayCall
COLUMNS: Final[Mapping[str, Any]] = {
    "model": CALL.model,
    "target": CALL.target,
    "agent": CALL.agent,
    "key": CALL.key_id,
    "person": CALL.person,
}


@dataclass(slots=True)
class _Group:
    """The sums of one group, and some of its times."""

    sums: list[int] = field(default_factory=lambda: [0] * len(SUMS))
    times: list[float] = field(default_factory=list)

    def add(self, sums: Sequence[int]) -> None:
        self.sums = [one + int(other or 0) for one, other in zip(self.sums, sums, strict=True)]

    def row(self, group: str, name: str) -> UsageRow:
        return UsageRow(
            group=group,
            name=name,
            **dict(zip(SUMS, self.sums, strict=True)),
            ttft_p50_ms=percentile(self.times, 0.5),
            ttft_p95_ms=percentile(self.times, 0.95),
        )


async def usage(
    database: Database,
    by: str,
    since: date,
    until: date,
    which: UsageFilter | None = None,
) -> Usage:
    """The calls that began in these days. Raises Refused for a range that can't be read."""
    if by not in GROUPINGS:
        raise Refused(f"Usage is grouped by one of {', '.join(GROUPINGS)}.")
    if until < since or (until - since).days >= DAYS_MAX:
        raise Refused(f"Usage is told for 1 to {DAYS_MAX} days, the first one first.")
    where = _conditions(which or UsageFilter())
    groups: dict[str, _Group] = {}
    total = _Group()
    for day in await _days_with_calls(database, since, until, where):
        await _read_day(database, by, day, where, groups, total)
    names = await _key_names(database) if by == "key" else {}
    rows = [group.row(name, names.get(name, name)) for name, group in groups.items()]
    return Usage(by, since, until, _arranged(by, rows), total.row("", ""))


async def _read_day(
    database: Database,
    by: str,
    day: date,
    where: Sequence[ColumnElement[bool]],
    groups: dict[str, _Group],
    total: _Group,
) -> None:
    column = COLUMNS.get(by)
    begins = _begins(day)
    of_day = [CALL.started_at >= begins, CALL.started_at < begins + DAY_S, *where]
    sums = [_sum(name) for name in SUMS]
    columns = [column, *sums] if column is not None else sums
    query = select(*columns).where(*of_day)
    if column is not None:
        query = query.group_by(column).order_by(sums[0].desc(), column).limit(GROUPS_READ_MAX)
    asked = [CALL.ttft_ms] if column is None else [CALL.ttft_ms, column]
    times = (
        select(*asked)
        .where(*of_day, CALL.ttft_ms.is_not(None))
        .order_by(CALL.started_at.desc())
        .limit(TIMES_PER_DAY_MAX)
    )
    async with database.read() as session:
        found = (await session.execute(query)).all()
        whole = (
            found[0]
            if column is None
            else (await session.execute(select(*sums).where(*of_day))).one()
        )
        waits = (await session.execute(times)).all()
    if not whole[0]:
        return
    total.add(whole)
    if column is None:
        groups[day.isoformat()] = _Group()
        groups[day.isoformat()].add(whole)
    else:
        rest = list(whole)
        for name, *values in found:
            group = _group(groups, name)
            group.add(values)
            rest = [one - int(other or 0) for one, other in zip(rest, values, strict=True)]
        if any(rest):
            _group(groups, REST).add(rest)
    for wait in waits:
        group = groups[day.isoformat()] if column is None else _group(groups, wait[1])
        if len(total.times) < TIMES_MAX:
            total.times.append(wait[0])
            group.times.append(wait[0])


def _group(groups: dict[str, _Group], name: str) -> _Group:
    """The group of this name; that of the rest once there are too many."""
    if name not in groups and len(groups) >= GROUPS_READ_MAX:
        name = REST
    return groups.setdefault(name, _Group())


def _arranged(by: str, rows: list[UsageRow]) -> tuple[UsageRow, ...]:
    """The days in order; else the largest groups, and the rest as one row."""
    if by == "day":
        return tuple(sorted(rows, key=lambda row: row.group))
    rest = [row for row in rows if row.group == REST]
    named = [row for row in rows if row.group != REST]
    shown = heapq.nlargest(
        GROUPS_MAX,
        named,
        key=lambda row: (row.cost_microusd, row.input_tokens + row.output_tokens, row.calls),
    )
    chosen = {row.group for row in shown}
    others = [*rest, *(row for row in named if row.group not in chosen)]
    if not others:
        return tuple(shown)
    together = UsageRow(REST, REST)
    for row in others:
        more = {name: getattr(together, name) + getattr(row, name) for name in SUMS}
        together = replace(together, **more)
    return (*shown, together)


def _conditions(which: UsageFilter) -> list[ColumnElement[bool]]:
    wanted = {
        "model": which.model,
        "target": which.target,
        "agent": which.agent,
        "person": which.person,
    }
    conditions = [COLUMNS[name] == value for name, value in wanted.items() if value is not None]
    if which.key is not None:
        key = models.GatewayKeyRow
        named = select(key.id).where(key.name == which.key)
        conditions.append(or_(CALL.key_id == which.key, CALL.key_id.in_(named)))
    return conditions


def _sum(name: str) -> ColumnElement[Any]:
    if name in OUTCOMES:
        return func.sum(case((CALL.outcome == name, CALL.calls), else_=0)).label(name)
    return func.sum(getattr(CALL, name)).label(name)


async def _days_with_calls(
    database: Database, since: date, until: date, where: Sequence[ColumnElement[bool]]
) -> Sequence[date]:
    """The days of the range without those before the first call and after the last."""
    in_range = [CALL.started_at >= _begins(since), CALL.started_at < _begins(until) + DAY_S, *where]
    async with database.read() as session:
        ends = await session.execute(
            select(func.min(CALL.started_at), func.max(CALL.started_at)).where(*in_range)
        )
        first, last = ends.one()
    if first is None:
        return ()
    begin = _day_of(first)
    return [begin + timedelta(days=n) for n in range((_day_of(last) - begin).days + 1)]


async def _key_names(database: Database) -> Mapping[str, str]:
    key = models.GatewayKeyRow
    async with database.read() as session:
        found = await session.execute(select(key.id, key.name).limit(GROUPS_READ_MAX))
        return {row.id: row.name for row in found}


def _begins(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _day_of(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()
