"""Usage: what calls used by day, model, target, agent, key or person; also as CSV and JSON."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from starlette.responses import Response

from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.console.pages.overview import Tile, milliseconds
from roost_platform.console.rendering import number
from roost_platform.db.base.long_reads import read_long
from roost_platform.identity.roles import Role
from roost_platform.views.gateway.money import dollars, exact_dollars
from roost_platform.views.gateway.spreadsheets import cell
from roost_platform.views.gateway.usage_table import (
    DAYS,
    DIMENSIONS,
    OUTCOMES,
    UsageFilter,
    UsageRow,
    label_of,
    usage,
)

LOOK_S = 30.0  # it sums over many rows
COLUMNS = (
    *("calls", "ok", "cancelled", "failed", "refused", "lost", "running"),
    *("input_tokens", "cached_tokens", "output_tokens"),
)


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A filter in force. without: the address of the page that does without it."""

    name: str
    label: str
    without: str


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row of the table. href: the page narrowed to it; share: its tokens against the largest."""

    row: UsageRow
    href: str
    share: float


@dataclass(frozen=True, slots=True)
class UsageTable:
    """The table. count: how many values there are, of which ROWS_MAX are shown."""

    by: str
    rows: tuple[ShownRow, ...]
    count: int
    is_narrowed: bool


@dataclass(frozen=True, slots=True)
class UsageContext:
    """The Usage page."""

    by: Annotated[str, "What the table is grouped by"]
    chosen: Annotated[UsageFilter, "Which calls count"]
    narrowed: Annotated[tuple[Narrowed, ...], "Filters in force"]
    tiles: Annotated[tuple[Tile, ...], "Sums of all calls"]
    totals: Annotated[UsageRow, "The same as data"]
    table: Annotated[UsageTable, "Sums by value"]
    query: Annotated[str, "The query string, for the stream, CSV and JSON"]


def filter_of(visit: Visit) -> tuple[str, UsageFilter]:
    """What the address asks for; words that mean nothing count as left out."""
    by, days, outcome = visit.query("by"), visit.query("days"), visit.query("outcome")
    named = {name: visit.query(name) for name in ("model", "target", "agent", "key", "person")}
    default = UsageFilter()
    return by if by in DIMENSIONS else "day", UsageFilter(
        days=int(days) if days in {str(one) for one in DAYS} else default.days,
        outcome=outcome if outcome in OUTCOMES else "",
        **named,
    )


def query_of(by: str, chosen: UsageFilter, change: Mapping[str, str] | None = None) -> str:
    """The query string that asks for this; change: parts that are replaced, empty: left out."""
    parts = {"by": by, "days": str(chosen.days), **chosen.narrowed, **(change or {})}
    return urlencode({name: value for name, value in parts.items() if value})


async def load(visit: Visit) -> UsageContext:
    """The sums of the address's filter."""
    by, chosen = filter_of(visit)
    reading = partial(usage, by=by, chosen=chosen, now=visit.now)
    found = await read_long(visit.deps.stores.database, reading)
    most = max((_tokens(row) for row in found.rows), default=0)
    rows = tuple(
        ShownRow(row, _narrowing(by, chosen, row), _tokens(row) / most if most else 0.0)
        for row in found.rows
    )
    return UsageContext(
        by=by,
        chosen=chosen,
        narrowed=tuple(
            Narrowed(
                name,
                label_of(name, value, found.names if name == "key" or name == by else {}),
                f"/usage?{query_of(by, chosen, {name: ''})}",
            )
            for name, value in chosen.narrowed.items()
            if name != "outcome"
        ),
        tiles=_tiles(found.totals),
        totals=found.totals,
        table=UsageTable(by, rows, found.count, bool(chosen.narrowed)),
        query=query_of(by, chosen),
    )


def live(data: UsageContext) -> LivePage:
    """The sums and the table."""
    return LivePage(
        (
            Fragment("tiles", "overview/tiles.html", data.tiles),
            Fragment("usage-table", "gateway/usage_table.html", data.table),
        )
    )


async def as_csv(visit: Visit) -> Response:
    """The table as CSV, with money as decimal text."""
    data = await load(visit)
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow([data.by, "name", *COLUMNS, "cost_usd", "ttft_p50_ms", "ttft_p95_ms"])
    for row in (one.row for one in data.table.rows):
        out.writerow(
            [
                cell(row.value),
                cell(row.label),
                *(getattr(row, name) for name in COLUMNS),
                exact_dollars(row.cost_microusd),
                *("" if at is None else f"{at:.3f}" for at in (row.ttft_p50_ms, row.ttft_p95_ms)),
            ]
        )
    name = f"usage-by-{data.by}-{data.chosen.days}-days.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _tokens(row: UsageRow) -> int:
    return row.input_tokens + row.output_tokens


def _narrowing(by: str, chosen: UsageFilter, row: UsageRow) -> str:
    """The address that shows this row by day; days themselves can't be narrowed to."""
    if by == "day":
        return ""
    return f"/usage?{query_of('day', chosen, {by: row.value})}"


def _tiles(totals: UsageRow) -> tuple[Tile, ...]:
    p50, p50_unit = milliseconds(totals.ttft_p50_ms)
    p95, p95_unit = milliseconds(totals.ttft_p95_ms)
    others = [
        f"{number(getattr(totals, name))} {name}"
        for name in ("failed", "refused", "cancelled", "lost", "running")
        if getattr(totals, name)
    ]
    cached = totals.cached_tokens / totals.input_tokens if totals.input_tokens else 0.0
    return (
        Tile(
            "calls",
            "Calls",
            number(totals.calls),
            hint=", ".join(others[:2]) or "all answered" if totals.calls else "",
            tone="bad" if totals.failed or totals.lost else "",
        ),
        Tile(
            "tokens-in",
            "Tokens in",
            number(totals.input_tokens),
            hint=f"{number(totals.cached_tokens)} cached, {cached:.0%}",
        ),
        Tile("tokens-out", "Tokens out", number(totals.output_tokens)),
        Tile("cost", "Cost", dollars(totals.cost_microusd), hint="US dollars, by known prices"),
        Tile("ttft", "First byte", p50, p50_unit, hint=f"p95 {p95} {p95_unit}".strip()),
    )


PAGE = Page(
    path="/usage",
    template="gateway/usage.html",
    load=load,
    live=live,
    look_s=LOOK_S,
    has_json=True,
    nav=NavLink("/usage", "Usage", "history", "Gateway"),
)
ACTIONS = (ConsoleRoute("GET", "/usage.csv", Role.viewer, as_csv),)
