"""Agents that take turns: tools between the turns, and more sessions than are served at once."""

import asyncio
import time
from dataclasses import dataclass, field

from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.figures import (
    Answered,
    Figure,
    Goal,
    infinite_cache_tokens,
    percentile,
)
from roost_inference.benchmarking.ruler import Ruler
from roost_inference.benchmarking.servers import LLAMA, BenchmarkServer, peers, roost
from roost_inference.benchmarking.timed_request import Call

NAME = "sessions"
USER_TOKENS = 60
DEFAULTS, BEST = "defaults", "best flags"
GOALS_TTFT = {f"{LLAMA} {DEFAULTS}": Goal(4, 6), f"{LLAMA} {BEST}": Goal(3, 4)}
GOALS_WALL = {f"{LLAMA} {BEST}": Goal(1.5, 2)}
GOAL_SHARE = Goal(0.77, 0.785)

Messages = tuple[dict[str, str], ...]


@dataclass(slots=True)
class Job:
    """The whole job on one server, its requests in the order they were sent."""

    answer_tokens: int
    wall_s: float = 0.0
    first: list[Call] = field(default_factory=list)
    later: list[Call] = field(default_factory=list)
    # The messages of each request, and the same with its answer.
    exchanges: list[tuple[Messages, Messages]] = field(default_factory=list)

    def ttft_ms(self, percent: float) -> float:
        """A percentile of the later turns' times to the first token."""
        return percentile([call.ttft_ms for call in self.later], percent)

    @property
    def cached_share(self) -> float:
        """Part of the prompt tokens that was reused, 0 to 1."""
        return sum(call.cached_tokens for call in self._calls) / self.prompt_tokens

    def ceiling(self, ruler: Ruler) -> float:
        """The part that a cache without bounds would have reused of the same prompts. Counted
        afterwards: tokenising takes the cores that are measured."""
        answered: list[Answered] = []
        for prompt_messages, answer in self.exchanges:
            prompt, whole = ruler.prompt(prompt_messages), ruler.prompt(answer)
            answered.append(Answered(prompt, whole[len(prompt) : len(prompt) + self.answer_tokens]))
        prompts = sum(len(request.prompt) for request in answered)
        return infinite_cache_tokens(answered) / prompts

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of all requests; 1 where there were none."""
        return sum(call.prompt_tokens for call in self._calls) or 1

    @property
    def _calls(self) -> list[Call]:
        return self.first + self.later


@dataclass(frozen=True, slots=True)
class Script:
    """The texts of every session, the same on every server."""

    system: str
    users: tuple[str, ...]
    results: tuple[tuple[str, ...], ...]


async def measure(bench: Bench) -> None:
    """The job on a fresh process of each server, one after another."""
    script = _script(bench)
    jobs: dict[str, Job] = {}
    data = bench.folder / NAME
    async with roost(bench.model, data, bench.parameters.threads) as server:
        ours = await _job(bench, server, script)
    flags = ((DEFAULTS, ""), (BEST, bench.parameters.llama_server_best))
    for label, text in flags if bench.parameters.llama_server is not None else ():
        without_url = bench.parameters.model_copy(update={"peer_url": None})
        async with peers(without_url, bench.model, (label, text)) as servers:
            jobs[servers[0].name] = await _job(bench, servers[0], script)
    if bench.parameters.peer_url is not None:
        async with peers(bench.parameters, bench.model) as servers:
            jobs[servers[-1].name] = await _job(bench, servers[-1], script)
    _report(bench, ours, jobs)


def _report(bench: Bench, ours: Job, others: dict[str, Job]) -> None:
    for percent in (50, 95):
        bench.add(
            Figure(NAME, f"later-turn TTFT p{percent}", ours.ttft_ms(percent), "ms"),
            {name: job.ttft_ms(percent) for name, job in others.items()},
            GOALS_TTFT if percent == 50 else {},
        )
    bench.add(
        Figure(NAME, "wall time", ours.wall_s, "s"),
        {name: job.wall_s for name, job in others.items()},
        GOALS_WALL,
    )
    share = "cached share of prompt tokens"
    bench.add(Figure(NAME, share, ours.cached_share, "", False, goal=GOAL_SHARE))
    bench.add(
        Figure(NAME, share, ours.cached_share, "", False),
        {
            "infinite cache": ours.ceiling(bench.ruler),
            **{name: job.cached_share for name, job in others.items()},
        },
    )


def _script(bench: Bench) -> Script:
    p = bench.parameters
    return Script(
        bench.text(p.shared_tokens),
        tuple(bench.text(USER_TOKENS) for _ in range(p.sessions)),
        tuple(tuple(bench.text(p.tool_tokens) for _ in range(p.turns)) for _ in range(p.sessions)),
    )


async def _job(bench: Bench, server: BenchmarkServer, script: Script) -> Job:
    """All sessions at once, `active` requests at a time, in the order they come to their turn."""
    job, places = Job(bench.parameters.answer_tokens), asyncio.Semaphore(bench.parameters.active)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(bench.parameters.sessions):
            group.create_task(_session(bench, server, script, number, places, job))
    job.wall_s = time.perf_counter() - started
    return job


async def _session(
    bench: Bench,
    server: BenchmarkServer,
    script: Script,
    number: int,
    places: asyncio.Semaphore,
    job: Job,
) -> None:
    p = bench.parameters
    messages = [
        {"role": "system", "content": script.system},
        {"role": "user", "content": script.users[number]},
    ]
    for turn in range(p.turns):
        async with places:
            call = await server.ask(
                messages, p.answer_tokens, session_id=f"session-{number}", salt="tenant"
            )
        (job.later if turn else job.first).append(call)
        prompt_messages = tuple(messages)
        messages.append({"role": "assistant", "content": call.text})
        job.exchanges.append((prompt_messages, tuple(messages)))
        messages.append({"role": "user", "content": script.results[number][turn]})
        if turn + 1 < p.turns:
            await asyncio.sleep(p.gap_s)
