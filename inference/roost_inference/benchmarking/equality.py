"""Greedy answers with offload and speculation on and off: the same, except where logits nearly tie.

Batches of another shape, and KV in other cells, sum in another order, so the last bits of logits
differ, and where two tokens are almost equally likely the greedy choice may differ, too. So every
first difference is judged by the logits of both tokens after the common text, computed once more in
one batch without any cache. The bound of a near tie is measured as well: how much the lead of the
likeliest token changes when the same text is computed row by row, or a few rows at a time as drafts
are, instead of in one batch.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.decode import TOPICS, copying
from roost_inference.benchmarking.figures import Figure, Goal
from roost_inference.benchmarking.judge import Difference, Judge
from roost_inference.benchmarking.ruler import Ruler
from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.errors import EngineFailed
from roost_inference.loading import load_engine
from roost_inference.request import EngineSession, Request, SamplingParams
from roost_inference.testing.harness import Collector

EQUALITY = "equality"
PLAIN = "both off"
WAYS: dict[str, dict[str, Any]] = {
    PLAIN: {"kv_ram": 0, "speculation": "off"},
    "offload on": {"speculation": "off"},
    "speculation on": {"kv_ram": 0},
    "both on": {},
}
SIZES: dict[str, Any] = {"context_length": 4096, "max_sequences": 8, "max_running": 4, "kv_disk": 0}
GOAL = Goal(0.95, 1.0)

Messages = list[dict[str, Any]]
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class TwoTurns:
    """The two answers of one conversation, and how much was loaded and accepted on the way.

    text: the first answer."""

    answers: tuple[list[int], list[int]]
    text: str
    loaded: int
    accepted: int


def conversations(count: int) -> list[tuple[Messages, str]]:
    """Prompts of three kinds, each with what the user says after the first answer."""
    pairs: list[tuple[Messages, str]] = []
    for number in range(count):
        topic = TOPICS[number % len(TOPICS)]
        first: Messages = [{"role": "user", "content": f"Tell me about {topic}, part {number}."}]
        if number % 3 == 0:
            first = copying(number)
        elif number % 3 == 1:
            result = json.dumps({"topic": topic, "pages": [number, number + 7], "found": True})
            first[0]["content"] = f"A tool said {result}. What does that mean?"
        pairs.append((first, "Repeat your answer." if number % 2 else "Say it in other words."))
    return pairs


def converse(
    engine: Engine,
    ruler: Ruler,
    messages: Messages,
    then: str,
    count: int,
    first_answer: str | None,
) -> TwoTurns:
    """Two turns; between them the session gives back its cells. first_answer: the answer that the
    second turn follows; None is the engine's own."""
    session = f"equality-{next(_numbers)}"
    first = _ask(engine, ruler.prompt(messages), count, session)
    text = first.text if first_answer is None else first_answer
    if engine.store is not None:
        engine.session_control.offload(EngineSession(session, session))
    history = [*messages, {"role": "assistant", "content": text}, {"role": "user", "content": then}]
    second = _ask(engine, ruler.prompt(history), count, session)
    drafted = [heard.finish.speculation for heard in (first, second)]
    return TwoTurns(
        (first.tokens, second.tokens),
        text,
        int(str(second.finish.kv.get("loaded_tokens", 0))),
        sum(figures.accepted_tokens for figures in drafted if figures is not None),
    )


def _ask(engine: Engine, prompt: list[int], count: int, session: str) -> Collector:
    heard = Collector()
    sampling = SamplingParams(temperature=0.0)
    name = f"{session}-{next(_numbers)}"
    # a salt of its own: what is cached of other prompts is then the same for every way
    wanted = Request(name, prompt, count, sampling, session=EngineSession(session, session))
    engine.submit(wanted, heard)
    heard.wait()
    return heard


def differences(
    judge: Judge,
    ruler: Ruler,
    talks: Sequence[tuple[Messages, str]],
    plain: Sequence[TwoTurns],
    others: Sequence[TwoTurns],
) -> list[Difference]:
    """Where the answers to each prompt first differ from the plain ones."""
    parted_at: list[Difference] = []
    for number, (prompts, one, other) in enumerate(
        zip(_prompts(ruler, talks, plain), plain, others, strict=True)
    ):
        for turn, tokens in enumerate(prompts):
            parted = judge.first_difference(
                len(prompts) * number + turn, tokens, one.answers[turn], other.answers[turn]
            )
            if parted is not None:
                parted_at.append(parted)
    return parted_at


def near_tie(
    judge: Judge, ruler: Ruler, talks: Sequence[tuple[Messages, str]], plain: Sequence[TwoTurns]
) -> list[float]:
    """The changes of the lead that the kernels alone cause, at every token; sorted."""
    return sorted(
        change
        for prompts, turns in zip(_prompts(ruler, talks, plain), plain, strict=True)
        for prompt, answer in zip(prompts, turns.answers, strict=True)
        if answer
        for change in judge.changes(prompt, answer)
    )


def _prompts(
    ruler: Ruler, talks: Sequence[tuple[Messages, str]], turns: Sequence[TwoTurns]
) -> Iterator[tuple[list[int], list[int]]]:
    """The tokens of both turns' prompts."""
    for (messages, then), one in zip(talks, turns, strict=True):
        later = [{"role": "assistant", "content": one.text}, {"role": "user", "content": then}]
        yield ruler.prompt(messages), ruler.prompt([*messages, *later])


async def measure(bench: Bench) -> None:
    """Raises EngineFailed if a near tie does not explain a difference."""
    p, folder = bench.parameters, bench.folder / EQUALITY
    talks = conversations(p.equality_conversations)
    turns: dict[str, list[TwoTurns]] = {}
    for name, settings in WAYS.items():
        config = EngineConfig(model=bench.model, threads=p.threads, **SIZES, **settings)
        engine = load_engine(config, folder)
        try:
            first_answer: list[str | None] = [None] * len(talks)
            if PLAIN in turns:
                first_answer = [one.text for one in turns[PLAIN]]
            turns[name] = [
                converse(engine, bench.ruler, messages, then, p.equality_tokens, text)
                for (messages, then), text in zip(talks, first_answer, strict=True)
            ]
        finally:
            engine.close()
    judge = Judge(bench.model, p.threads, p.equality_tokens)
    try:
        changes = near_tie(judge, bench.ruler, talks, turns[PLAIN])
        bench.run.note(
            f"{EQUALITY}: computing the same text in other batches changes the lead of the "
            f"likeliest token by {changes[len(changes) // 2]:.3f} (median), "
            f"{changes[len(changes) * 99 // 100]:.3f} (99 of 100), {changes[-1]:.3f} at most; "
            "differences up to that are near ties"
        )
        for name in [name for name in WAYS if name != PLAIN]:
            parted_at = differences(judge, bench.ruler, talks, turns[PLAIN], turns[name])
            _report(bench, name, turns[name], parted_at, tie=changes[-1])
    finally:
        judge.close()


def _report(
    bench: Bench,
    name: str,
    turns: Sequence[TwoTurns],
    parted_at: Sequence[Difference],
    *,
    tie: float,
) -> None:
    loaded, accepted = sum(t.loaded for t in turns), sum(t.accepted for t in turns)
    prompts = sum(len(one.answers) for one in turns)
    same = 1 - len(parted_at) / prompts
    bench.add(
        Figure(EQUALITY, f"prompts answered the same, {name}", same, "", False),
        {PLAIN: 1.0},
        {PLAIN: GOAL},
    )
    parted = {difference.prompt * len(turns) // prompts for difference in parted_at}
    gaps = ", ".join(f"{d.gap:.3f} (prompt {d.prompt}, token {d.position})" for d in parted_at)
    bench.run.note(
        f"{EQUALITY}, {name}: {len(parted_at)} of {prompts} prompts, {len(parted)} of {len(turns)} "
        f"conversations; {loaded} tokens loaded, {accepted} drafted tokens accepted; "
        f"gaps of logits where answers part: {gaps or 'none'}"
    )
    if any(difference.gap > tie for difference in parted_at):
        raise EngineFailed(f"{name} changed an answer, and not at a near tie: {gaps}")
