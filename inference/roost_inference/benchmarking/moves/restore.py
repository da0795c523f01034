"""Restored KV against computing it again: after a restart of the engine, and from each tier."""

from collections.abc import Sequence
from typing import Any

from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.figures import Figure, Goal, median
from roost_inference.benchmarking.servers import OURS, BenchmarkServer, roost
from roost_inference.benchmarking.timed_request import Call

RESTART, TIERS = "restart", "tiers"
MESSAGE_TOKENS = 16
GOAL_RESTART = Goal(4, 8)
GOALS_TIER = {"ram": Goal(50, 200), "disk": Goal(10, 30)}
WITHOUT_LOADING = {"kv_transfer_params": {"max_load_tokens": 0}}

Messages = list[dict[str, Any]]


async def measure_restart(bench: Bench) -> None:
    """Sessions that go on after the engine was stopped and started, and new ones of the same
    length, taking turns at being first."""
    p, data = bench.parameters, bench.folder / RESTART
    loaded: list[Call] = []
    computed: list[Call] = []
    for number in range(p.restarts):
        session = _conversation(bench, p.restart_tokens - p.answer_tokens)
        async with roost(bench.model, data, p.threads) as server:
            if "disk" not in await server.tiers():
                bench.run.note(f"{RESTART}: not measured, the engine reports no disk tier")
                return
            answer = await server.ask(session, p.answer_tokens, session_id=f"restart-{number}")
        session += _next_turn(bench, answer.text)
        fresh = _conversation(bench, p.restart_tokens - p.answer_tokens)
        fresh += _next_turn(bench, bench.text(p.answer_tokens))
        async with roost(bench.model, data, p.threads) as server:
            for kind in ("loaded", "computed") if number % 2 else ("computed", "loaded"):
                if kind == "loaded":
                    loaded.append(await server.ask(session, 2, session_id=f"restart-{number}"))
                else:
                    computed.append(await server.ask(fresh, 2, session_id=f"fresh-{number}"))
    cached = median([call.cached_tokens / call.prompt_tokens for call in loaded])
    bench.add(
        Figure(RESTART, "first turn's TTFT after a restart", _ttft_ms(loaded), "ms"),
        {"recompute": _ttft_ms(computed)},
        {"recompute": GOAL_RESTART},
    )
    bench.add(Figure(RESTART, "cached share of that turn", cached, "", False))


async def measure_tiers(bench: Bench) -> None:
    """The same prompts loaded from disk after a restart, from RAM after their cells were given
    back, and computed with loading forbidden."""
    p, data = bench.parameters, bench.folder / TIERS
    prompts = {
        (tokens, number): _conversation(bench, tokens)
        for tokens in p.tier_tokens
        for number in range(p.tier_rounds)
    }
    async with roost(bench.model, data, p.threads) as server:
        tiers = await server.tiers()
        if "ram" not in tiers:
            bench.run.note(f"{TIERS}: not measured, the engine reports no RAM or disk tier")
            return
        for (tokens, number), messages in prompts.items():
            await server.ask(messages, 2, session_id=f"{tokens}-{number}")
    timed: dict[tuple[int, str], list[Call]] = {}
    async with roost(bench.model, data, p.threads) as server:
        for (tokens, number), messages in prompts.items():
            session_id = f"{tokens}-{number}"
            calls = await _three_ways(server, messages, session_id)
            for call, way in zip(calls, ("disk", "ram", "recompute"), strict=True):
                timed.setdefault((tokens, way), []).append(call)
    for tokens in p.tier_tokens:
        for tier in (name for name in ("ram", "disk") if name in tiers):
            _report_tier(bench, tokens, tier, timed[tokens, tier], timed[tokens, "recompute"])


async def _three_ways(server: BenchmarkServer, messages: Messages, session_id: str) -> list[Call]:
    """The same prompt loaded from the lowest tier, loaded from RAM, and computed."""
    calls = [await server.ask(messages, 2, session_id=session_id)]
    for options in ({}, WITHOUT_LOADING):
        await server.http.post(f"/v1/sessions/{session_id}/offload")
        calls.append(await server.ask(messages, 2, session_id=session_id, **options))
    return calls


def _report_tier(
    bench: Bench, tokens: int, tier: str, loaded: Sequence[Call], computed: Sequence[Call]
) -> None:
    recomputed = {"recompute": _ttft_ms(computed)}
    reports = [call.metrics.get("kv") or {} for call in loaded]
    if not all((report.get("loaded_from") or {}).get(tier) for report in reports):
        bench.run.note(
            f"{TIERS}: {tokens} tokens did not come from {tier}, by what {OURS} says of itself: "
            f"{reports[0].get('decision', 'nothing')}"
        )
        return
    load_ms = median([float(report["load_ms"]) for report in reports])
    bench.add(
        Figure(TIERS, f"load of {tokens} tokens, {tier}", load_ms, "ms"),
        recomputed,
        {"recompute": GOALS_TIER[tier]},
    )
    bench.add(
        Figure(TIERS, f"TTFT with {tokens} tokens in {tier}", _ttft_ms(loaded), "ms"), recomputed
    )


def _conversation(bench: Bench, tokens: int) -> Messages:
    """A first turn whose whole prompt is about this many tokens."""
    head: Messages = [{"role": "system", "content": bench.text(8)}]
    around = len(bench.ruler.prompt([*head, {"role": "user", "content": ""}]))
    return [*head, {"role": "user", "content": bench.text(max(1, tokens - around))}]


def _next_turn(bench: Bench, answer: str) -> Messages:
    return [
        {"role": "assistant", "content": answer},
        {"role": "user", "content": bench.text(MESSAGE_TOKENS)},
    ]


def _ttft_ms(calls: Sequence[Call]) -> float:
    return median([call.ttft_ms for call in calls])
