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
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Session
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
SUMMED: Final = (
    *("calls", *OUTCOMES),
    *("input_tokens", "cached_tokens", "output_tokens", "cost_microusd"),
)
PERCENTS: Final = (50, 95)
Ranks = tuple[float | None, float | None]


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


def usage(session: Session, by: str, chosen: UsageFilter, now: float) -> Usage:
    """The calls that fit the filter, by one of DIMENSIONS: days from the newest, the others from
    those with the most tokens. It reads every call of these days: see read_long.
    """
    fits, value = _conditions(chosen, now), _dimension(by)
    sums = _sums(value).where(*fits).group_by(value).subquery()
    tokens = sums.c.input_tokens + sums.c.output_tokens
    order = (sums.c.value.desc(),) if by == "day" else (tokens.desc(), sums.c.value)
    of_all = (func.sum(sums.c[name]).over().label(f"all_{name}") for name in SUMMED)
    counted = func.count().over().label("values")
    rows = session.execute(select(sums, counted, *of_all).order_by(*order).limit(ROWS_MAX)).all()
    ranks, overall = _ranks(session, value, fits)
    names = _names(session, by, [str(row.value) for row in rows])
    if chosen.key and chosen.key != NOBODY:
        names = {**names, **_names(session, "key", [chosen.key])}
    totals = {name: int(getattr(rows[0], f"all_{name}")) if rows else 0 for name in SUMMED}
    return Usage(
        rows=tuple(_row(by, row, ranks, names) for row in rows),
        totals=UsageRow("all", "All", **totals, ttft_p50_ms=overall[0], ttft_p95_ms=overall[1]),
        count=rows[0].values if rows else 0,
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
        return func.coalesce(func.sum(case((C.outcome == outcome, C.calls), else_=0)), 0)

    def total(column: InstrumentedAttribute[int]) -> ColumnElement[int]:
        return func.coalesce(func.sum(column), 0)

    return select(
        value.label("value"),
        func.coalesce(func.sum(C.calls), 0).label("calls"),
        *(ended("" if name == RUNNING else name).label(name) for name in OUTCOMES),
        total(C.input_tokens).label("input_tokens"),
        total(C.cached_tokens).label("cached_tokens"),
        total(C.output_tokens).label("output_tokens"),
        total(C.cost_microusd).label("cost_microusd"),
    )


def _ranks(
    session: Session, value: ColumnElement[Any], fits: list[ColumnElement[bool]]
) -> tuple[dict[str, Ranks], Ranks]:
    """The median and the 95th percentile of the times to first byte, by value and of all."""
    inner = (
        select(
            value.label("value"),
            C.ttft_ms.label("ttft"),
            func.row_number().over(partition_by=value, order_by=C.ttft_ms).label("rank"),
            func.count().over(partition_by=value).label("count"),
            func.row_number().over(order_by=C.ttft_ms).label("rank_of_all"),
            func.count().over().label("count_of_all"),
        )
        .where(*fits, C.ttft_ms.is_not(None))
        .subquery()
    )
    columns = inner.c

    def at(percent: int, rank: ColumnElement[int], count: ColumnElement[int]) -> Any:
        # The value at index floor(percent / 100 * count), counted from 0.
        here = and_((rank - 1) * 100 <= count * percent, count * percent < rank * 100)
        return func.max(case((here, columns.ttft)))

    query = select(
        columns.value,
        *(at(percent, columns.rank, columns.count) for percent in PERCENTS),
        *(at(percent, columns.rank_of_all, columns.count_of_all) for percent in PERCENTS),
    ).group_by(columns.value)
    found: dict[str, Ranks] = {}
    overall: Ranks = (None, None)
    for key, p50, p95, all_p50, all_p95 in session.execute(query).all():
        found[str(key)] = p50, p95
        # Only the group that holds the value has it.
        overall = _either(all_p50, overall[0]), _either(all_p95, overall[1])
    return found, overall


def _either(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def _names(session: Session, by: str, values: list[str]) -> dict[str, str]:
    """How keys and people are called, by their ids."""
    if by == "key":
        key = models.GatewayKeyRow
        found = session.execute(select(key.id, key.name).where(key.id.in_(values)))
    elif by == "person":
        person = models.Identity
        named = select(person.id, person.display_name).where(person.id.in_(values))
        found = session.execute(named.where(person.display_name != ""))
    else:
        return {}
    return {id: name for id, name in found.all()}


def _row(
    by: str,
    row: Any,
    ranks: Mapping[str, Ranks],
    names: Mapping[str, str],
) -> UsageRow:
    value = str(row.value)
    p50, p95 = ranks.get(value, (None, None))
    return UsageRow(
        value=_day(int(row.value)) if by == "day" else value or NOBODY,
        label=_day(int(row.value)) if by == "day" else label_of(by, value, names),
        **{name: int(getattr(row, name)) for name in SUMMED},
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
