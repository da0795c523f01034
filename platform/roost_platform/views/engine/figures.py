"""An engine's own figures, read leniently: from /health of ours, from /metrics of another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from roost_platform.views.engine.prometheus_text import Families

Part = TypeVar("Part")
POSITIONS_SHOWN_MAX = 16
NOWHERE = "all"  # the name that look-ups without any result are counted under
PARTS_MAX = 16  # tiers or drafters; engines have three or four


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds; None where nothing was measured."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class TierFigures:
    """A tier below the device, in bytes. quota: 0 if the engine does not report it."""

    name: str
    bytes: int
    quota: int
    blocks: int
    problem: str


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """Prompts that were looked up in a tier, by result, and the mean time to load a block."""

    tier: str
    loaded: int
    recomputed: int
    missed: int
    restored_blocks: int
    restore_ms: float | None


@dataclass(frozen=True, slots=True)
class DrafterView:
    """One drafter. by_position: for each token of a draft, the share that was accepted."""

    name: str
    drafts: int
    draft_tokens: int
    accepted_tokens: int
    by_position: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One of several engines. duty: "decode" or "prefill"; role: what it says itself; state: "up",
    "down" or "trial"; problem: why no request goes there."""

    name: str
    duty: str
    role: str
    state: str
    problem: str
    running: int | None
    waiting: int | None


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """One reading. None: the engine does not report it. is_ours: the bundled core answered.
    kernels: "native" or "portable", with the reason for portable ones. joules_per_token: energy of
    the processors for each token that was computed."""

    status: str
    model: str = ""
    kernels: str = ""
    kernels_reason: str = ""
    joules_per_token: float | None = None
    is_ours: bool = False
    running: int | None = None
    waiting: int | None = None
    cells_used: int | None = None
    cells_total: int | None = None
    cells_share: float | None = None
    resident_sessions: int | None = None
    tokens_per_second: float | None = None
    ttft: Percentiles = field(default_factory=Percentiles)
    itl: Percentiles = field(default_factory=Percentiles)
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    ceiling_prompt_tokens: int = 0
    ceiling_seen_tokens: int | None = None
    ceiling_forgets: bool = False
    divergences: int | None = None
    lost_tokens: int = 0
    spliced_answers: int = 0
    found_nowhere: int = 0
    bad_blocks: int = 0
    tiers: tuple[TierFigures, ...] = ()
    loads: tuple[LoadFigures, ...] = ()
    drafters: tuple[DrafterView, ...] = ()
    engines: tuple[EngineRow, ...] = ()

    @property
    def is_up(self) -> bool:
        """Whether the engine answers and serves."""
        return self.status == "ok"

    @property
    def hit_rate(self) -> float | None:
        """Share of prompt tokens that were not computed."""
        if not self.prompt_tokens or self.cached_tokens is None:
            return None
        return self.cached_tokens / self.prompt_tokens

    @property
    def hit_ceiling(self) -> float | None:
        """The share a cache that never forgets would have had."""
        if not self.ceiling_prompt_tokens or self.ceiling_seen_tokens is None:
            return None
        return self.ceiling_seen_tokens / self.ceiling_prompt_tokens

    @property
    def acceptance(self) -> float | None:
        """Share of drafted tokens that were accepted, of all drafters."""
        drafted = sum(drafter.draft_tokens for drafter in self.drafters)
        accepted = sum(drafter.accepted_tokens for drafter in self.drafters)
        return accepted / drafted if drafted else None


def figures_of_health(health: Mapping[str, Any]) -> EngineFigures:
    """A reading from /health; another engine's may have only some of the figures."""
    ceiling, divergence = _table(health, "ceiling"), _table(health, "divergences")
    paging, kernels = _table(health, "paging"), _table(health, "kernels")
    used, total = _count(health, "cells_used"), _count(health, "cells_total")
    return EngineFigures(
        status=str(health.get("status", "unreachable")),
        model=str(health.get("model") or ""),
        kernels=str(kernels.get("name") or ""),
        kernels_reason="; ".join(str(kernels[k]) for k in ("reason", "native") if kernels.get(k)),
        joules_per_token=_number(_table(health, "energy"), "joules_per_token"),
        is_ours="ceiling" in health,
        running=_count(health, "running"),
        waiting=_count(health, "waiting"),
        cells_used=used,
        cells_total=total or None,
        cells_share=used / total if used is not None and total else None,
        resident_sessions=_count(health, "resident_sessions"),
        tokens_per_second=_number(health, "tokens_per_second"),
        ttft=_percentiles(_table(health, "ttft_ms")),
        itl=_percentiles(_table(health, "itl_ms")),
        prompt_tokens=_count(health, "prompt_tokens_total"),
        cached_tokens=_count(health, "cached_tokens_total"),
        completion_tokens=_count(health, "completion_tokens_total"),
        ceiling_prompt_tokens=_count(ceiling, "prompt_tokens") or 0,
        ceiling_seen_tokens=_count(ceiling, "seen_tokens"),
        ceiling_forgets=bool(ceiling.get("forgets")),
        divergences=_count(divergence, "total"),
        lost_tokens=_count(divergence, "lost_tokens") or 0,
        spliced_answers=_count(divergence, "spliced_answers") or 0,
        found_nowhere=_count(_table(_table(paging, "lookups"), NOWHERE), "miss") or 0,
        bad_blocks=_count(paging, "bad_blocks") or 0,
        tiers=_each(_table(health, "kv"), _tier),
        loads=_loads(paging),
        drafters=_each(_table(health, "speculation"), _drafter),
        engines=engine_rows(health),
    )


def engine_rows(health: Mapping[str, Any]) -> tuple[EngineRow, ...]:
    """The engines of a router, as its health lists them; empty for one engine alone."""
    listed = health.get("engines")
    entries = listed[:PARTS_MAX] if isinstance(listed, list) else []
    return tuple(_engine(entry) for entry in entries if isinstance(entry, Mapping))


def figures_of_metrics(families: Families, health: Mapping[str, Any]) -> EngineFigures:
    """A reading from metrics as vLLM names them."""
    total, number = families.total, families.value
    drafts = total("vllm:spec_decode_num_drafts")
    accepted = families.by_label("vllm:spec_decode_num_accepted_tokens_per_pos", "position")
    drafters: tuple[DrafterView, ...] = ()
    if drafts:
        drafters = (
            DrafterView(
                "all",
                int(drafts),
                int(total("vllm:spec_decode_num_draft_tokens") or 0),
                int(total("vllm:spec_decode_num_accepted_tokens") or 0),
                tuple(accepted[at] / drafts for at in sorted(accepted, key=int)),
            ),
        )
    return EngineFigures(
        status=str(health.get("status", "unreachable")),
        model=str(health.get("model") or ""),
        running=_whole(number("vllm:num_requests_running")),
        waiting=_whole(number("vllm:num_requests_waiting")),
        cells_share=number("vllm:kv_cache_usage_perc"),
        ttft=Percentiles(*families.quantiles_ms("vllm:time_to_first_token_seconds")),
        itl=Percentiles(*families.quantiles_ms("vllm:inter_token_latency_seconds")),
        prompt_tokens=_whole(total("vllm:prefix_cache_queries") or total("vllm:prompt_tokens")),
        cached_tokens=_whole(total("vllm:prefix_cache_hits")),
        completion_tokens=_whole(total("vllm:generation_tokens")),
        drafters=drafters,
        engines=engine_rows(health),
    )


def _engine(entry: Mapping[str, Any]) -> EngineRow:
    name, duty, role, state, problem = (
        str(entry.get(key) or "") for key in ("name", "duty", "role", "state", "problem")
    )
    running, waiting = _count(entry, "running"), _count(entry, "waiting")
    return EngineRow(name, duty, role, state, problem, running, waiting)


def _tier(name: str, entry: Mapping[str, Any]) -> TierFigures:
    return TierFigures(
        name,
        _count(entry, "bytes") or 0,
        _count(entry, "quota") or 0,
        _count(entry, "blocks") or 0,
        str(entry.get("problem") or ""),
    )


def _loads(paging: Mapping[str, Any]) -> tuple[LoadFigures, ...]:
    """A row for each tier that was looked up or that loaded a block."""
    lookups, restores = _table(paging, "lookups"), _table(paging, "restores")
    lookups = {tier: lookup for tier, lookup in lookups.items() if tier != NOWHERE}
    rows = []
    for tier in list(dict.fromkeys([*lookups, *restores]))[:PARTS_MAX]:
        lookup, restore = _table(lookups, tier), _table(restores, tier)
        rows.append(
            LoadFigures(
                tier,
                _count(lookup, "hit") or 0,
                _count(lookup, "recompute") or 0,
                _count(lookup, "miss") or 0,
                _count(restore, "blocks") or 0,
                _number(restore, "mean_ms"),
            )
        )
    return tuple(rows)


def _drafter(name: str, entry: Mapping[str, Any]) -> DrafterView:
    drafts = _count(entry, "drafts") or 0
    accepted = entry.get("accepted_by_position")
    counts: Sequence[Any] = accepted if isinstance(accepted, list) else ()
    shares = tuple(count / drafts for count in counts if drafts and isinstance(count, int))
    return DrafterView(
        name,
        drafts,
        _count(entry, "draft_tokens") or 0,
        _count(entry, "accepted_tokens") or 0,
        shares[:POSITIONS_SHOWN_MAX],
    )


def _percentiles(entry: Mapping[str, Any]) -> Percentiles:
    return Percentiles(*(_number(entry, name) for name in ("p50", "p95", "p99")))


def _each(
    entries: Mapping[str, Any], make: Callable[[str, Mapping[str, Any]], Part]
) -> tuple[Part, ...]:
    named = [(str(name), value) for name, value in entries.items() if isinstance(value, Mapping)]
    return tuple(make(name, value) for name, value in named[:PARTS_MAX])


def _table(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = entry.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(entry: Mapping[str, Any], name: str) -> float | None:
    value = entry.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]


def _count(entry: Mapping[str, Any], name: str) -> int | None:
    return _whole(_number(entry, name))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
