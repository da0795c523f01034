"""kill -9 of engines that hand KV over, and of the router, at every step; answers must be equal."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from roost_platform.chaos.handover.asking import ANSWER_TOKENS
from roost_platform.chaos.handover.engines import LEASE_S, Asker, EngineProcess, running_engines
from roost_platform.chaos.handover.report import KillReport

Victim = Literal["prefill", "decode", "router"]
VICTIMS: Final[tuple[Victim, ...]] = ("prefill", "decode", "router")


@dataclass(frozen=True, slots=True)
class Point:
    """Where somebody dies: so long after the router has told this step, in seconds."""

    step: str
    least_s: float = 0.0
    most_s: float = 0.0


POINTS: Final[Mapping[str, Point]] = {
    "before the offer": Point("asked", 0.0, 0.3),
    "after the offer": Point("offered"),
    "while it is fetched": Point("sent", 0.0, 0.02),
    "before the first token": Point("sent", 0.02, 0.1),
    "in the stream": Point("word", 0.0, 0.03),
    "about the release": Point("begun"),
}
ANSWER_S: Final = 300.0
LEASES_S: Final = 2 * LEASE_S
PROMPTS: Final = 2
PROMPTS_TRIED_MAX: Final = 40
MARGIN_MIN: Final = 0.45  # nats; chunks of another length have changed a lead of 0.14
WORDS: Final = 260
TELL_S: Final = 20.0
NOUNS: Final = (
    *("river", "lamp", "garden", "engine", "letter", "window", "market", "bridge", "ladder"),
    *("winter", "story", "kitchen", "planet", "mirror", "harbour", "violin"),
)


def storm_of_kills(seed: int, count: int, folder: Path) -> KillReport:
    """Kill `count` times, at each point and each of the three as often as the others."""
    began = time.monotonic()
    with running_engines(folder) as (decode, prefill):
        kills = _Kills(seed, decode, prefill)
        try:
            kills.run(plan_of(seed, count))
        finally:
            kills.asker.stop()
    kills.report.wall_s = time.monotonic() - began
    return kills.report


def plan_of(seed: int, count: int) -> Sequence[tuple[str, Victim]]:
    """The points and who dies there, in three rounds all of them: each round has each point."""
    rng = random.Random(seed)
    plan: list[tuple[str, Victim]] = []
    while len(plan) < count:
        points = rng.sample(list(POINTS), len(POINTS))
        for turn in range(len(VICTIMS)):
            plan += [
                (point, VICTIMS[(place + turn) % len(VICTIMS)])
                for place, point in enumerate(points)
            ]
    return plan[:count]


class _Kills:
    def __init__(self, seed: int, decode: EngineProcess, prefill: EngineProcess) -> None:
        self.report = KillReport(seed)
        self.asker = Asker(decode, prefill)
        self._decode = decode
        self._prefill = prefill
        self._rng = random.Random(seed)
        self._tried = 0
        self._prompts: list[tuple[str, str]] = []
        while len(self._prompts) < PROMPTS:
            self._find_prompt()

    def run(self, plan: Sequence[tuple[str, Victim]]) -> None:
        """Each prompt twice: undisturbed in the end, so that engines are seen to work again."""
        told = time.monotonic()
        for number, (point, victim) in enumerate(plan):
            self._once(number, point, victim)
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                print(f"  {number + 1} of {len(plan)} kills", flush=True)
        self._once(len(plan), "", None)

    def _once(self, number: int, point: str, victim: Victim | None) -> None:
        place = number % PROMPTS
        prompt, expected = self._prompts[place]
        asked = {"id": number, "prompt": prompt, "salt": f"k{number}"}
        self.asker.ask(asked)
        self.report.requests += 1
        text = self._answer(asked, point, victim)
        if text != expected:
            died = f"{victim} {point}" if victim else "nobody"
            self.report.wrong.append(f"prompt {number}, {died}: {text!r} is not {expected!r}")
        if victim != "prefill":  # what it kept is gone with it
            self._until_no_lease(number)

    def _answer(self, asked: dict[str, Any], point: str, victim: Victim | None) -> str | None:
        """The answer in the end, after the kill and the return of whoever died."""
        has_killed = victim is None
        for told in self._told():
            if "answer" in told:
                self.report.fetched += told["fetched"] > 0
                answer: str | None = told["answer"]
                return answer
            step = told["step"]
            self.report.offers += step == "offered"
            if not has_killed and victim is not None and step == POINTS[point].step:
                has_killed = True
                time.sleep(self._rng.uniform(POINTS[point].least_s, POINTS[point].most_s))
                self.report.kills[f"{victim} {point}"] += 1
                self._kill(victim, asked)
        return None

    def _kill(self, victim: Victim, asked: dict[str, Any]) -> None:
        if victim == "router":
            self.asker.kill()
            self.asker = Asker(self._decode, self._prefill)
            self.asker.ask(asked)
            return
        engine = self._prefill if victim == "prefill" else self._decode
        engine.kill()
        engine.start()

    def _told(self) -> Iterator[dict[str, Any]]:
        while (told := self.asker.next(ANSWER_S)) is not None:
            yield told

    def _until_no_lease(self, number: int) -> None:
        deadline = time.monotonic() + LEASES_S
        while (left := self._prefill.leases()) and time.monotonic() < deadline:
            time.sleep(0.05)
        if left:
            self.report.leases += left
            self.report.wrong.append(f"prompt {number}: {left} leases after twice their time")

    def _find_prompt(self) -> None:
        """Add a prompt with the answer of an engine that reads it itself. Where two tokens are
        almost equally likely, any other way of computing may change the answer: such a prompt shows
        nothing."""
        self._tried += 1
        prompt = self._prompt(self._tried)
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": ANSWER_TOKENS,
            "ignore_eos": True,
            "cache_salt": "alone",
        }
        text, margin = self._decode.write(body)
        if margin >= MARGIN_MIN or self._tried > PROMPTS_TRIED_MAX:
            self._prompts.append((prompt, text))

    def _prompt(self, number: int) -> str:
        words = " ".join(self._rng.choice(NOUNS) for _ in range(WORDS))
        return f"List {number}: {words}. What is the capital of France?"
