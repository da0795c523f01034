"""The Overview: figures, a chart of the last hour, what runs, and what waits for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import Page
from roost_platform.console.rendering import NOTHING
from roost_platform.identity.roles import Role
from roost_platform.views.channels import ChannelHealth
from roost_platform.views.deliveries import DeliveryFilter, deliveries
from roost_platform.views.delivery_views import DeliveryRow
from roost_platform.views.figures import Minute, OverviewFigures, figures
from roost_platform.views.health import ServiceHealth
from roost_platform.views.people import PairingRequest, requests
from roost_platform.views.problems import Problem, problems
from roost_platform.views.sessions import SessionRow, running

ATTENTION_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Spark:
    """A sparkline's points in a 100 by 24 box, ready for SVG; empty without values."""

    line: str = ""
    area: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure. tone: its colour when it needs attention; href: the page behind it."""

    id: str
    label: str
    value: str
    unit: str = ""
    hint: str = ""
    tone: str = ""
    href: str = ""
    spark: Spark | None = None


@dataclass(frozen=True, slots=True)
class HealthStrip:
    """The strip on top: processes, then accounts of channels."""

    services: tuple[ServiceHealth, ...]
    channels: tuple[ChannelHealth, ...]


@dataclass(frozen=True, slots=True)
class Attention:
    """What waits for an operator: faults, people to let in, and deliveries that failed."""

    requests: tuple[PairingRequest, ...]
    failed: tuple[DeliveryRow, ...]
    failed_count: int
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class OverviewContext:
    """The Overview page."""

    tiles: Annotated[tuple[Tile, ...], "Figures in reading order"]
    health: Annotated[HealthStrip, "Processes and channels"]
    running: Annotated[tuple[SessionRow, ...], "Conversations being answered now"]
    attention: Annotated[Attention, "What waits for a person"]
    chart: Annotated[Mapping[str, Sequence[float | None]], "Columns of the chart, by minute"]


def spark(values: Sequence[float | None]) -> Spark:
    """A sparkline of these values from zero to their maximum."""
    drawn = [value or 0.0 for value in values]
    top = max(drawn, default=0.0)
    if top <= 0 or len(drawn) < 2:
        return Spark()
    step = 100 / (len(drawn) - 1)
    points = [f"{i * step:.1f},{22 - value / top * 20:.1f}" for i, value in enumerate(drawn)]
    return Spark(" ".join(points), " ".join(["0,24", *points, "100,24"]))


def milliseconds(value: float | None) -> tuple[str, str]:
    """A latency with its unit."""
    if value is None:
        return NOTHING, ""
    return (f"{value:.0f}", "ms") if value < 1000 else (f"{value / 1000:.1f}", "s")


def tiles(f: OverviewFigures, engine: Mapping[str, Any]) -> tuple[Tile, ...]:
    """The figures as tiles. `engine`: its own figures, which fill what the rows do not tell."""
    own = engine.get("ttft_ms") or {}
    p50 = f.ttft_p50_ms if f.ttft_p50_ms is not None else own.get("p50")
    p95 = f.ttft_p95_ms if f.ttft_p95_ms is not None else own.get("p95")
    speed = engine.get("tokens_per_second") or f.tokens_per_second
    in_engine = int(engine.get("waiting") or 0)
    minutes = f.series
    ttft, ttft_unit = milliseconds(p50)
    worst, worst_unit = milliseconds(p95)
    cached = f"{f.cached_share:.0%} cached" if f.cached_share is not None else ""
    uncertain = f", {f.deliveries_uncertain} uncertain" if f.deliveries_uncertain else ""
    return (
        Tile(
            "active",
            "Active sessions",
            str(f.sessions_active),
            hint=f"{int(engine.get('running') or 0)} in the engine",
            href="/sessions?state=running",
        ),
        Tile(
            "turns",
            "Turns per minute",
            f"{f.turns_per_minute:.1f}",
            hint="last 5 minutes",
            spark=spark([m.turns for m in minutes]),
        ),
        Tile(
            "ttft",
            "Time to first token",
            ttft,
            ttft_unit,
            hint=f"p95 {worst} {worst_unit}".strip(),
            spark=spark([m.ttft_p50_ms for m in minutes]),
        ),
        Tile(
            "speed",
            "Tokens per second",
            f"{speed:.0f}" if speed else NOTHING,
            hint=cached,
            spark=spark([m.tokens for m in minutes]),
        ),
        Tile(
            "queue",
            "Queue",
            str(f.messages_waiting),
            hint=f"{in_engine} in the engine",
            tone="warn" if f.messages_waiting > 10 else "",
            href="/sessions?state=waiting",
        ),
        Tile(
            "failed",
            "Deliveries failed",
            str(f.deliveries_failed),
            hint=f"to look at{uncertain}",
            tone="bad" if f.deliveries_failed else "",
            href="/deliveries?state=failed",
        ),
        Tile(
            "people",
            "People waiting",
            str(f.people_waiting),
            hint="for an approval",
            tone="warn" if f.people_waiting else "",
            href="/people",
        ),
    )


def chart(minutes: Sequence[Minute]) -> dict[str, list[float | None]]:
    """Columns for uPlot: seconds since the epoch, turns, tokens, first token in milliseconds."""
    return {
        "at": [m.at for m in minutes],
        "turns": [float(m.turns) for m in minutes],
        "bars": [float(m.tokens) for m in minutes],
        "line": [m.ttft_p50_ms for m in minutes],
    }


async def load(visit: Visit) -> OverviewContext:
    """Everything on the page, read in one transaction besides the health."""
    now = visit.now
    health = await visit.deps.health.read()
    async with visit.deps.stores.database.read() as session:
        numbers = await figures(session, now)
        live = await running(session, with_texts=visit.reads_texts)
        waiting = await requests(session, now)
        faults = await problems(session, now, with_texts=visit.me.role >= Role.operator)
        failed_count, failed = await deliveries(
            session, DeliveryFilter(state="failed"), 1, with_texts=visit.reads_texts
        )
    return OverviewContext(
        tiles=tiles(numbers, health.engine),
        health=HealthStrip(health.services, health.channels),
        running=live,
        attention=Attention(
            waiting[:ATTENTION_SHOWN_MAX], failed[:ATTENTION_SHOWN_MAX], failed_count, faults
        ),
        chart=chart(numbers.series),
    )


def live(data: OverviewContext) -> LivePage:
    """Everything on the page; the chart goes to the page's script."""
    return LivePage(
        fragments=(
            Fragment("tiles", "overview/tiles.html", data.tiles),
            Fragment("health", "overview/health.html", data.health),
            Fragment("running", "overview/running.html", data.running),
            Fragment("attention", "overview/attention.html", data.attention),
        ),
        events={"metrics": data.chart},
    )


PAGE = Page(
    path="/",
    base="/overview",
    template="overview/page.html",
    load=load,
    live=live,
    has_json=True,
    nav=NavLink("/", "Overview", "layout-dashboard"),
)
