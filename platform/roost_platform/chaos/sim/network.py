"""The network between processes and providers: latency, strikes, and requests under way."""

import asyncio
import random
from collections.abc import Callable

from aiohttp import web

from roost_channels.testing.fake import Fake
from roost_channels.testing.faults import Fault
from roost_channels.testing.inprocess import Exchange, LocalRequest, serve_request
from roost_platform.chaos.sim.life import Life, outside
from roost_platform.chaos.sim.plan import Plan

LATENCY_S = (0.002, 0.01, 0.05, 0.3)
_LONG_POLLS = ("/getUpdates",)


class Network:
    """Counts calls and strikes those of the plan; a request that left outlives its sender."""

    def __init__(self, plan: Plan, rng: random.Random, calm: Callable[[], bool]) -> None:
        self._strikes = {strike.call: strike for strike in plan.strikes}
        self._rng = rng
        self._calm = calm
        self._calls = 0

    def to(self, fake: Fake, life: Life) -> Exchange:
        """The connection of a process to a provider."""

        async def exchange(request: LocalRequest, timeout_s: float) -> web.Response:
            await life.point()
            under_way: asyncio.Task[web.Response] = outside(self._arrive(fake, request))
            try:
                answer = await asyncio.wait_for(asyncio.shield(under_way), timeout_s)
            except TimeoutError:
                _ignored(under_way)
                raise
            except asyncio.CancelledError:
                if request.path.endswith(_LONG_POLLS):
                    under_way.cancel()  # a poller that hangs up ends its poll
                _ignored(under_way)
                raise
            await life.point()
            return answer

        return exchange

    async def _arrive(self, fake: Fake, request: LocalRequest) -> web.Response:
        await asyncio.sleep(self._rng.choice(LATENCY_S))
        self._calls += 1
        strike = self._strikes.get(self._calls)
        if strike is not None and not self._calm():
            fake.core.faults.add(Fault(strike.kind, "*", 1, strike.value))
        try:
            answer = await serve_request(fake.handle, request)
        finally:
            await asyncio.sleep(self._rng.choice(LATENCY_S))
        return answer


def _ignored(task: "asyncio.Task[web.Response]") -> None:
    """Ignore the outcome: nobody waits for it any more."""
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
