"""One request against others: a flooding tenant, a long prompt, and how fast an abort frees."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.figures import Figure, Goal, median, percentile
from roost_inference.benchmarking.servers import LLAMA, BenchmarkServer, peers, roost
from roost_inference.benchmarking.timed_request import Call
from roost_inference.errors import EngineFailed

FAIRNESS, ABORT, STALL = "fairness", "abort", "stall"
VICTIM_PROMPT_TOKENS, VICTIM_ANSWER_TOKENS = 100, 8
FLOOD_ANSWER_TOKENS = 48
FLOOD_RAMP_S = 1.0
LONG_ANSWER_TOKENS = 3000
PIECES_BEFORE = 5
PREFILL_BEFORE_S = 0.1
WAIT_MAX_S = 60.0
GOAL_ABORT, GOAL_STALL = Goal(50, 15), Goal(200, 120)
GOAL_READING = Goal(0.9, 1.2)
# Answers that a long prompt is read beside.
STALL_ANSWERS = 4
STALL_CONTEXT = 8192


async def _everywhere(
    bench: Bench,
    name: str,
    measure: Callable[[BenchmarkServer], Awaitable[None]],
    flags: str = "",
) -> None:
    """Measure ours and every peer, one at a time, so that each has all cores."""
    p = bench.parameters
    async with contextlib.AsyncExitStack() as stack:
        data = bench.folder / name
        ours = await stack.enter_async_context(roost(bench.model, data, p.threads))
        others = await stack.enter_async_context(peers(p, bench.model, ("", flags)))
        for server in (ours, *others):
            await measure(server)


async def measure_fairness(bench: Bench) -> None:
    """A tenant's requests alone, then while another tenant keeps many open."""
    measured: dict[str, tuple[float, float]] = {}

    async def measure(server: BenchmarkServer) -> None:
        alone = await _victims(bench, server)
        async with _flood(bench, server):
            await asyncio.sleep(FLOOD_RAMP_S)
            flooded = await _victims(bench, server)
        measured[server.name] = alone, flooded

    await _everywhere(bench, FAIRNESS, measure)
    (alone, flooded), *_ = measured.values()
    others = dict(list(measured.items())[1:])
    bench.add(Figure(FAIRNESS, "victim's TTFT p50, alone", alone, "ms"))
    bench.add(
        Figure(FAIRNESS, "victim's TTFT p50, in the flood", flooded, "ms"),
        {name: values[1] for name, values in others.items()},
    )
    bench.add(
        Figure(FAIRNESS, "slower in the flood by", flooded / alone, "x"),
        {name: values[1] / values[0] for name, values in others.items()},
    )


async def _victims(bench: Bench, server: BenchmarkServer) -> float:
    waits: list[float] = []
    for _ in range(bench.parameters.victims):
        messages = [{"role": "user", "content": bench.text(VICTIM_PROMPT_TOKENS)}]
        call = await server.ask(messages, VICTIM_ANSWER_TOKENS, salt="victim")
        waits.append(call.ttft_ms)
    return median(waits)


@contextlib.asynccontextmanager
async def _flood(bench: Bench, server: BenchmarkServer) -> AsyncIterator[None]:
    """Requests of one tenant, each followed by the next, until the block ends."""
    p = bench.parameters

    async def keep_asking() -> None:
        while True:
            messages = [{"role": "user", "content": bench.text(p.flood_tokens)}]
            await server.ask(messages, FLOOD_ANSWER_TOKENS, salt="flood")

    tasks = [asyncio.create_task(keep_asking()) for _ in range(p.flood)]
    try:
        yield
    finally:
        for task in tasks:
            await _cancel(task)
    await _until_idle(server)


async def measure_stall(bench: Bench) -> None:
    """The worst gap of answers while a long prompt is read, and how long that reading takes."""
    measured: dict[str, tuple[list[float], list[float]]] = {}

    async def measure(server: BenchmarkServer) -> None:
        gaps, waits = measured.setdefault(server.name, ([], []))
        for _ in range(bench.parameters.stalls):
            gap, wait = await _stall(bench, server)
            gaps.append(gap)
            waits.append(wait)

    flags = f"-np {STALL_ANSWERS + 1} -c {(STALL_ANSWERS + 1) * STALL_CONTEXT}"
    await _everywhere(bench, STALL, measure, flags)
    (gaps, waits), *_ = measured.values()
    others = dict(list(measured.items())[1:])
    tokens = bench.parameters.stall_tokens
    name = f"worst gap of {STALL_ANSWERS} answers while {tokens} tokens are read"
    bench.add(Figure(STALL, name, max(gaps), "ms", goal=GOAL_STALL))
    if others:
        bench.add(
            Figure(STALL, name, max(gaps), "ms"),
            {name: max(values[0]) for name, values in others.items()},
        )
    bench.add(
        Figure(STALL, f"TTFT of the {tokens} tokens", median(waits), "ms"),
        {name: median(values[1]) for name, values in others.items()},
        {LLAMA: GOAL_READING},
    )


async def _stall(bench: Bench, server: BenchmarkServer) -> tuple[float, float]:
    async with contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(_answering(bench, server)) for _ in range(STALL_ANSWERS)
        ]
        messages = [{"role": "user", "content": bench.text(bench.parameters.stall_tokens)}]
        prompt = await server.ask(messages, 1)
        gaps = [_worst_gap(stream, prompt.sent_s, prompt.piece_s[0]) for stream in streams]
    await _until_idle(server)
    return max(gaps), prompt.ttft_ms


def _worst_gap(stream: Call, sent_s: float, first_s: float) -> float:
    """Milliseconds. Silence counts up to the prompt's first token: a stream that stood still has
    one gap."""
    times = [sent_s, *(at for at in stream.piece_s if sent_s <= at <= first_s), first_s]
    return max((after - before) * 1000 for before, after in pairwise(times))


async def measure_abort(bench: Bench) -> None:
    """From the client's cancel until the engine says that nothing runs, asked continuously."""
    measured: dict[str, tuple[list[float], list[float]]] = {}

    async def measure(server: BenchmarkServer) -> None:
        if await server.running() is None:
            bench.run.note(f"{ABORT}: {server.name} does not say how much it runs")
            return
        decoding = [await _abort_decoding(bench, server) for _ in range(bench.parameters.aborts)]
        reading = [await _abort_reading(bench, server) for _ in range(bench.parameters.aborts)]
        measured[server.name] = decoding, reading

    await _everywhere(bench, ABORT, measure)
    ours, *_ = measured.values()
    others = dict(list(measured.items())[1:])
    for index, doing in enumerate(("writing", "reading a prompt")):
        name = f"cancel to freed while {doing}, p50"
        bench.add(Figure(ABORT, name, median(ours[index]), "ms", goal=GOAL_ABORT))
        if others:
            bench.add(
                Figure(ABORT, name, median(ours[index]), "ms"),
                {other: median(values[index]) for other, values in others.items()},
            )
        worst = f"cancel to freed while {doing}, p95"
        bench.add(Figure(ABORT, worst, percentile(ours[index], 95), "ms", goal=GOAL_ABORT))


async def _abort_decoding(bench: Bench, server: BenchmarkServer) -> float:
    async with _answering(bench, server):
        pass
    return await _until_idle(server)


async def _abort_reading(bench: Bench, server: BenchmarkServer) -> float:
    messages = [{"role": "user", "content": bench.text(bench.parameters.stall_tokens)}]
    task = asyncio.create_task(server.ask(messages, 1))
    deadline = time.perf_counter() + WAIT_MAX_S
    while not await server.running():
        _in_time(deadline, "the prompt was not taken up")
        await asyncio.sleep(0.002)
    await asyncio.sleep(PREFILL_BEFORE_S)
    await _cancel(task)
    return await _until_idle(server)


@contextlib.asynccontextmanager
async def _answering(bench: Bench, server: BenchmarkServer) -> AsyncIterator[Call]:
    """A stream that is well under way, cancelled with the block."""
    call = Call(0.0)
    messages = [{"role": "user", "content": bench.text(24)}]
    task = asyncio.create_task(server.ask(messages, LONG_ANSWER_TOKENS, call=call))
    try:
        deadline = time.perf_counter() + WAIT_MAX_S
        while len(call.piece_s) < PIECES_BEFORE:
            if task.done():
                raise EngineFailed("The stream ended early") from task.exception()
            _in_time(deadline, "the stream did not begin")
            await asyncio.sleep(0.002)
        yield call
    finally:
        await _cancel(task)


async def _cancel(task: "asyncio.Task[Any]") -> None:
    """Cancel a request, which closes its connection; raises what it failed with."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _until_idle(server: BenchmarkServer) -> float:
    """Milliseconds until nothing runs; returns 0 at once where the server does not tell."""
    started = time.perf_counter()
    while await server.running():
        _in_time(started + WAIT_MAX_S, "the cancelled request was not freed")
    return (time.perf_counter() - started) * 1000


def _in_time(deadline: float, problem: str) -> None:
    if time.perf_counter() > deadline:
        raise EngineFailed(f"After {WAIT_MAX_S:.0f} s {problem}")
