"""Routes chat requests over several engines, and has prompts read where that is sooner done."""

import asyncio
import contextlib
import random
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

from roost_inference.client.routing.choosing import Candidate, choose
from roost_inference.client.routing.engines import EngineState, RoutedEngine
from roost_inference.client.routing.handover import HandoverPlanner
from roost_inference.client.routing.lease import LeaseKeeper
from roost_inference.client.routing.prefixes import PrefixIndex, PromptChain, is_large
from roost_inference.client.routing.route import ELSEWHERE, Route, RoutedCall
from roost_inference.errors import EngineError, EngineUnavailable

SESSIONS_KEPT: Final = 16_384

T = TypeVar("T")
Said = TypeVar("Said")
Ask = Callable[[Route], AsyncGenerator[T, None]]


class EngineRouter:
    """Over the engines that answer, in the order of the settings, and those that only read prompts.

    on_step: is told of each step of each request, for tests. counts: steps since the start.
    """

    def __init__(
        self,
        decode: Sequence[RoutedEngine],
        prefill: Sequence[RoutedEngine] = (),
        *,
        on_step: Callable[[str, str], None] = lambda step, engine: None,
    ) -> None:
        self.decode = list(decode)
        self.prefill = list(prefill)
        self.counts: Counter[str] = Counter()
        self.leases = LeaseKeeper()
        self._prefixes = PrefixIndex()
        self._homes: OrderedDict[str, str] = OrderedDict()
        self._on_step = on_step
        self._planner = HandoverPlanner(self.prefill, self._prefixes, self.leases, self.step)
        if len(self.decode) > 1:
            for engine in self.decode:
                engine.on_sessions = self._settle

    def states(self) -> tuple[EngineState, ...]:
        """Every engine for people."""
        return tuple(engine.state for engine in (*self.decode, *self.prefill))

    def home(self, session_id: str) -> str | None:
        """The engine that has the session's KV, None if none is known."""
        return self._homes.get(session_id)

    def in_order(self, first: str | None = None) -> list[RoutedEngine]:
        """The engines that answer: that of the name `first`, then those that are up, then the
        others."""
        return sorted(self.decode, key=lambda one: (one.name != first, one.health.state != "up"))

    async def ask_first(self, ask: Callable[[RoutedEngine], Awaitable[Said]]) -> Said:
        """What the first engine says that can be reached. Raises the last EngineUnavailable."""
        error: EngineUnavailable | None = None
        for engine in self.in_order():
            try:
                return await ask(engine)
            except EngineUnavailable as unavailable:
                error = unavailable
        assert error is not None  # there is at least one engine
        raise error

    async def learn(self) -> None:
        """Ask all engines for their figures and wait for them; what fails is tried again later."""
        await asyncio.gather(*(one.refreshed() for one in (*self.decode, *self.prefill)))

    async def close(self) -> None:
        """Give back what is offered, and close every connection of the router's own."""
        await self.leases.close()
        for engine in (*self.decode, *self.prefill):
            await engine.close()

    async def stream(
        self, call: RoutedCall, ask: Ask[T], has_content: Callable[[T], bool]
    ) -> AsyncGenerator[T, None]:
        """What the chosen engine says when it is asked this way. Raises EngineError.

        An engine that fails before its answer has content is followed by the next one; each is
        tried once.
        """
        chain = await chain_of(call)
        failed: set[str] = set()
        has_started = False
        while True:
            route = await self._route(call, chain, failed)
            try:
                async with contextlib.aclosing(ask(route)) as items:
                    async for item in items:
                        if has_content(item):
                            self._begin(call, route)
                        elif has_started and not route.has_begun:
                            continue  # the start of an answer is told once
                        has_started = True
                        yield item
                return
            except EngineError as error:
                route.failed(error)
                failed.add(route.engine.name)
                self.step("failed", route.engine.name)
                is_last = len(failed) >= len(self.decode)
                if route.has_begun or is_last or not isinstance(error, ELSEWHERE):
                    raise
            finally:
                # Whoever reads may leave with the last item, which tells what the answer took.
                if route.prompt_tokens:
                    self._end(route)
                route.leave()

    def step(self, step: str, engine: str) -> None:
        """A request has come so far."""
        self.counts[step] += 1
        self._on_step(step, engine)

    async def _route(self, call: RoutedCall, chain: PromptChain, failed: Collection[str]) -> Route:
        """The next try: the engine, and the offer it takes along."""
        for engine in (*self.decode, *self.prefill):
            engine.refresh()
        engine = self._chosen(call, chain, failed)
        is_sound = engine.health.is_open  # for one that is down nothing is read elsewhere
        route = Route(engine, chain)
        try:
            if self.prefill and is_sound:
                route.lease = await self._planner.offer(call, route)
        except BaseException:
            route.leave()
            raise
        self.step("sent", route.engine.name)
        return route

    def _chosen(
        self, call: RoutedCall, chain: PromptChain, failed: Collection[str]
    ) -> RoutedEngine:
        if len(self.decode) == 1:
            return self.decode[0]
        left = [one for one in self.decode if one.name not in failed]
        # Where all are down, the one that may be back first is asked: it may be back already.
        open_ones = [one for one in left if one.health.is_open] or [
            min(left, key=lambda one: one.health.until)
        ]
        candidates = [
            Candidate(one.name, one.load, self._prefixes.known(one.name, chain))
            for one in open_ones
        ]
        name = choose(
            candidates, home=self._homes.get(call.session_id or ""), key=_key(call, chain)
        )
        return next(one for one in open_ones if one.name == name)

    def _begin(self, call: RoutedCall, route: Route) -> None:
        if route.has_begun:
            return
        route.begun()
        if call.session_id:
            self._settle(route.engine.name, [call.session_id], is_newer=True)
        self.step("begun", route.engine.name)

    def _end(self, route: Route) -> None:
        self._prefixes.learn(
            route.engine.name, route.chain, route.prompt_tokens, route.written_tokens
        )
        self.step("ended", route.engine.name)

    def _settle(self, engine: str, sessions: list[str], *, is_newer: bool = False) -> None:
        """The engine has these sessions. What this router has seen itself counts more than what an
        engine lists, which may be old."""
        for session in sessions:
            if is_newer or session not in self._homes:
                self._homes[session] = engine
                self._homes.move_to_end(session)
        while len(self._homes) > SESSIONS_KEPT:
            self._homes.popitem(last=False)


async def chain_of(call: RoutedCall) -> PromptChain:
    """The names of the request's beginnings; those of a large one are made on another thread."""
    if is_large(call.body):
        return await asyncio.to_thread(PromptChain.of, call.body)
    return PromptChain.of(call.body)


def _key(call: RoutedCall, chain: PromptChain) -> str:
    """What decides between equal engines: the session, else how the conversation begins."""
    if call.session_id:
        return call.session_id
    return chain.names[0].hex() if chain.names else str(random.random())
