"""Whatever providers and clients do, in any order: one target answers a request, and no count is
lost. Fake providers, a clock that jumps, and calls that are cancelled at any moment.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roost_inference.errors import (
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
)
from roost_platform.gateway.config import GatewayConfig, ModelConfig, ProviderConfig
from roost_platform.gateway.events import Event, Finish, Started, TextDelta
from roost_platform.gateway.request import ModelRequest, Wire
from roost_platform.gateway.routing.catalogue import Catalogue
from roost_platform.gateway.routing.health import JITTER, REFUSED_COOLDOWN_S, TargetHealth
from roost_platform.gateway.routing.router import CallTrace, Router
from roost_platform.gateway.routing.search import TRIES_MAX
from roost_platform.testing.providers.virtual_time import run_virtual

CALLS = 40
FIRST_BYTE_S = 20.0


@dataclass(slots=True)
class World:
    """What all providers have seen."""

    chance: random.Random
    faults: list[str] = field(default_factory=list)
    open: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    answered: set[str] = field(default_factory=set)
    catalogue: Catalogue | None = None

    def now(self) -> float:
        """Seconds."""
        return asyncio.get_running_loop().time()


@dataclass(slots=True)
class FakeProvider:
    """A provider that fails in every way, by chance."""

    name: str
    world: World
    most: int | None
    running: int = 0
    closed_until: dict[str, float] = field(default_factory=dict)
    wire: Wire = "openai"

    async def stream(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """One call, watched."""
        world, id = self.world, request.person
        world.asked[id] += 1
        world.open[id] += 1
        self.running += 1
        if world.open[id] > 1:
            world.faults.append(f"two targets answer {id}")
        if id in world.answered:
            world.faults.append(f"{id} is asked again after its first byte")
        if self.most is not None and self.running > self.most:
            world.faults.append(f"{self.name} has {self.running} calls")
        if world.now() < self.closed_until.get(model, 0.0):
            world.faults.append(f"{self.name}/{model} is asked while it cools down")
        try:
            async for batch in self._answer(request, model):
                yield batch
        finally:
            world.open[id] -= 1
            self.running -= 1

    async def _answer(
        self, request: ModelRequest, model: str
    ) -> AsyncGenerator[Sequence[Event], None]:
        chance = self.world.chance
        await asyncio.sleep(chance.choice((0.0, 0.1, 3.0)))
        what = chance.random()
        if what < 0.1:
            await asyncio.sleep(3600)
        if what < 0.5:
            raise self._error(model)
        yield [Started(model=model)]
        if what < 0.55:
            raise EngineUnavailable("lost before a word")
        for _ in range(chance.randint(1, 4)):
            self.world.answered.add(request.person)
            yield [TextDelta("word ")]
            await asyncio.sleep(chance.choice((0.0, 0.2, 5.0)))
            if chance.random() < 0.1:
                raise EngineFailed("broken in the middle")
        yield [Finish("stop")]

    def _error(self, model: str) -> EngineError:
        kind = self.world.chance.randrange(7)
        if kind == 0:
            wait_s = self.world.chance.choice((0.5, 2.0, 30.0))
            self._closes(model, wait_s)
            return QueueFull(retry_after_s=wait_s)
        if kind == 1:
            self._closes(model, REFUSED_COOLDOWN_S)
            return EngineRefused()
        return (PromptTooLong, InvalidRequest, EngineUnavailable, EngineFailed, EngineUnavailable)[
            kind - 2
        ]()

    def _closes(self, model: str, seconds: float) -> None:
        until = self.world.now() + seconds
        self.closed_until[model] = max(self.closed_until.get(model, 0.0), until)

    async def embed(self, body: Mapping[str, Any], model: str) -> Mapping[str, Any]:
        """Not used."""
        return {}

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """None."""
        return []

    async def close(self) -> None:
        """Nothing is open."""


def catalogue_of(world: World, chance: random.Random) -> Catalogue:
    """Three providers and three models that fall back to each other."""
    bounds = {f"p{number}": chance.choice((None, 1, 2)) for number in range(3)}
    providers = {name: FakeProvider(name, world, most) for name, most in bounds.items()}
    configs = {
        name: ProviderConfig(
            base_url="http://x/v1", concurrency=most, first_byte_timeout_s=FIRST_BYTE_S
        )
        for name, most in bounds.items()
    }
    config = GatewayConfig(
        retries=chance.randint(0, 3),
        cooldown_s=chance.choice((0.0, 1.0, 10.0)),
        failures_before_cooldown=chance.randint(1, 3),
    )
    clock = asyncio.get_running_loop().time
    catalogue = Catalogue(config, providers, configs, clock=clock, chance=chance)
    one = ("p0/a*3", {"provider": "p1", "model": "a", "order": 1}, "p2/c")
    catalogue.add(
        {
            "one": ModelConfig(targets=one, fallbacks=("two",), longer=("big",)),
            "two": ModelConfig(targets=("p1/b", "p1/a")),
            "big": ModelConfig(targets=("p2/big",), fallbacks=("two",)),
        }
    )
    return catalogue


async def simulate(seed: int) -> None:
    """Many calls at once, some of which are cancelled; then look for what is left."""
    chance = random.Random(seed)
    world = World(chance)
    catalogue = catalogue_of(world, chance)
    router = Router(catalogue)

    async def call(number: int) -> None:
        await asyncio.sleep(chance.uniform(0, 30))
        id = f"call-{number}"
        model = chance.choice(("one", "two", "big", "p0/a"))
        request = ModelRequest("chat", model, {"messages": []}, person=id)
        trace = CallTrace()
        patience_s = chance.choice((0.0, 0.05, 2.0, 500.0, 500.0))
        with contextlib.suppress(EngineError, TimeoutError):
            async with (
                asyncio.timeout(patience_s),
                contextlib.aclosing(router.stream(request, trace, {})) as batches,
            ):
                async for _ in batches:
                    pass
        assert trace.target is not None or id not in world.answered or patience_s < 500
        assert world.open[id] == 0, f"{id} is over and still asked somewhere"

    await asyncio.gather(*(call(number) for number in range(CALLS)))
    assert world.faults == []
    assert max(world.asked.values(), default=0) <= TRIES_MAX
    for model in catalogue.models.values():
        for target in model.targets:
            assert (target.health.in_flight, target.slots.in_flight) == (0, 0)
            assert (target.slots.waiting, target.health.probe) == (0, None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_one_target_answers_and_no_count_is_lost(seed: int) -> None:
    run_virtual(simulate(seed))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(("ok", "fail", "leave", "late")), st.floats(0, 20))),
    st.integers(1, 4),
)
def test_a_cooldown_keeps_its_bounds_and_one_call_probes(
    steps: list[tuple[str, float]], failures_max: int
) -> None:
    now, in_a_row, cooled_at = 0.0, 0, -1000.0
    health = TargetHealth(lambda: now, failures_max, 10.0, random.Random(1))
    old = health.begin()
    assert old is not None
    for what, passes in steps:
        now += passes
        attempt = health.begin()
        if attempt is None:
            assert now < cooled_at + 10 * (1 + JITTER)
            continue
        assert now >= cooled_at + 10 * (1 - JITTER)
        is_probe = health.state == "probing"
        assert not is_probe or health.begin() is None
        if what == "late":  # a call from before says nothing of a cooldown that came later
            until = health.cooling_until
            old.answered() if health.cooldowns else None
            old.completed() if health.cooldowns else None
            assert health.cooling_until == until
        elif what == "fail":
            attempt.failed(EngineFailed("x"))
            in_a_row += 1
            if is_probe or in_a_row >= failures_max:
                cooled_at = now
        elif what == "ok":
            attempt.answered()
            attempt.completed()
            in_a_row = 0
        attempt.leave()
        attempt.leave()
        assert health.in_flight == 1
