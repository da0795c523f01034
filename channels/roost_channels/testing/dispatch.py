"""Answers named API calls: injects faults, announces waits, and keeps the record of calls."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import ceil
from typing import Any, Generic, TypeVar

from aiohttp import web

from roost_channels.http.bodies import parse_json
from roost_channels.testing.faults import CALL_FAULTS, Fault, whole_seconds
from roost_channels.testing.loopback import (
    BAD_GATEWAY_HTML,
    Call,
    cut_body,
    cut_connection,
)
from roost_channels.testing.state import FakeState

# The HTTP status, and the body: JSON, None, or a whole response.
HttpResult = tuple[int, Any]
# The HTTP method, a pattern for the whole path, and the name of the call.
Route = tuple[str, re.Pattern[str], str]
UNKNOWN_CALL = "unknown"
ERROR_FAULTS = ("http_500", "rate_limit", "unauthorized")


class ApiError(Exception):
    """A provider refuses a call; the dispatcher turns it into a response."""

    status: int

    def body(self) -> dict[str, Any]:
        """The JSON body of the response, in the provider's words."""
        raise NotImplementedError


def resolve(routes: Sequence[Route], request: web.Request) -> tuple[str, dict[str, str]]:
    """The name of the call and the named groups of its path; UNKNOWN_CALL when no route fits."""
    for verb, pattern, name in routes:
        match = pattern.fullmatch(request.path)
        if match and verb == request.method:
            return name, {key: value for key, value in match.groupdict().items() if value}
    return UNKNOWN_CALL, {}


async def read_json(request: web.Request) -> Any:
    """The request's body when it is valid JSON, else None."""
    if request.content_type != "application/json" or not request.can_read_body:
        return None
    try:
        return parse_json(await request.read())
    except ValueError:
        return None


CoreT = TypeVar("CoreT", bound=FakeState)


class Dispatcher(Generic[CoreT]):
    """Performs calls and injects the faults for them; subclasses know the provider.

    garbage: the start of a JSON body that breaks off. wait_s_min: the wait of a rate_limit fault
    without a value.
    """

    garbage = "{"
    wait_s_min = 0

    def __init__(self, core: CoreT) -> None:
        self._core = core
        self._waits: dict[str, float] = {}

    async def perform(
        self, request: web.Request, call: Call, work: Callable[[], Awaitable[HttpResult]]
    ) -> web.StreamResponse:
        """Record a call, do its work and make the response, unless a fault strikes."""
        core = self._core
        core.log.calls.append(call)
        fault = core.faults.take(call.method, CALL_FAULTS)

        async def carry_out() -> web.StreamResponse:
            try:
                return await self._perform_with_fault(request, call, fault, work)
            finally:
                call.finished_at = core.now()
                core.changed()

        if fault is not None and fault.kind == "delay":
            # The work goes on when the caller hangs up meanwhile.
            return await asyncio.shield(core.faults.delayed.start(carry_out()))
        return await carry_out()

    async def _perform_with_fault(
        self,
        request: web.Request,
        call: Call,
        fault: Fault | None,
        work: Callable[[], Awaitable[HttpResult]],
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
        if fault is not None and kind in ERROR_FAULTS:
            return self._refuse(call, kind, fault.value)
        try:
            call.status, call.response = await work()
        except ApiError as error:
            call.status, call.response = error.status, error.body()
        if kind == "drop_after":
            return cut_connection(request)
        if kind == "garbage":
            return web.Response(text=self.garbage, content_type="application/json")
        response = self.make_response(call, {})
        return await cut_body(request, response) if kind == "cut_body" else response

    def _refuse(self, call: Call, kind: str, value: float) -> web.Response:
        wait_s = 0
        if kind == "rate_limit":
            wanted_s = whole_seconds(value) if value > 0 else self.wait_s_min
            # A call inside an earlier wait gets at least the rest of that wait.
            wait_s = max(wanted_s, ceil(self.wait_until(call) - self._core.now()))
        if wait_s:
            self.announce_wait(call, wait_s)
        error = self.error_for(kind, wait_s)
        call.status, call.response = error.status, error.body()
        return self.make_response(call, {"Retry-After": str(wait_s)} if wait_s else {})

    def make_response(self, call: Call, headers: Mapping[str, str]) -> web.Response:
        """The HTTP response of a call; the record keeps its body only when that is JSON."""
        if isinstance(call.response, web.Response):
            response, call.response = call.response, None
            return response
        if call.response is None:
            return web.Response(status=call.status, headers=headers)
        return web.Response(
            status=call.status,
            text=json.dumps(call.response, ensure_ascii=False),
            content_type="application/json",
            headers=headers,
        )

    def error_for(self, kind: str, wait_s: int) -> ApiError:
        """The provider's error for a fault of the kinds in ERROR_FAULTS."""
        raise NotImplementedError

    def announce_wait(self, call: Call, wait_s: int) -> None:
        """Remember the wait that a response asks for, so that early calls are noticed."""
        self._waits[call.method] = self._core.now() + wait_s

    def wait_until(self, call: Call) -> float:
        """When the wait that earlier responses asked of this call ends."""
        return self._waits.get(call.method, 0.0)

    def is_early(self, call: Call) -> bool:
        """Whether the call came before the end of such a wait."""
        return self._core.now() < self.wait_until(call)
