"""Agents' model calls: the same router as at the door, in the worker's own process."""

import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace

from roost_inference.client.engine_client import ChatRequest, Completed, Delta
from roost_inference.client.routing.pool import AnyEngine
from roost_inference.errors import EngineError, QueueFull
from roost_platform.gateway.agents.events import agent_answer, inner_request
from roost_platform.gateway.agents.recording import Recorder
from roost_platform.gateway.config import BUNDLED
from roost_platform.gateway.errors import Overloaded
from roost_platform.gateway.events import Usage
from roost_platform.gateway.ids import new_call_id
from roost_platform.gateway.keys.ports import Outcome, Reservation
from roost_platform.gateway.keys.prices import Prices
from roost_platform.gateway.observing import facts
from roost_platform.gateway.routing.catalogue import Target
from roost_platform.gateway.routing.router import CallTrace, Router
from roost_platform.gateway.sizes import text_bytes

STOPPED = 499


@dataclass(slots=True)
class RoutedModels:
    """The client that turns use: EngineClient's `stream`, over every model of the gateway.

    clients: by the name of the provider, for those with OpenAI's wire. A request that names no
    model goes to the engine in use, as if there were no gateway. recorder: writes the rows.
    """

    clients: Mapping[str, AnyEngine]
    router: Router
    recorder: Recorder
    prices: Prices = field(default_factory=Prices)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        """The completion as it is generated; see EngineClient. Its row is written behind it."""
        trace = CallTrace()
        outcome: Outcome = "cancelled"
        status, code = STOPPED, "stopped"
        if request.model:
            items = self.router.route(
                request.model, trace, lambda one: self._ask(one, request), begins=_has_content
            )
        else:
            items = self.clients[BUNDLED].stream(request)
        try:
            async with contextlib.aclosing(items):
                async for item in items:
                    if not _has_content(item):
                        continue  # it says only that the answer has begun
                    if trace.first is None:
                        trace.first = time.monotonic()
                    if isinstance(item, Completed):
                        trace.usage = _usage(item)
                        trace.produced_bytes += text_bytes(
                            [one.name + one.arguments for one in item.tool_calls]
                        )
                        trace.model = item.model
                        outcome, status, code = "ok", 200, ""
                    else:
                        trace.produced_bytes += len(item.text.encode(errors="replace"))
                    yield item
        except EngineError as error:
            outcome, status, code = "failed", error.http_status, error.code
            if isinstance(error, Overloaded):  # a turn waits and tries again, as with any queue
                wait_s = error.retry_after_s or 1.0
                raise QueueFull(error.message, retry_after_s=wait_s) from error
            raise
        finally:
            await self._record(request, trace, outcome, status, code)

    def _ask(self, target: Target, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        client = self.clients.get(target.provider.name)
        if client is None:
            return agent_answer(target, inner_request(request))
        named = replace(request, model=target.model)
        if target.provider.name != BUNDLED:
            # Hints for the bundled core and vLLM, which no other provider needs to see.
            named = replace(named, session_id=None, cache_salt=None, priority=0)
        return client.stream(named, tells_start=True)

    async def _record(
        self, request: ChatRequest, trace: CallTrace, outcome: Outcome, status: int, code: str
    ) -> None:
        if trace.usage is None or not trace.usage.input_tokens:  # so its cost is estimated
            trace.prompt_bytes = text_bytes([*request.messages, *request.tools])
        wanted = Reservation(
            call_id=new_call_id(),
            key_id="",
            family="chat",
            model=request.model or BUNDLED,
            tokens=0,
            cost_microusd=0,
            session=request.session or request.session_id or "",
            agent=request.agent,
            person=request.person,
        )
        spent = self.prices.spent(wanted.call_id, trace, outcome, status, code)
        facts.tell(
            facts.CallEnded("chat", wanted.model, spent, time.time(), agent=request.agent or "-")
        )
        await self.recorder.put(wanted, spent)


def _has_content(item: Delta | Completed) -> bool:
    return isinstance(item, Completed) or bool(item.text or item.replaces)


def _usage(completed: Completed) -> Usage:
    return Usage(
        input_tokens=completed.prompt_tokens,
        cached_tokens=completed.cached_tokens,
        output_tokens=completed.completion_tokens,
    )
