"""What both fakes share: a server's life, faults to order, and the record of calls."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, Self

from aiohttp import web

from roost_channels.testing.faults import Fault, FaultBook, FaultKind, FaultPlan
from roost_channels.testing.loopback import Call, CallLog, LoopbackServer, until


class Watched(Protocol):
    """The part of a fake's state that this file needs."""

    faults: FaultBook
    log: CallLog
    event: asyncio.Event


class Fake:
    """An async context manager around one loopback server; subclasses fill in the provider."""

    core: Watched
    _server: LoopbackServer
    restarts: int = 0
    _restarting: asyncio.Future[None] | None = None

    def _build(self) -> None:
        """Make the state and the parts around it anew."""
        raise NotImplementedError

    async def _start_parts(self) -> None:
        """Start what runs beside the server."""

    async def _stop_parts(self) -> None:
        """Stop it again."""

    async def start(self) -> None:
        await self._server.start()
        await self._start_parts()

    async def stop(self) -> None:
        if self._restarting is not None:
            await self._restarting
        await self._stop_parts()
        await self.core.faults.delayed.stop()
        await self._server.stop()

    async def start_in_process(self) -> None:
        """Everything but the socket: requests come through `handle`; `stop_in_process` ends it."""
        await self._start_parts()

    async def stop_in_process(self) -> None:
        await self._stop_parts()

    async def handle(self, request: Any) -> web.StreamResponse:
        """Answer one request, whoever carried it here."""
        return await self._server.handler(request)

    async def restart(self, down_s: float = 0.0) -> None:
        """The provider goes away for a while: connections are refused, nothing is forgotten."""
        await self._server.restart(down_s)
        self.restarts += 1

    def start_restart(self, down_s: float = 0.0) -> None:
        """The same, without waiting for it."""
        self._restarting = asyncio.ensure_future(self.restart(down_s))

    async def reset(self) -> None:
        """Forget all that happened; address, credentials and settings stay."""
        await self._stop_parts()
        self._build()
        await self._start_parts()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        return self._server.base_url

    @property
    def calls(self) -> list[Call]:
        """Every call that came in, oldest first."""
        return list(self.core.log.calls)

    def calls_of(self, method: str) -> list[Call]:
        return self.core.log.named(method)

    @property
    def early_calls(self) -> list[Call]:
        """Calls made inside a wait that a 429 had asked for."""
        return [call for call in self.core.log.calls if call.early]

    async def until(self, predicate: Callable[[], Any], timeout_s: float = 10.0) -> None:
        """Wait (in real time) until the predicate holds; TimeoutError otherwise."""
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
        """Order trouble for the next calls of `method`.

        Events on their way to us have names too: on Telegram the kind of update (`message`,
        `callback_query`…) takes duplicate_update and out_of_order; on Twilio `inbound` and `status`
        take these, drop_before and delay.
        """
        self.core.faults.add(Fault(kind, method, count, value, skip))

    def random_faults(self, seed: int, rate: float, **more: Any) -> FaultPlan:
        """Strike calls and events at random, repeatably; `more` as in FaultPlan, whose `struck`
        counts what happened. Faults that were ordered go first.
        """
        self.core.faults.plan = FaultPlan(seed, rate, **more)
        return self.core.faults.plan

    def clear_faults(self) -> None:
        self.core.faults.clear()
