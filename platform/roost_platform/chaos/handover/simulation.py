"""Requests over scripted engines on a virtual clock; a seed decides who dies at which step."""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from roost_inference.client.routing.control import Control
from roost_inference.client.routing.engines import RoutedEngine
from roost_inference.client.routing.facts import CachedTokens, EngineSummary, Handover
from roost_inference.client.routing.route import Route, RoutedCall
from roost_inference.client.routing.router import EngineRouter
from roost_inference.errors import EngineError, EngineUnavailable
from roost_inference.testing.peers.scripted import (
    LEASE_S,
    STEPS,
    ScriptedPeer,
    answer_to,
    prompt_text,
)
from roost_platform.chaos.sim.loop import Livelock, VirtualLoop

REQUESTS: Final = 14
SESSIONS: Final = 4
TRIES_MAX: Final = 4  # of whoever asks, as turns do
ANSWER_S_MAX: Final = 600.0
FIRST_WORDS: Final = (3, 60, 400, 1500)


@dataclass(slots=True)
class Outcome:
    """What became of one seed. steps: how often each was reached; kills: where engines died."""

    seed: int
    answered: int = 0
    errors: int = 0
    cancelled: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def simulate(seed: int) -> Outcome:
    """Run one seed; the same seed gives the same outcome."""
    logging.disable(logging.CRITICAL)
    loop = VirtualLoop()
    outcome = Outcome(seed)
    try:
        loop.run_until_complete(_World(outcome).run())
        outcome.violations += loop.unhandled
    except Livelock as error:
        outcome.violations.append(f"stuck: {error}")
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.close()
        logging.disable(logging.NOTSET)
    return outcome


class Wire(Control):
    """The way of one router to one engine, which is cut when the router's process dies."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.is_cut = False
        self._peer = peer

    async def close(self) -> None:
        """See Control."""

    async def summary(self) -> EngineSummary | None:
        """See Control."""
        return await self._checked().summary()

    async def sessions(self) -> list[str]:
        """See Control."""
        return await self._checked().sessions()

    async def lookup(self, body: Mapping[str, Any], session_id: str | None) -> CachedTokens:
        """See Control."""
        await asyncio.sleep(0.001)
        return await self._checked().lookup(body, session_id)

    async def prefill(self, body: Mapping[str, Any]) -> Handover:
        """See Control."""
        offer = await self._checked().prefill(body)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.001)
        self._checked()
        return offer

    async def renew(self, request_id: str) -> bool:
        """See Control."""
        return await self._checked().renew(request_id)

    async def release(self, request_id: str) -> None:
        """See Control."""
        await asyncio.sleep(0.001)
        await self._checked().release(request_id)

    def _checked(self) -> ScriptedPeer:
        if self.is_cut:
            raise EngineUnavailable("this router is dead")
        return self._peer


class _World:
    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._rng = rng = random.Random(outcome.seed)
        speed = rng.choice((0.5, 5.0, 20.0))
        self._decode = [self._peer(f"d{n}", speed) for n in range(rng.randint(1, 3))]
        self._prefill = [self._peer(f"p{n}", speed / 10) for n in range(rng.randint(1, 2))]
        for engine in self._decode:
            engine.peers = {one.name: one for one in self._prefill}
        # How often each step is passed before somebody dies there.
        self._deaths = {step: [rng.randint(0, 6)] for step in rng.sample(STEPS, rng.randint(1, 4))}
        self._texts = {f"s{n}": self._words(rng.choice(FIRST_WORDS)) for n in range(SESSIONS)}
        self._wires: list[Wire] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._router = self._new_router()

    async def run(self) -> None:
        """Ask, kill, let all end, and look what is left."""
        for number in range(REQUESTS):
            task = asyncio.create_task(self._ask(number))
            self._asking.add(task)
            await asyncio.sleep(self._rng.expovariate(1.0))
            if self._rng.random() < 0.1:
                task.cancel()
            if self._rng.random() < 0.08:
                self._kill_router()
        await asyncio.wait(self._asking)
        for task in self._asking:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._outcome.violations.append(f"no answer and no error of an engine: {error!r}")
        await self._look()

    def _peer(self, name: str, ms_per_token: float) -> ScriptedPeer:
        return ScriptedPeer(name, ms_per_token=ms_per_token, at=self._at)

    def _new_router(self) -> EngineRouter:
        return EngineRouter(
            [self._engine(one, "decode") for one in self._decode],
            [self._engine(one, "prefill") for one in self._prefill],
            on_step=lambda step, engine: self._outcome.steps.update((step,)),
        )

    def _engine(self, peer: ScriptedPeer, duty: Any) -> RoutedEngine:
        wire = Wire(peer)
        self._wires.append(wire)
        return RoutedEngine(f"http://{peer.name}", duty, wire, _now)

    def _at(self, step: str, engine: ScriptedPeer) -> None:
        """Perhaps somebody dies here: the engine itself, the other one, or the router."""
        self._outcome.steps[step] += 1
        waits = self._deaths.get(step)
        if not waits:
            return
        waits[0] -= 1
        if waits[0] >= 0:
            return
        self._deaths.pop(step)
        victims = [engine, *self._rng.sample(self._decode + self._prefill, 1)]
        victim = self._rng.choice(victims)
        self._outcome.kills[step] += 1
        if self._rng.random() < 0.2:
            asyncio.get_running_loop().call_soon(self._kill_router)
            return
        victim.die()
        asyncio.get_running_loop().call_later(self._rng.uniform(0.1, 20.0), victim.revive)

    def _kill_router(self) -> None:
        """The process of the router dies: nothing more is sent, and its requests are gone."""
        self._outcome.kills["router"] += 1
        for wire in self._wires:
            wire.is_cut = True
        self._wires.clear()
        for task in self._asking:
            task.cancel()
        self._router = self._new_router()

    async def _ask(self, number: int) -> None:
        session = f"s{self._rng.randrange(SESSIONS)}"
        self._texts[session] += f" and {self._words(self._rng.choice((1, 5, 200)))}"
        body = {"messages": [{"role": "user", "content": self._texts[session]}]}
        expected = answer_to(prompt_text(body))
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                text = await self._answered(RoutedCall(body, session))
        except asyncio.CancelledError:
            self._outcome.cancelled += 1
            raise
        except EngineError:
            self._outcome.errors += 1
            return
        self._outcome.answered += 1
        if text.strip() != expected:
            self._outcome.violations.append(f"request {number}: {text!r} is not {expected!r}")

    async def _answered(self, call: RoutedCall) -> str:
        """The answer, asked for again as turns do."""
        for left in reversed(range(TRIES_MAX)):
            words: list[str] = []
            try:
                items = self._router.stream(call, lambda route: self._say(route, call), bool)
                async with contextlib.aclosing(items):
                    async for word in items:
                        words.append(word)
                return "".join(words)
            except EngineUnavailable:
                if not left:
                    raise
                await asyncio.sleep(self._rng.uniform(0.5, 5.0))
        raise AssertionError("unreachable")

    async def _say(self, route: Route, call: RoutedCall) -> AsyncGenerator[str, None]:
        peer = next(one for one in self._decode if one.name == route.engine.name)
        async with contextlib.aclosing(peer.answer(call.body, route.params)) as words:
            async for word in words:
                yield word
        route.used(len(prompt_text(call.body).split()), 8)

    async def _look(self) -> None:
        """What must hold once nobody asks any more, while the router still lives."""
        told = self._outcome.violations
        for engine in (*self._decode, *self._prefill):
            engine.revive()
        await asyncio.sleep(1.0)
        if self._router.leases.count:
            told.append(f"the router holds {self._router.leases.count} leases of no request")
        for one in (*self._router.decode, *self._router.prefill):
            if one.in_flight or one.queued_tokens:
                told.append(f"{one.name} has {one.in_flight} requests that nobody made")
        renewed = [peer.told.count("renew") for peer in self._prefill]
        await asyncio.sleep(2 * LEASE_S)
        if left := sum(peer.live_leases() for peer in self._prefill):
            told.append(f"{left} leases are left after twice their time")
        if renewed != [peer.told.count("renew") for peer in self._prefill]:
            told.append("a lease is renewed that nobody waits for")
        await self._router.close()

    def _words(self, count: int) -> str:
        return " ".join(self._rng.choice(("red", "blue", "green", "grey")) for _ in range(count))


def _now() -> float:
    return asyncio.get_running_loop().time()
