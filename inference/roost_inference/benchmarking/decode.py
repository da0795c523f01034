"""Tokens per second: plain, several sequences at once, and with speculation on and off."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from roost_inference.benchmarking import python_time
from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.figures import Figure, Goal, median
from roost_inference.benchmarking.servers import LLAMA, BenchmarkServer, knows, peers, roost
from roost_inference.benchmarking.timed_request import Call, tokens_per_second
from roost_inference.errors import EngineFailed

DECODE, SPECULATION = "decode", "speculation"
PROMPT_TOKENS = 24
GOAL_FEW, GOAL_MANY = Goal(0.97, 1.05), Goal(0.95, 1.05)
# Fewer sequences than these are few.
MANY_SEQUENCES = 8
GOAL_COPYING, GOAL_FREE = Goal(1.8, 2.5), Goal(0.97, 1.05)
OFF = "speculation off"
COPIED_RECORDS = 5
TEXTS_PER_ROUND = 6
TOPICS = (
    "a lighthouse keeper",
    "how bread is made",
    "the first day at a new school",
    "why rivers bend",
    "a train in the snow",
    "an old map",
    "growing tomatoes",
    "a lost key",
)


async def measure_decode(bench: Bench) -> None:
    """Servers side by side, idle while another is measured; speculation off on ours."""
    p = bench.parameters
    settings = {"speculation": "off"} if knows("speculation") else {}
    most = max(p.decode_sequences)
    flags = f"-np {most} -c {most * (PROMPT_TOKENS + p.decode_tokens + 256)}"
    data = bench.folder / DECODE
    async with contextlib.AsyncExitStack() as stack:
        ours = await stack.enter_async_context(roost(bench.model, data, p.threads, **settings))
        others = await stack.enter_async_context(peers(p, bench.model, ("", flags)))
        servers = [ours, *others]
        for count in p.decode_sequences:
            rates: dict[str, list[float]] = {server.name: [] for server in servers}
            for number in range(p.decode_rounds):
                for server in servers if number % 2 else reversed(servers):
                    rates[server.name].append(await _rate(bench, server, count))
            bench.add(
                Figure(
                    DECODE,
                    f"{count} {'sequence' if count == 1 else 'sequences'}",
                    median(rates[ours.name]),
                    "tok/s",
                    lower_is_better=False,
                ),
                {server.name: median(rates[server.name]) for server in others},
                {LLAMA: GOAL_MANY if count >= MANY_SEQUENCES else GOAL_FEW},
            )
    python_time.measure(bench, DECODE)


async def _rate(bench: Bench, server: BenchmarkServer, count: int) -> float:
    """Tokens per second while all answers are being generated: a server that prefills one prompt
    after another decodes meanwhile, one that prefills all at once does not."""
    prompts = [[{"role": "user", "content": bench.text(PROMPT_TOKENS)}] for _ in range(count)]
    calls = await asyncio.gather(
        *(server.ask(prompt, bench.parameters.decode_tokens) for prompt in prompts)
    )
    began = max(call.piece_s[0] for call in calls)
    ended = min(call.piece_s[-1] for call in calls)
    if ended <= began:
        raise EngineFailed(f"{count} answers were never written at once")
    tokens = sum(
        call.completion_tokens * sum(began < at <= ended for at in call.piece_s) / len(call.piece_s)
        for call in calls
    )
    return tokens / (ended - began)


async def measure_speculation(bench: Bench) -> None:
    """Every prompt on both engines in turn, and no prompt twice: speculation would copy an answer
    seen before."""
    p = bench.parameters
    if not knows("speculation"):
        bench.run.note(f"{SPECULATION}: not measured, this engine has no setting for it")
        return
    pairs: dict[str, list[tuple[Call, Call]]] = {"copying": [], "free text": []}
    for number in range(p.speculation_rounds):
        data = bench.folder / SPECULATION / str(number)
        async with _both(bench, data, on_first=number % 2 == 0) as (on, off):
            for kind, measured in pairs.items():
                first = TEXTS_PER_ROUND * number
                for text in range(first, first + TEXTS_PER_ROUND):
                    measured.append(await _pair(bench, kind, text, on, off))
    for kind, goal in (("copying", GOAL_COPYING), ("free text", GOAL_FREE)):
        _report(bench, kind, goal, pairs[kind])


@contextlib.asynccontextmanager
async def _both(
    bench: Bench, data: Path, *, on_first: bool
) -> AsyncIterator[tuple[BenchmarkServer, BenchmarkServer]]:
    """An engine with speculation and one without. The one that starts first stays a few percent
    slower, so both orders are needed."""
    servers: dict[str, BenchmarkServer] = {}
    async with contextlib.AsyncExitStack() as stack:
        for setting in ("auto", "off") if on_first else ("off", "auto"):
            threads = bench.parameters.threads
            engine = roost(bench.model, data / setting, threads, speculation=setting)
            servers[setting] = await stack.enter_async_context(engine)
        yield servers["auto"], servers["off"]


async def _pair(
    bench: Bench, kind: str, number: int, on: BenchmarkServer, off: BenchmarkServer
) -> tuple[Call, Call]:
    """The same prompt with speculation and without, the order alternating."""
    fields: dict[str, object] = {"ignore_eos": False}
    if kind == "copying":
        messages = copying(bench.seed())
    else:
        topic = TOPICS[number % len(TOPICS)]
        text = f"Write a long text about {topic}. Mention the number {bench.seed() % 1000}."
        messages = [{"role": "user", "content": text}]
        # Sampled: greedily a small model soon says the same again, which is copying.
        fields = {"temperature": 0.8, "seed": number}
    calls: dict[str, Call] = {}
    for server in (on, off) if number % 2 else (off, on):
        calls["on" if server is on else "off"] = await server.ask(
            messages,
            bench.parameters.speculation_tokens,
            session_id=f"{kind}-{number}",
            **fields,
        )
    return calls["on"], calls["off"]


def _report(bench: Bench, kind: str, goal: Goal, pairs: Sequence[tuple[Call, Call]]) -> None:
    long = [pair for pair in pairs if min(call.completion_tokens for call in pair) > 16]
    if not long:
        bench.run.note(f"{SPECULATION}: {kind} not measured, the model stopped after a few tokens")
        return
    bench.add(
        Figure(
            SPECULATION,
            kind,
            tokens_per_second([on for on, _ in long]),
            "tok/s",
            lower_is_better=False,
        ),
        # Not medians: speeds are of two kinds, of engines that started first and second.
        {OFF: tokens_per_second([off for _, off in long])},
        {OFF: goal},
    )
    same = sum(on.text == off.text for on, off in pairs) / len(pairs)
    bench.add(Figure(SPECULATION, f"{kind}, same text on and off", same, "", False))


def copying(seed: int) -> list[dict[str, str]]:
    """A tool's JSON, repeated once and then wanted again: small models copy that without fault."""
    records = _records(seed, COPIED_RECORDS)
    again = {"role": "user", "content": "Repeat that exactly."}
    answer = {"role": "assistant", "content": records}
    question = {"role": "user", "content": f"Here is the tool's result:\n{records}"}
    return [question, answer, again, answer, again]


def _records(seed: int, count: int) -> str:
    source = random.Random(seed)
    cities = ("Lisbon", "Oslo", "Turin", "Quito", "Perth", "Kyoto", "Accra", "Leeds")
    records = [
        {
            "id": source.randrange(1000, 9999),
            "city": source.choice(cities),
            "price": source.randrange(10, 400),
            "open": source.random() < 0.5,
        }
        for _ in range(count)
    ]
    return json.dumps(records)
