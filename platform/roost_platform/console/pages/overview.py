"""The Overview: figures, a chart of the last hour, what runs, and what waits for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import Page
from roost_platform.console.rendering import NOTHING
from roost_platform.db.waits.for_operators import waiting_count
from roost_platform.identity.roles import Role
from roost_platform.views.approvals import ApprovalView
from roost_platform.views.channels import ChannelHealth, plain_channel
from roost_platform.views.deliveries import DeliveryFilter, Stalled, deliveries, stalled
from roost_platform.views.delivery_views import DeliveryRow, plain_rows
from roost_platform.views.figures import Minute, OverviewFigures, figures
from roost_platform.views.health import ServiceHealth, plain_service
from roost_platform.views.people import PairingRequest, requests
from roost_platform.views.problems import Problem, problems
from roost_platform.views.sessions import SessionRow, running, running_count
from roost_platform.views.sessions import waiting as waiting_turns
from roost_platform.views.workflows.decisions import waiting_approvals, without_words

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
    """What waits for an operator: parts that do not work, faults, verdicts, people to let in,
    deliveries.

    models: those of the gateway that no target answers now.
    approvals, uncertain, failed: the newest ATTENTION_SHOWN_MAX; the counts are of all.
    """

    services: tuple[ServiceHealth, ...] = ()
    models: tuple[str, ...] = ()
    channels: tuple[ChannelHealth, ...] = ()
    problems: tuple[Problem, ...] = ()
    approvals: tuple[ApprovalView, ...] = ()
    approvals_count: int = 0
    requests: tuple[PairingRequest, ...] = ()
    requests_count: int = 0
    stalled: tuple[Stalled, ...] = ()
    uncertain: tuple[DeliveryRow, ...] = ()
    uncertain_count: int = 0
    failed: tuple[DeliveryRow, ...] = ()
    failed_count: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        parts = self.services or self.models or self.channels
        troubles = parts or self.problems or self.stalled
        people = self.approvals or self.requests
        return not (troubles or people or self.uncertain or self.failed)


@dataclass(frozen=True, slots=True)
class RunningSection:
    """Conversations whose turn runs, or waits, the longest first. count: of all that do."""

    rows: tuple[SessionRow, ...]
    count: int


@dataclass(frozen=True, slots=True)
class OverviewContext:
    """The Overview page."""

    tiles: Annotated[tuple[Tile, ...], "Figures in reading order"]
    health: Annotated[HealthStrip, "Processes and channels"]
    running: Annotated[tuple[SessionRow, ...], "Conversations being answered now"]
    running_count: Annotated[int, "How many there are of them"]
    waiting: Annotated[RunningSection, "Conversations whose turn waits for somebody"]
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
    """The figures as tiles. `engine`: what the engine reports of itself; empty if it is silent."""
    minutes = f.series
    ttft, ttft_unit = milliseconds(f.ttft_p50_ms)
    worst, worst_unit = milliseconds(f.ttft_p95_ms)
    cached = f", {f.cached_share:.0%} cached" if f.cached_share is not None else ""
    uncertain = f"{f.deliveries_uncertain} uncertain" if f.deliveries_uncertain else ""
    waiting = f.messages_waiting
    return (
        Tile(
            "active",
            "Active sessions",
            str(f.sessions_active),
            hint=in_engine(engine, "running"),
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
            hint=f"p95 {worst} {worst_unit}, 15 min" if worst_unit else "last 15 min",
            spark=spark([m.ttft_p50_ms for m in minutes]),
        ),
        Tile(
            "speed",
            "Tokens per second",
            NOTHING if f.tokens_per_second is None else f"{f.tokens_per_second:.0f}",
            hint=f"last 5 min{cached}",
            spark=spark([m.tokens for m in minutes]),
        ),
        Tile(
            "queue",
            "Messages waiting",
            str(waiting),
            hint=in_engine(engine, "waiting"),
            tone="warn" if waiting > 10 else "",
            href="/sessions?state=pending",
        ),
        Tile(
            "failed",
            "Deliveries failed",
            str(f.deliveries_failed),
            hint=uncertain,
            tone="bad" if f.deliveries_failed else "warn" if uncertain else "",
            href="/deliveries?state=failed",
        ),
        Tile(
            "people",
            "People waiting",
            str(f.people_waiting),
            hint="to be let in",
            tone="warn" if f.people_waiting else "",
            href="/people",
        ),
    )


def in_engine(engine: Mapping[str, Any], name: str) -> str:
    """How many requests the engine runs or lets wait, where it reports that."""
    count = engine.get(name)
    return f"{count:.0f} in the engine" if isinstance(count, (int, float)) else ""


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
        live_count = await running_count(session)
        parked = await waiting_turns(session, with_texts=visit.reads_texts)
        verdicts = await waiting_approvals(session, ATTENTION_SHOWN_MAX)
        verdicts_count = await waiting_count(session)
        waiting = await requests(session, now)
        faults = await problems(session, now, with_texts=visit.me.role >= Role.operator)
        late = await stalled(session, now)
        texts = visit.reads_texts
        uncertain, failed = [
            (await deliveries(session, DeliveryFilter(state=state), 1, with_texts=texts))[1]
            for state in ("uncertain", "failed")
        ]
    services, accounts = health.services, health.channels
    if not visit.me.may("operator"):
        services = tuple(plain_service(one) for one in services)
        accounts = tuple(plain_channel(one) for one in accounts)
        uncertain, failed = plain_rows(uncertain), plain_rows(failed)
    return OverviewContext(
        tiles=tiles(numbers, health.engine),
        health=HealthStrip(services, accounts),
        running=live,
        running_count=live_count,
        waiting=RunningSection(parked, numbers.turns_waiting),
        attention=Attention(
            services=tuple(one for one in services if not one.is_up),
            models=visit.deps.gateway.unusable() if visit.deps.gateway else (),
            channels=tuple(one for one in accounts if not one.is_up),
            problems=faults,
            approvals=tuple(one if visit.reads_texts else without_words(one) for one in verdicts),
            approvals_count=verdicts_count,
            requests=waiting[:ATTENTION_SHOWN_MAX],
            requests_count=numbers.people_waiting,
            stalled=late,
            uncertain=uncertain[:ATTENTION_SHOWN_MAX],
            uncertain_count=numbers.deliveries_uncertain,
            failed=failed[:ATTENTION_SHOWN_MAX],
            failed_count=numbers.deliveries_failed,
        ),
        chart=chart(numbers.series),
    )


def running_of(data: OverviewContext) -> RunningSection:
    """The table of what is being answered."""
    return RunningSection(data.running, data.running_count)


def live(data: OverviewContext) -> LivePage:
    """Everything on the page; the chart goes to the page's script."""
    return LivePage(
        fragments=(
            Fragment("tiles", "overview/tiles.html", data.tiles),
            Fragment("health", "overview/health.html", data.health),
            Fragment("running", "overview/running.html", running_of(data)),
            Fragment("waiting", "overview/waiting.html", data.waiting),
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
