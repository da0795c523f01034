"""A prompt's KV handed from one engine process to another, against computing the prompt."""

from collections.abc import Mapping
from typing import Any

from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.figures import Figure, Goal, median
from roost_inference.benchmarking.servers import BenchmarkServer, roost
from roost_inference.benchmarking.timed_request import Call
from roost_inference.errors import EngineFailed
from roost_inference.kv.block import BLOCK_TOKENS, TAIL_TOKENS_MIN

HANDOVER = "handover"
GOAL_SHARE = Goal(0.15, 0.05)
# What the engine that goes on computes: at most a block and a tail, better a tail alone.
GOAL_TOKENS = Goal(BLOCK_TOKENS + TAIL_TOKENS_MIN, TAIL_TOKENS_MIN)

Messages = list[dict[str, Any]]


async def measure(bench: Bench) -> None:
    """By a Unix socket and by TCP, in turns with prompts that are computed where they are asked."""
    p = bench.parameters
    ways: dict[str, list[Call]] = {"unix": [], "tcp": []}
    computed: list[Call] = []
    async with (
        roost(bench.model, bench.folder / "prefill", p.threads, role="prefill") as prefill,
        roost(bench.model, bench.folder / "decode", p.threads, role="decode") as decode,
    ):
        for _ in range(p.handovers):
            for way, calls in ways.items():
                messages = _messages(bench)
                offer = await _offer(prefill, messages)
                if way == "tcp":
                    offer = {**offer, "remote_socket": None}
                calls.append(await decode.ask(messages, 2, kv_transfer_params=offer))
            computed.append(await decode.ask(_messages(bench), 2))
    computed_ms = median([call.ttft_ms for call in computed])
    for way, calls in ways.items():
        _report(bench, way, calls, computed_ms)
    asked = ways["unix"] + ways["tcp"]
    own = median([call.prompt_tokens - _told(call)["tokens"] for call in asked])
    bench.add(
        Figure(HANDOVER, "tokens computed by the engine that goes on", own, "", goal=GOAL_TOKENS)
    )


def _report(bench: Bench, way: str, calls: list[Call], computed_ms: float) -> None:
    if any(_told(call).get("by") != way for call in calls):
        failures = sorted({str(_told(call).get("failure")) for call in calls})
        bench.run.note(f"{HANDOVER}: not handed over by {way}: {', '.join(failures)}")
        return
    tokens = bench.parameters.handover_tokens
    moved_ms = median([_told(call)["ms"] + float(call.metrics["kv"]["load_ms"]) for call in calls])
    share = moved_ms / computed_ms
    name = f"{tokens} tokens handed over by {way}, share of computing them"
    bench.add(Figure(HANDOVER, name, share, "", goal=GOAL_SHARE))
    ttft_ms = median([call.ttft_ms for call in calls])
    bench.add(
        Figure(HANDOVER, f"TTFT with {tokens} tokens by {way}", ttft_ms, "ms"),
        {"compute": computed_ms},
    )


def _told(call: Call) -> Mapping[str, Any]:
    report: Mapping[str, Any] = (call.metrics.get("kv") or {}).get("handover") or {"tokens": 0}
    return report


async def _offer(server: BenchmarkServer, messages: Messages) -> dict[str, Any]:
    """What the engine offers of a prompt that it has computed. Raises EngineFailed."""
    body = {
        "messages": messages,
        "max_tokens": 1,
        "temperature": 0,
        "kv_transfer_params": {"do_remote_decode": True},
    }
    answer = await server.http.post("/v1/chat/completions", json=body)
    params: dict[str, Any] = answer.json().get("kv_transfer_params") or {}
    if not params.get("do_remote_prefill"):
        raise EngineFailed(f"The prompt is not offered: {params.get('reason', answer.text[:200])}")
    return params


def _messages(bench: Bench) -> Messages:
    return [{"role": "user", "content": bench.text(bench.parameters.handover_tokens)}]
