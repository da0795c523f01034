"""What calls of the gateway used, by day, model, target, agent, key or person."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    case,
    func,
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.functions import FunctionElement

from roost_platform.db import models

DAY_S: Final = 86_400
DAYS: Final = (1, 7, 30, 90, 400)
DIMENSIONS: Final = ("day", "model", "target", "agent", "key", "person")
OUTCOMES: Final = ("ok", "cancelled", "failed", "refused", "lost", "running")
ROWS_MAX: Final = 200  # of one table; the rest is in its totals
NOBODY: Final = "-"  # stands for an empty value in addresses
RUNNING: Final = "running"
C = models.GatewayCall
COLUMNS: Final[Mapping[str, InstrumentedAttribute[str]]] = {
    "model": C.model,
    "target": C.target,
    "agent": C.agent,
    "key": C.key_id,
    "person": C.person,
}
P50, P95 = 50, 95


class epoch_day(FunctionElement[int]):
    """The number of the day in UTC of seconds since the epoch."""

    type = Integer()
    inherit_cache = True


@compiles(epoch_day)
def _floored(element: epoch_day, compiler: Any, **options: Any) -> str:
    return f"CAST(FLOOR({compiler.process(element.clauses, **options)} / {DAY_S}) AS BIGINT)"


@compiles(epoch_day, "sqlite")
def _cut(element: epoch_day, compiler: Any, **options: Any) -> str:
    """SQLite may lack FLOOR; its cast cuts."""
    return f"CAST({compiler.process(element.clauses, **options)} / {DAY_S} AS INTEGER)"


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which calls count. days: the last ones in UTC, with today. Empty: any; NOBODY: those without
    one, such as agents' calls, which have no key. outcome: one of OUTCOMES.
    """

    days: int = 7
    model: str = ""
    target: str = ""
    agent: str = ""
    key: str = ""
    person: str = ""
    outcome: str = ""

    def since(self, now: float) -> float:
        """When the first of the days begins, in seconds since the epoch."""
        return (int(now // DAY_S) - self.days + 1) * float(DAY_S)

    @property
    def narrowed(self) -> dict[str, str]:
        """The filters in force, by their names in an address."""
        names = ("model", "target", "agent", "key", "person", "outcome")
        return {name: value for name in names if (value := getattr(self, name))}


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Sums of the calls that share a value. label: how the value is shown.

    input_tokens has the cached ones in it. ttft: milliseconds until the first byte, by nearest
    rank; None without a measurement.
    """

    value: str
    label: str
    calls: int
    ok: int
    cancelled: int
    failed: int
    refused: int
    lost: int
    running: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_microusd: int
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """A table of usage. count: how many values there are, of which ROWS_MAX are in `rows`."""

    rows: tuple[UsageRow, ...]
    totals: UsageRow
    count: int
    names: Mapping[str, str] = field(default_factory=dict)


async def usage(session: AsyncSession, by: str, chosen: UsageFilter, now: float) -> Usage:
    """The calls that fit the filter, by one of DIMENSIONS: days from the newest, the others from
    those with the most tokens.
    """
    fits = _conditions(chosen, now)
    value = _dimension(by)
    count = await session.scalar(select(func.count(value.distinct())).where(*fits)) or 0
    tokens = func.sum(C.input_tokens + C.output_tokens)
    order = (value.desc(),) if by == "day" else (tokens.desc(), value)
    grouped = _sums(value).where(*fits).group_by(value).order_by(*order).limit(ROWS_MAX)
    rows = (await session.execute(grouped)).all()
    (whole,) = (await session.execute(_sums(literal("all")).where(*fits))).all()
    ranks = await _ranks(session, value, fits)
    of_all = await _ranks(session, literal("all"), fits)
    names = await _names(session, by, [str(row.value) for row in rows])
    if chosen.key and chosen.key != NOBODY:
        names = {**names, **await _names(session, "key", [chosen.key])}
    return Usage(
        rows=tuple(_row(by, row, ranks, names) for row in rows),
        totals=_row("", whole, of_all, {}),
        count=count,
        names=names,
    )


def _conditions(chosen: UsageFilter, now: float) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [C.started_at >= chosen.since(now)]
    for name, value in chosen.narrowed.items():
        if name == "outcome":
            found.append(C.outcome == ("" if value == RUNNING else value))
        else:
            found.append(COLUMNS[name] == ("" if value == NOBODY else value))
    return found


def _dimension(by: str) -> ColumnElement[Any]:
    """What rows are grouped by."""
    if by == "day":
        return epoch_day(C.started_at)
    column: ColumnElement[Any] = COLUMNS[by].expression
    return column


def _sums(value: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
    def ended(outcome: str) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((C.outcome == outcome, 1), else_=0)), 0)

    def total(column: InstrumentedAttribute[int]) -> ColumnElement[int]:
        return func.coalesce(func.sum(column), 0)

    return select(
        value.label("value"),
        func.count(C.id).label("calls"),
        *(ended("" if name == RUNNING else name).label(name) for name in OUTCOMES),
        total(C.input_tokens).label("input_tokens"),
        total(C.cached_tokens).label("cached_tokens"),
        total(C.output_tokens).label("output_tokens"),
        total(C.cost_microusd).label("cost_microusd"),
    )


async def _ranks(
    session: AsyncSession, value: ColumnElement[Any], fits: list[ColumnElement[bool]]
) -> dict[str, tuple[float | None, float | None]]:
    """The median and the 95th percentile of the times to first byte, by value."""
    inner = (
        select(
            value.label("value"),
            C.ttft_ms.label("ttft"),
            func.row_number().over(partition_by=value, order_by=C.ttft_ms).label("rank"),
            func.count().over(partition_by=value).label("count"),
        )
        .where(*fits, C.ttft_ms.is_not(None))
        .subquery()
    )
    rank, count = inner.c.rank, inner.c.count

    def at(percent: int) -> ColumnElement[float | None]:
        # The value at index floor(percent / 100 * count), counted from 0.
        here = and_((rank - 1) * 100 <= count * percent, count * percent < rank * 100)
        return func.max(case((here, inner.c.ttft)))

    query = select(inner.c.value, at(P50), at(P95)).group_by(inner.c.value)
    return {str(value): (p50, p95) for value, p50, p95 in (await session.execute(query)).all()}


async def _names(session: AsyncSession, by: str, values: list[str]) -> dict[str, str]:
    """How keys and people are called, by their ids."""
    if by == "key":
        key = models.GatewayKeyRow
        found = await session.execute(select(key.id, key.name).where(key.id.in_(values)))
    elif by == "person":
        person = models.Identity
        named = select(person.id, person.display_name).where(person.id.in_(values))
        found = await session.execute(named.where(person.display_name != ""))
    else:
        return {}
    return {id: name for id, name in found.all()}


def _row(
    by: str,
    row: Any,
    ranks: Mapping[str, tuple[float | None, float | None]],
    names: Mapping[str, str],
) -> UsageRow:
    value = str(row.value)
    p50, p95 = ranks.get(value, (None, None))
    return UsageRow(
        value=_day(int(row.value)) if by == "day" else value or NOBODY,
        label=_day(int(row.value)) if by == "day" else label_of(by, value, names),
        calls=row.calls,
        **{name: int(getattr(row, name)) for name in OUTCOMES},
        input_tokens=int(row.input_tokens),
        cached_tokens=int(row.cached_tokens),
        output_tokens=int(row.output_tokens),
        cost_microusd=int(row.cost_microusd),
        ttft_p50_ms=p50,
        ttft_p95_ms=p95,
    )


def label_of(by: str, value: str, names: Mapping[str, str]) -> str:
    """How a value of a dimension is shown."""
    if value in ("", NOBODY):
        empty = {"key": "Without a key", "target": "No target answered", "agent": "No agent"}
        return empty.get(by, "Nobody named" if by == "person" else "None")
    return names.get(value, value)


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * DAY_S, UTC).date().isoformat()
