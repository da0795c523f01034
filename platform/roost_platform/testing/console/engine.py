"""An engine for the console's tests with the figures of a plausible day, ours or another."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from roost_platform.views.engine.watch import EngineWatch, Sample

HEALTH: Mapping[str, Any] = {
    "status": "ok",
    "model": "smollm2-135m-instruct",
    "kernels": {"name": "portable", "build": "toy 1", "reason": "native ones are compiled now"},
    "running": 2,
    "waiting": 0,
    "cells_used": 9_870,
    "cells_total": 16_384,
    "resident_sessions": 7,
    "tokens_per_second": 61.4,
    "prompt_tokens_total": 53_770,
    "cached_tokens_total": 41_940,
    "completion_tokens_total": 12_418,
    "ttft_ms": {"p50": 212.0, "p95": 640.0, "p99": 1180.0},
    "itl_ms": {"p50": 16.2, "p95": 41.0, "p99": 96.0},
    "ceiling": {"prompt_tokens": 53_770, "seen_tokens": 42_270, "forgets": False},
    "energy": {"joules": 1_204.0, "joules_per_token": 0.0496},
    "divergences": {"total": 3, "lost_tokens": 412, "spliced_answers": 38},
    "kv": {
        "ram": {"bytes": 611 * 2**20, "quota": 2**30, "blocks": 214, "problem": None},
        "disk": {"bytes": 3 * 2**30, "quota": 8 * 2**30, "blocks": 1_031, "problem": None},
        "object": {
            "bytes": 5 * 2**30,
            "quota": 64 * 2**30,
            "blocks": 1_640,
            "problem": "gave no answer within 5 s; left alone for 30 s",
        },
    },
    "paging": {
        "lookups": {
            "ram": {"hit": 64, "recompute": 2},
            "disk": {"hit": 9, "recompute": 4, "miss": 1},
            "all": {"miss": 31},
        },
        "restores": {
            "ram": {"blocks": 402, "mean_ms": 0.6},
            "disk": {"blocks": 51, "mean_ms": 4.8},
        },
        "bad_blocks": 1,
    },
    "speculation": {
        "suffix": {
            "drafts": 840,
            "draft_tokens": 5_100,
            "accepted_tokens": 3_461,
            "accepted_by_position": [772, 690, 601, 522, 430, 268, 178],
        },
        "grammar": {
            "drafts": 96,
            "draft_tokens": 410,
            "accepted_tokens": 410,
            "accepted_by_position": [96, 96, 90, 70, 58],
        },
    },
}

VLLM_METRICS = """\
vllm:num_requests_running{model_name="m"} 3.0
vllm:num_requests_waiting{model_name="m"} 12.0
vllm:kv_cache_usage_perc{model_name="m"} 0.42
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total{model_name="m"} 1000.0
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total{model_name="m"} 640.0
# TYPE vllm:generation_tokens counter
vllm:generation_tokens_total{model_name="m"} 5000.0
# TYPE vllm:spec_decode_num_drafts counter
vllm:spec_decode_num_drafts_total{model_name="m"} 100.0
# TYPE vllm:spec_decode_num_draft_tokens counter
vllm:spec_decode_num_draft_tokens_total{model_name="m"} 300.0
# TYPE vllm:spec_decode_num_accepted_tokens counter
vllm:spec_decode_num_accepted_tokens_total{model_name="m"} 150.0
# TYPE vllm:spec_decode_num_accepted_tokens_per_pos counter
vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name="m",position="0"} 80.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name="m",position="1"} 70.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="m"} 50.0
vllm:time_to_first_token_seconds_bucket{le="0.2",model_name="m"} 100.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="m"} 100.0
vllm:time_to_first_token_seconds_count{model_name="m"} 100.0
vllm:time_to_first_token_seconds_sum{model_name="m"} 11.0
"""


class CalmEngine:
    """An engine with constant figures. `metrics`: it is another engine, with these metrics."""

    def __init__(self, health: Mapping[str, Any] = HEALTH, metrics: str = "") -> None:
        self.answer: Mapping[str, Any] = {"status": "ok"} if metrics else health
        self.metrics = metrics
        self.sessions: list[dict[str, Any]] = []

    async def health(self) -> Mapping[str, Any]:
        """The engine's `/health`."""
        return self.answer

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The engine's metrics or sessions, whichever it has; else 404."""
        if path == "/metrics" and self.metrics:
            return 200, {}, self.metrics.encode()
        if path.startswith("/v1/sessions") and not self.metrics:
            return 200, {}, json.dumps({"data": self.sessions}).encode()
        return 404, {}, b"{}"


def engine_session(id: str, number: int) -> dict[str, Any]:
    """A session as the engine lists it, one of several kinds by number."""
    pins: Sequence[dict[str, Any] | None] = (
        {"reason": "tool", "expires_in_s": 71.4},
        {"reason": "idle", "expires_in_s": 2_950.0},
        {"reason": "approval", "expires_in_s": 81_000.0},
        None,
    )
    kind = number % len(pins)
    divergence = {"at_token": 610, "lost_tokens": 137, "in": "messages[7] (assistant)"}
    return {
        "id": id,
        "tokens": 1_480 - 210 * number,
        "cells": 1_480 - 210 * number if kind < 2 else 0,
        "stored_tokens": {"ram": 1_216, "disk": 1_024} if kind else {"ram": 512},
        "turns": 9 - number,
        "idle_s": 3.2 * 9**number,
        "pin": pins[kind],
        "divergence": divergence if kind == 1 else None,
    }


def an_hour_of(watch: EngineWatch, now: float) -> None:
    """Fill the watch with an hour of samples that rise and fall."""
    for minute in range(60, 0, -1):
        wave = 1 + math.sin(minute / 7) + 0.4 * math.sin(minute / 2)
        speed = max(20 * wave, 0.0)
        watch.samples.append(
            Sample(
                now - 60 * minute,
                tokens_per_second=speed,
                itl_ms=11 + 4 * wave if speed else None,
                ttft_ms=180 + 40 * wave,
                running=round(max(wave, 0)),
                cells_share=0.4 + 0.1 * math.sin(minute / 9),
                hit_rate=0.6 + (60 - minute) * 0.003,
            )
        )
