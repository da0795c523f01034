"""From a named call to its answer: the faults ordered for it, the waits, the record."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import web

from roost_channels.testing.clock import Clock
from roost_channels.testing.faults import CALL_FAULTS, Fault, FaultBook, whole_seconds
from roost_channels.testing.loopback import (
    BAD_GATEWAY_HTML,
    Call,
    CallLog,
    cut_body,
    cut_connection,
)

Answer = tuple[int, Any]
REFUSED = ("http_500", "rate_limit", "unauthorized")


class Refusal(Exception):
    """A call is refused; each provider words it in its own way. Never leaves a fake."""

    status: int

    def body(self) -> dict[str, Any]:
        raise NotImplementedError


class Dispatched(Protocol):
    """The part of a fake's state that this file needs."""

    clock: Clock
    faults: FaultBook
    log: CallLog
    event: asyncio.Event

    def now(self) -> float: ...

    def changed(self) -> None: ...


CoreT = TypeVar("CoreT", bound=Dispatched)


class Dispatcher(Generic[CoreT]):
    """Does the work of calls, with the trouble that was ordered. Subclasses know the provider.

    garbage: an answer that breaks off. wait_s_min: what a rate limit without a wait asks for.
    """

    garbage = "{"
    wait_s_min = 0

    def __init__(self, core: CoreT) -> None:
        self._core = core
        self._waits: dict[str, float] = {}

    async def perform(
        self, request: web.Request, call: Call, work: Callable[[], Awaitable[Answer]]
    ) -> web.StreamResponse:
        """Answer a call by its work: (HTTP status, body as JSON, or a whole response)."""
        core = self._core
        core.log.calls.append(call)
        fault = core.faults.take(call.method, CALL_FAULTS)

        async def carry_out() -> web.StreamResponse:
            try:
                return await self._strike(request, call, fault, work)
            finally:
                call.finished_at = core.now()
                core.changed()

        if fault is not None and fault.kind == "delay":
            # A caller that hangs up meanwhile, or dies, takes nothing back.
            return await asyncio.shield(core.faults.delayed.start(carry_out()))
        return await carry_out()

    async def _strike(
        self,
        request: web.Request,
        call: Call,
        fault: Fault | None,
        work: Callable[[], Awaitable[Answer]],
    ) -> web.StreamResponse:
        call.fault = kind = fault.kind if fault else ""
        call.early = self.is_early(call)
        if kind == "drop_before":
            return cut_connection(request)
        if fault is not None and kind == "delay":
            await self._core.clock.sleep(fault.value)
        if kind == "http_502":
            call.status, call.response = 502, BAD_GATEWAY_HTML
            return web.Response(status=502, text=BAD_GATEWAY_HTML, content_type="text/html")
        if fault is not None and kind in REFUSED:
            return self._refuse(call, kind, fault.value)
        try:
            call.status, call.response = await work()
        except Refusal as refusal:
            call.status, call.response = refusal.status, refusal.body()
        if kind == "drop_after":
            return cut_connection(request)
        if kind == "garbage":
            return web.Response(text=self.garbage, content_type="application/json")
        answer = self.answer(call, {})
        return await cut_body(request, answer) if kind == "cut_body" else answer

    def _refuse(self, call: Call, kind: str, value: float) -> web.Response:
        wait_s = 0
        if kind == "rate_limit":
            asked_s = whole_seconds(value) if value > 0 else self.wait_s_min
            # Who asks again inside a wait is told what is left of it, never less.
            wait_s = max(asked_s, ceil(self.wait_until(call) - self._core.now()))
        if wait_s:
            self.announce(call, wait_s)
        refusal = self.refusal(kind, wait_s)
        call.status, call.response = refusal.status, refusal.body()
        return self.answer(call, {"Retry-After": str(wait_s)} if wait_s else {})

    def answer(self, call: Call, headers: Mapping[str, str]) -> web.Response:
        """The call's response as HTTP; one that is no JSON is not kept in the record."""
        if isinstance(call.response, web.Response):
            made, call.response = call.response, None
            return made
        if call.response is None:
            return web.Response(status=call.status, headers=headers)
        return web.Response(
            status=call.status,
            text=json.dumps(call.response, ensure_ascii=False),
            content_type="application/json",
            headers=headers,
        )

    def refusal(self, kind: str, wait_s: int) -> Refusal:
        """The provider's own words for one of `REFUSED`."""
        raise NotImplementedError

    def announce(self, call: Call, wait_s: int) -> None:
        """The answer asks for a wait: from now on we know who ignores it."""
        self._waits[call.method] = self._core.now() + wait_s

    def wait_until(self, call: Call) -> float:
        """When the wait that earlier answers asked such a call for is over."""
        return self._waits.get(call.method, 0.0)

    def is_early(self, call: Call) -> bool:
        """Whether the call came inside a wait that an answer had asked for."""
        return self._core.now() < self.wait_until(call)
