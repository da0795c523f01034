"""Inference: the engine's speed, memory, hit rate, drafts and sessions, live."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import Page
from roost_platform.console.pages.overview import Tile, milliseconds, spark
from roost_platform.console.rendering import NOTHING, number
from roost_platform.views.engine.figures import (
    DrafterView,
    EngineFigures,
    EngineRow,
    LoadFigures,
    TierFigures,
)
from roost_platform.views.engine.sessions import EngineSessionRow, engine_session_rows
from roost_platform.views.engine.watch import Sample

SESSIONS_SHOWN_MAX = 50
LOOK_S = 2.0


@dataclass(frozen=True, slots=True)
class StatusSection:
    """The line on top. problem: why there are no figures; model: the model that is served;
    kernels: "native" or "portable", and why not the native ones. engines: where there are several.
    """

    problem: str
    model: str
    is_ours: bool
    kernels: str
    kernels_reason: str
    engines: tuple[EngineRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ReuseSection:
    """Prompt tokens that were not computed again, against a cache that never forgets.
    joules_per_token: of the tokens that were computed; None where the machine does not tell."""

    hit_rate: float | None
    hit_ceiling: float | None
    prompt_tokens: int | None
    cached_tokens: int | None
    ceiling_forgets: bool
    divergences: int | None
    lost_tokens: int
    spliced_answers: int
    joules_per_token: float | None


@dataclass(frozen=True, slots=True)
class MemorySection:
    """Where the KV cache is."""

    cells_used: int | None
    cells_total: int | None
    cells_share: float | None
    resident_sessions: int | None
    tiers: tuple[TierFigures, ...]
    is_ours: bool


@dataclass(frozen=True, slots=True)
class LoadsSection:
    """Blocks that were loaded, and those that were computed again instead."""

    rows: tuple[LoadFigures, ...]
    found_nowhere: int
    bad_blocks: int
    is_ours: bool


@dataclass(frozen=True, slots=True)
class SpeculationSection:
    """Drafts by drafter and position."""

    drafters: tuple[DrafterView, ...]


@dataclass(frozen=True, slots=True)
class SessionsSection:
    """The sessions that the engine keeps. rows: None if it keeps none or does not report them."""

    rows: tuple[EngineSessionRow, ...] | None


@dataclass(frozen=True, slots=True)
class InferenceContext:
    """The Inference page."""

    status: Annotated[StatusSection, "Which engine answers, or why none does"]
    tiles: Annotated[tuple[Tile, ...], "Figures in reading order"]
    reuse: Annotated[ReuseSection, "Hit rate and its ceiling"]
    memory: Annotated[MemorySection, "Cells and bytes by tier"]
    loads: Annotated[LoadsSection, "Loads and recomputes by tier"]
    speculation: Annotated[SpeculationSection, "Acceptance by drafter and position"]
    sessions: Annotated[SessionsSection, "Sessions in the engine, with their pins"]
    chart: Annotated[Mapping[str, Sequence[float | None]], "Columns of the chart, by minute"]


def share(value: float | None) -> tuple[str, str]:
    """A share as percent, with its unit."""
    return (NOTHING, "") if value is None else (f"{value * 100:.1f}", "%")


def tiles(f: EngineFigures, minutes: Sequence[Sample]) -> tuple[Tile, ...]:
    """The figures as tiles; a dash where this engine does not report one."""

    def line(value: Callable[[Sample], float | None]) -> list[float | None]:
        return [value(sample) for sample in minutes]

    ttft, ttft_unit = milliseconds(f.ttft.p50)
    itl, itl_unit = milliseconds(f.itl.p50)
    cells, hit, accepted = share(f.cells_share), share(f.hit_rate), share(f.acceptance)
    speed = NOTHING if f.tokens_per_second is None else f"{f.tokens_per_second:.0f}"
    room = "" if f.cells_total is None else f"{number(f.cells_used)} of {number(f.cells_total)}"
    best = "" if f.hit_ceiling is None else f"at best {f.hit_ceiling:.1%}"
    drafting = f"{len(f.drafters)} drafter{'' if len(f.drafters) == 1 else 's'}"
    return (
        Tile(
            "speed",
            "Tokens per second",
            speed,
            hint=f"{number(f.completion_tokens)} since the start",
            spark=spark(line(lambda s: s.tokens_per_second)),
        ),
        Tile("ttft", "First token", ttft, ttft_unit, hint=tail(f.ttft.p95, f.ttft.p99)),
        Tile("itl", "Between tokens", itl, itl_unit, hint=tail(f.itl.p95, f.itl.p99)),
        Tile(
            "running",
            "Running",
            NOTHING if f.running is None else str(f.running),
            hint="" if f.waiting is None else f"{f.waiting} in the queue",
            tone="warn" if (f.waiting or 0) > 10 else "",
            spark=spark(line(lambda s: s.running)),
        ),
        Tile(
            "cells",
            "KV cells in use",
            *cells,
            hint=room,
            spark=spark(line(lambda s: s.cells_share)),
        ),
        Tile("hit", "From cache", *hit, hint=best, spark=spark(line(lambda s: s.hit_rate))),
        Tile("drafts", "Drafts accepted", *accepted, hint=drafting if f.drafters else "no drafts"),
    )


def tail(p95: float | None, p99: float | None) -> str:
    """The 95th and 99th percentile, as a hint."""
    named = (("p95", milliseconds(p95)), ("p99", milliseconds(p99)))
    return " · ".join(f"{name} {value} {unit}" for name, (value, unit) in named if unit)


def chart(minutes: Sequence[Sample]) -> dict[str, list[float | None]]:
    """Columns for uPlot: seconds since the epoch, tokens each second, ms between tokens."""
    return {
        "at": [m.at for m in minutes],
        "bars": [m.tokens_per_second for m in minutes],
        "line": [m.itl_ms for m in minutes],
    }


async def load(visit: Visit) -> InferenceContext:
    """The engine's figures, its sessions with our names, and the last hour."""
    watch = visit.deps.engine_watch
    if watch is None:
        figures, listed, minutes = EngineFigures("no engine is set up"), None, []
    else:
        figures, listed = await watch.figures(), await watch.sessions(SESSIONS_SHOWN_MAX)
        minutes = watch.minutes()
    rows = None
    if listed is not None:
        async with visit.deps.stores.database.read() as session:
            rows = await engine_session_rows(session, listed)
    return InferenceContext(
        status=StatusSection(
            "" if figures.is_up else figures.status,
            figures.model,
            figures.is_ours,
            figures.kernels,
            figures.kernels_reason,
            figures.engines,
        ),
        tiles=tiles(figures, minutes),
        reuse=ReuseSection(
            figures.hit_rate,
            figures.hit_ceiling,
            figures.prompt_tokens,
            figures.cached_tokens,
            figures.ceiling_forgets,
            figures.divergences,
            figures.lost_tokens,
            figures.spliced_answers,
            figures.joules_per_token,
        ),
        memory=MemorySection(
            figures.cells_used,
            figures.cells_total,
            figures.cells_share,
            figures.resident_sessions,
            figures.tiers,
            figures.is_ours,
        ),
        loads=LoadsSection(
            figures.loads, figures.found_nowhere, figures.bad_blocks, figures.is_ours
        ),
        speculation=SpeculationSection(tuple(d for d in figures.drafters if d.drafts)),
        sessions=SessionsSection(rows),
        chart=chart(minutes),
    )


def live(data: InferenceContext) -> LivePage:
    """Everything on the page; the chart goes to the page's script."""
    return LivePage(
        fragments=(
            Fragment("engine-status", "inference/status.html", data.status),
            Fragment("tiles", "overview/tiles.html", data.tiles),
            Fragment("reuse", "inference/reuse.html", data.reuse),
            Fragment("memory", "inference/memory.html", data.memory),
            Fragment("loads", "inference/loads.html", data.loads),
            Fragment("speculation", "inference/drafts.html", data.speculation),
            Fragment("sessions", "inference/sessions.html", data.sessions),
        ),
        events={"metrics": data.chart},
    )


PAGE = Page(
    path="/inference",
    template="inference/page.html",
    load=load,
    live=live,
    look_s=LOOK_S,
    has_json=True,
    nav=NavLink("/inference", "Inference", "cpu"),
)
