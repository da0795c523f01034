"""The base of all fakes: start and stop, faults, and the record of calls."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

from roost_channels.testing.faults import Fault, FaultKind, FaultPlan
from roost_channels.testing.loopback import Call, LoopbackServer, until
from roost_channels.testing.state import FakeState


class Fake:
    """An async context manager around one loopback server; subclasses are the providers."""

    core: FakeState
    _server: LoopbackServer
    restarts: int = 0
    _restarting: asyncio.Future[None] | None = None

    def _build(self) -> None:
        """Create the state and the parts around it again."""
        raise NotImplementedError

    async def _start_parts(self) -> None:
        """Start the parts that run beside the server."""

    async def _stop_parts(self) -> None:
        """Stop the parts that run beside the server."""

    async def start(self) -> None:
        """Start the server and the parts beside it."""
        await self._server.start()
        await self._start_parts()

    async def stop(self) -> None:
        """Stop everything; delayed calls are cancelled."""
        if self._restarting is not None:
            await self._restarting
        await self._stop_parts()
        await self.core.faults.delayed.stop()
        await self._server.stop()

    async def start_in_process(self) -> None:
        """Start without a socket: pass requests to `handle`, end with `stop_in_process`."""
        await self._start_parts()

    async def stop_in_process(self) -> None:
        """Stop the parts that `start_in_process` started."""
        await self._stop_parts()

    async def handle(self, request: Any) -> web.StreamResponse:
        """Answer one request, as the server does."""
        return await self._server.handler(request)

    async def restart(self, down_s: float = 0.0) -> None:
        """Refuse connections for `down_s` seconds, then serve again with the same state."""
        await self._server.restart(down_s)
        self.restarts += 1

    def start_restart(self, down_s: float = 0.0) -> None:
        """Start `restart` as a task."""
        self._restarting = asyncio.ensure_future(self.restart(down_s))

    async def reset(self) -> None:
        """Forget everything that happened; address, credentials and settings stay."""
        await self._stop_parts()
        self._build()
        await self._start_parts()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def state_number(self) -> int:
        """Changes whenever the state does."""
        return self.core.number

    @property
    def state_event(self) -> asyncio.Event:
        """Set by the next change of the state."""
        return self.core.event

    @property
    def base_url(self) -> str:
        """The server's URL without a path; RuntimeError before the start."""
        return self._server.base_url

    @property
    def calls(self) -> list[Call]:
        """The calls that came in, oldest first."""
        return list(self.core.log.calls)

    def calls_of(self, method: str) -> list[Call]:
        """The calls of one method, oldest first; compared without regard to case."""
        return self.core.log.named(method)

    @property
    def early_calls(self) -> list[Call]:
        """The calls made inside a wait that a 429 asked for."""
        return [call for call in self.core.log.calls if call.early]

    async def until(self, predicate: Callable[[], Any], timeout_s: float = 10.0) -> None:
        """Wait, in real time, until the predicate holds; TimeoutError otherwise."""
        await until(lambda: self.core.event, predicate, timeout_s)

    def fault(
        self,
        kind: FaultKind,
        method: str = "*",
        *,
        count: int = 1,
        value: float = 0.0,
        skip: int = 0,
    ) -> None:
        """Inject a fault into the next calls of `method`; see Fault for the fields.

        The events that a fake sends have names too. On Telegram they are the kinds of updates
        (`message`, `callback_query` and so on) and take duplicate_update and out_of_order. On
        WhatsApp they are `inbound` and `status` and take drop_before, delay and duplicate_update;
        those of FakeTwilio take out_of_order as well.
        """
        self.core.faults.add(Fault(kind, method, count, value, skip))

    def random_faults(self, seed: int, rate: float, **more: Any) -> FaultPlan:
        """Inject random faults that the seed repeats; injected single faults go first.

        more: the other fields of FaultPlan. The plan's `struck` counts the faults so far.
        """
        self.core.faults.plan = FaultPlan(seed, rate, **more)
        return self.core.faults.plan

    def clear_faults(self) -> None:
        """Remove all faults that have not struck yet."""
        self.core.faults.clear()
