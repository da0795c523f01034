"""The body of /health for a running engine: everything that the console's Inference page draws."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.kv.hit_rate_bound import HitRateBound
from roost_inference.kv.store import BlockStore
from roost_inference.llama import builds
from roost_inference.prompt.exact_tokens import SessionMemory
from roost_inference.request import DrafterFigures, EngineStats, ModelInfo


def report(
    stats: EngineStats, store: BlockStore | None, memory: SessionMemory, bound: HitRateBound
) -> dict[str, Any]:
    """Figures since the engine's start. `kv` and `paging` are empty without tiers below the device,
    `speculation` has one entry for each drafter."""
    seen = bound.figures()
    return {
        "running": stats.running,
        "waiting": stats.waiting,
        "cells_used": stats.cells_used,
        "cells_total": stats.cells_total,
        "resident_sessions": stats.resident_sessions,
        "prompt_tokens_total": stats.prompt_tokens_total,
        "cached_tokens_total": stats.cached_tokens_total,
        "completion_tokens_total": stats.completion_tokens_total,
        "requests_total": dict(stats.requests_total),
        "ttft_ms": percentiles_ms(stats.first_token_s),
        "itl_ms": percentiles_ms(stats.inter_token_s),
        "tokens_per_second": round(stats.tokens_per_second, 2),
        "ceiling": {
            "prompt_tokens": seen.prompt_tokens,
            "seen_tokens": seen.seen_tokens,
            "forgets": seen.forgets,
        },
        "divergences": {
            "total": memory.divergences_total,
            "lost_tokens": memory.lost_tokens_total,
            "spliced_answers": memory.spliced_total,
        },
        "speculation": {name: _drafter(figures) for name, figures in stats.speculation.items()},
        "kv": {} if store is None else tiers(store),
        "paging": {} if store is None else paging(store),
    }


def kernels(model: ModelInfo) -> dict[str, object]:
    """Which kernels compute; for portable ones why, and what became of the native ones: `native` in
    words, is_coming whether the next start uses them."""
    told = {"name": model.kernels, "build": model.build, "reason": model.kernels_reason}
    if model.kernels != "portable" or builds.wanted() == "portable":
        return {**told, "native": "", "is_coming": model.kernels == "portable"}
    state = builds.native_state()
    return {**told, "native": state.detail, "is_coming": state.is_well}


def energy(stats: EngineStats, joules: float | None) -> dict[str, float]:
    """The processors' energy since the start, and for each token that was written or read anew;
    empty where the machine does not tell."""
    if joules is None:
        return {}
    computed = stats.completion_tokens_total + stats.prompt_tokens_total - stats.cached_tokens_total
    each = {"joules_per_token": round(joules / computed, 4)} if computed > 0 else {}
    return {"joules": round(joules, 3), **each}


def tiers(store: BlockStore) -> dict[str, Any]:
    """For each tier: bytes held, its quota, blocks held, and its problem if it has one."""
    return {
        name: {"bytes": size, "quota": store.quotas[name], "blocks": count, "problem": problem}
        for name, (size, count, problem) in store.usage().items()
    }


def paging(store: BlockStore) -> dict[str, Any]:
    """Results of look-ups, moves of blocks between tiers, and the mean time to restore a block."""
    figures = store.figures
    lookups: dict[str, dict[str, int]] = defaultdict(dict)
    for (tier, result), count in figures.lookups.copy().items():
        lookups[tier][result] = count
    restores = {}
    for tier, histogram in figures.restore.copy().items():
        count = sum(histogram.counts)
        restores[tier] = {"blocks": count, "mean_ms": round(histogram.sum_s * 1000 / count, 3)}
    return {
        "lookups": dict(lookups),
        "moves": {
            f"{source} → {target}": count
            for (source, target), count in figures.moves.copy().items()
        },
        "restores": restores,
        "bad_blocks": figures.corrupt,
    }


def _drafter(figures: DrafterFigures) -> Mapping[str, object]:
    return {
        "drafts": figures.drafts,
        "draft_tokens": figures.draft_tokens,
        "accepted_tokens": figures.accepted_tokens,
        "accepted_by_position": list(figures.accepted_by_position),
    }


def percentiles_ms(values_s: Sequence[float]) -> dict[str, float | None]:
    """Median, 95th and 99th percentile in ms, None without values."""
    ordered = sorted(values_s)
    last = len(ordered) - 1
    return {
        f"p{percent}": round(ordered[round(last * percent / 100)] * 1000, 3) if ordered else None
        for percent in (50, 95, 99)
    }
