"""Greedy answers with offload and speculation on and off: the same, but where logits nearly tie.

Batches of another shape, and KV in other cells, sum in another order, so the last bits of logits
differ; a greedy choice may then fall otherwise where two tokens are as good as equal. Every first
difference is therefore judged by the logits of both tokens after the common text, computed once
more in one batch from nothing.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roost_inference.backend import DecodeStatus, Logits
from roost_inference.batch import Batch
from roost_inference.benchmarking.bench import Bench
from roost_inference.benchmarking.decoding import TOPICS, copying
from roost_inference.benchmarking.figures import Figure, Goal
from roost_inference.benchmarking.ruler import Ruler
from roost_inference.config import EngineConfig
from roost_inference.engine import Engine
from roost_inference.errors import EngineFailed
from roost_inference.llama.backend import LlamaBackend
from roost_inference.loading import load_engine
from roost_inference.request import Request, SamplingParams
from roost_inference.testing import Collector

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
# Two logits closer than this count as a tie. A choice, not a measurement: well below the 0.77 that
# the same content at other places of the cache was seen to differ by.
NEAR_TIE = 0.3
REFERENCE_TOKENS_MAX = 2048

Messages = list[dict[str, Any]]
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers part, and how far apart the logits of the two tokens are there."""

    prompt: int
    position: int
    gap: float


@dataclass(frozen=True, slots=True)
class Told:
    """The two answers of one conversation, and what made this way different from the plain one."""

    answers: tuple[list[int], list[int]]
    text: str
    loaded: int
    accepted: int


def conversations(count: int) -> list[tuple[Messages, str]]:
    """Prompts of three kinds, each with what the user says after the first answer."""
    found: list[tuple[Messages, str]] = []
    for number in range(count):
        topic = TOPICS[number % len(TOPICS)]
        told: Messages = [{"role": "user", "content": f"Tell me about {topic}, part {number}."}]
        if number % 3 == 0:
            told = copying(number)
        elif number % 3 == 1:
            result = json.dumps({"topic": topic, "pages": [number, number + 7], "found": True})
            told[0]["content"] = f"A tool said {result}. What does that mean?"
        found.append((told, "Repeat your answer." if number % 2 else "Say it in other words."))
    return found


def converse(
    engine: Engine, ruler: Ruler, messages: Messages, then: str, count: int, said: str | None
) -> Told:
    """Two turns, the session's cells given back between them. said: the first answer the second
    turn is to follow; None is the engine's own."""
    session = f"equality-{next(_numbers)}"
    first = _ask(engine, ruler.prompt(messages), count, session)
    text = first.text if said is None else said
    if engine.store is not None:
        engine.desk.offload(session)
    history = [*messages, {"role": "assistant", "content": text}, {"role": "user", "content": then}]
    second = _ask(engine, ruler.prompt(history), count, session)
    drafted = [heard.finish.speculation for heard in (first, second)]
    return Told(
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
    wanted = Request(name, prompt, count, sampling, session_id=session, cache_salt=session)
    engine.submit(wanted, heard)
    heard.wait()
    return heard


class Judge:
    """Logits of a text's next token, computed in one batch on a context of its own."""

    def __init__(self, model: Path, threads: int) -> None:
        size = REFERENCE_TOKENS_MAX
        self._backend = LlamaBackend(
            model,
            cells=size,
            sequences=1,
            batch_tokens=size,
            outputs=1,
            threads=threads,
            kv_type="f16",
        )

    def first_difference(
        self, number: int, prompt: Sequence[int], one: Sequence[int], other: Sequence[int]
    ) -> Difference | None:
        """None if the answers are equal."""
        if list(one) == list(other):
            return None
        pairs = enumerate(zip(one, other, strict=False))
        place = next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
        logits = self._logits([*prompt, *one[:place]])
        gap = abs(self._of(logits, one, place) - self._of(logits, other, place))
        return Difference(number, place, gap)

    def _of(self, logits: Logits, answer: Sequence[int], place: int) -> float:
        """The logit of the answer's token there; the likeliest end where it has ended."""
        ends = self._backend.vocabulary.end_tokens
        return float(logits[answer[place]] if place < len(answer) else logits[list(ends)].max())

    def _logits(self, tokens: list[int]) -> Logits:
        batch = Batch(REFERENCE_TOKENS_MAX)
        batch.add(np.asarray(tokens, np.int32), 0, 0, output=True)
        if self._backend.decode(batch) is not DecodeStatus.DONE:
            raise EngineFailed("The reference was not computed")
        logits = self._backend.logits(batch.size - 1).copy()
        self._backend.sequence_remove(0, 0)
        return logits

    def close(self) -> None:
        self._backend.close()


def differences(
    judge: Judge,
    ruler: Ruler,
    asked: Sequence[tuple[Messages, str]],
    plain: Sequence[Told],
    others: Sequence[Told],
) -> list[Difference]:
    """Where each conversation first differs from the plain one."""
    found: list[Difference] = []
    for number, ((messages, then), one, other) in enumerate(zip(asked, plain, others, strict=True)):
        later = [{"role": "assistant", "content": one.text}, {"role": "user", "content": then}]
        for turn, prompt in enumerate((messages, [*messages, *later])):
            tokens = ruler.prompt(prompt)
            parted = judge.first_difference(number, tokens, one.answers[turn], other.answers[turn])
            if parted is not None:
                found.append(parted)
                break
    return found


async def measure(bench: Bench) -> None:
    """Raises EngineFailed if a difference is none that a near-tie explains."""
    p, folder = bench.parameters, bench.folder / EQUALITY
    asked = conversations(p.equality_prompts)
    told: dict[str, list[Told]] = {}
    for name, settings in WAYS.items():
        config = EngineConfig(model=bench.model, threads=p.threads, **SIZES, **settings)
        engine = load_engine(config, folder)
        try:
            said: list[str | None] = [None] * len(asked)
            if PLAIN in told:
                said = [one.text for one in told[PLAIN]]
            told[name] = [
                converse(engine, bench.ruler, messages, then, p.equality_tokens, text)
                for (messages, then), text in zip(asked, said, strict=True)
            ]
        finally:
            engine.close()
    judge = Judge(bench.model, p.threads)
    try:
        for name in [name for name in WAYS if name != PLAIN]:
            found = differences(judge, bench.ruler, asked, told[PLAIN], told[name])
            _report(bench, name, told[name], found)
    finally:
        judge.close()


def _report(bench: Bench, name: str, told: Sequence[Told], found: Sequence[Difference]) -> None:
    loaded, accepted = sum(t.loaded for t in told), sum(t.accepted for t in told)
    same = 1 - len(found) / len(told)
    bench.add(
        Figure(EQUALITY, f"prompts answered the same, {name}", same, "", False),
        {PLAIN: 1.0},
        {PLAIN: GOAL},
    )
    gaps = ", ".join(f"{d.gap:.3f} (prompt {d.prompt}, token {d.position})" for d in found)
    bench.run.note(
        f"{EQUALITY}, {name}: {loaded} tokens loaded, {accepted} drafted tokens accepted; "
        f"gaps of logits where answers part: {gaps or 'none'}"
    )
    if any(difference.gap > NEAR_TIE for difference in found):
        raise EngineFailed(f"{name} changed an answer, and not at a near-tie: {gaps}")
