"""The client of several engines: like EngineClient, with a router that says which one answers."""

import contextlib
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from roost_inference.client.chat_request import ChatRequest, body_of
from roost_inference.client.engine_client import Completed, Delta, EngineClient, whole_answer
from roost_inference.client.refusals import json_of
from roost_inference.client.routing.control import HttpControl
from roost_inference.client.routing.engines import EngineState, RoutedEngine
from roost_inference.client.routing.route import Route, RoutedCall
from roost_inference.client.routing.router import EngineRouter
from roost_inference.errors import EngineError, EngineUnavailable

SESSIONS: Final = "/v1/sessions"
T = TypeVar("T")
Answer = tuple[int, Mapping[str, str], bytes]


def open_router(
    decode: Sequence[str],
    prefill: Sequence[str] = (),
    *,
    api_key: str = "",
    on_step: Callable[[str, str], None] = lambda step, engine: None,
) -> EngineRouter:
    """A router over the engines at these addresses; all take the same key."""
    clock = time.monotonic
    return EngineRouter(
        [RoutedEngine(url, "decode", HttpControl(url, api_key), clock) for url in decode],
        [RoutedEngine(url, "prefill", HttpControl(url, api_key), clock) for url in prefill],
        on_step=on_step,
    )


class EnginePool:
    """Talks to several engines; what it offers and raises is EngineClient's.

    decode: addresses of the engines that answer. prefill: of those that read long prompts for them.
    """

    def __init__(
        self,
        decode: Sequence[str],
        prefill: Sequence[str] = (),
        *,
        api_key: str = "",
        model: str = "",
        on_step: Callable[[str, str], None] = lambda step, engine: None,
    ) -> None:
        self.router = open_router(decode, prefill, api_key=api_key, on_step=on_step)
        self._clients = {
            engine.name: EngineClient(engine.url, api_key=api_key, model=model)
            for engine in self.router.decode
        }

    async def close(self) -> None:
        """Close every connection; offers that nobody has taken are given back first."""
        await self.router.close()
        for client in self._clients.values():
            await client.close()

    def states(self) -> tuple[EngineState, ...]:
        """Every engine for people."""
        return self.router.states()

    async def stream(
        self, request: ChatRequest, *, tells_start: bool = False
    ) -> AsyncGenerator[Delta | Completed, None]:
        """See EngineClient."""

        def ask(route: Route) -> AsyncGenerator[Delta | Completed, None]:
            return self._ask(route, request)

        call = RoutedCall(body_of(request, ""), request.session_id)
        async with contextlib.aclosing(self.router.stream(call, ask, _has_content)) as items:
            async for item in items:
                if tells_start or _has_content(item):
                    yield item

    async def complete(self, request: ChatRequest) -> Completed:
        """The whole answer."""
        return await whole_answer(self.stream(request))

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Any other request. About one session, it goes to the engine that knows it; the list of
        sessions is that of all engines."""
        where = urlsplit(path)
        if where.path == SESSIONS and method == "GET":
            return await self._all_sessions(path, parse_qs(where.query))
        if where.path.startswith(f"{SESSIONS}/"):
            return await self._of_session(method, path, body)
        return await self._first(lambda client: client.call(method, path, body))

    async def health(self) -> dict[str, Any]:
        """The health of the first engine that is up, and `engines` with the state of each."""
        health = await self._first(lambda client: client.health())
        for engine in (*self.router.decode, *self.router.prefill):
            engine.refresh()
        return {**health, "engines": [_report(state) for state in self.states()]}

    async def models(self) -> list[str]:
        """Names of the models of the first engine that is up."""
        return await self._first(lambda client: client.models())

    async def _ask(
        self, route: Route, request: ChatRequest
    ) -> AsyncGenerator[Delta | Completed, None]:
        if route.params:
            own = request.extra.get("kv_transfer_params") or {}
            extra = {**request.extra, "kv_transfer_params": {**own, **route.params}}
            request = replace(request, extra=extra)
        stream = self._clients[route.engine.name].stream(request, tells_start=True)
        async with contextlib.aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Completed):
                    route.used(item.prompt_tokens, item.completion_tokens)
                yield item

    async def _first(self, ask: Callable[[EngineClient], Awaitable[T]]) -> T:
        """See EngineRouter.ask_first."""
        return await self.router.ask_first(lambda engine: ask(self._clients[engine.name]))

    async def _of_session(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        """The answer of the engine that knows the session; 404 where none does."""
        quoted = urlsplit(path).path.removeprefix(f"{SESSIONS}/").partition("/")[0]
        session = unquote(quoted)
        answer: Answer | None = None
        error: EngineError | None = None
        for engine in self.router.in_order(self.router.home(session)):
            try:
                answer = await self._clients[engine.name].call(method, path, body)
            except EngineUnavailable as unavailable:
                error = unavailable
                continue
            if answer[0] != 404:
                return answer
        if answer is not None:
            return answer
        assert error is not None
        raise error

    async def _all_sessions(self, path: str, query: Mapping[str, Sequence[str]]) -> Answer:
        """One list of the sessions of all engines, the most recently used last."""
        entries: list[dict[str, Any]] = []
        last: Answer | None = None
        error: EngineError | None = None
        for client in self._clients.values():
            try:
                last = await client.call("GET", path)
            except EngineUnavailable as unavailable:
                error = unavailable
                continue
            value = json_of(last[2]) if last[0] == 200 else None
            listed = value.get("data") if isinstance(value, dict) else None
            if not isinstance(listed, list):
                return last
            entries += [one for one in listed if isinstance(one, dict)]
        if last is None:
            assert error is not None
            raise error
        entries.sort(key=lambda one: -float(one.get("idle_s") or 0.0))
        limit = int(next(iter(query.get("limit", ())), 0) or 0)
        data = entries[-limit:] if limit else entries
        return 200, {}, json.dumps({"object": "list", "data": data}).encode()


AnyEngine = EngineClient | EnginePool


def _has_content(item: Delta | Completed) -> bool:
    return isinstance(item, Completed) or bool(item.text or item.replaces)


def _report(state: EngineState) -> dict[str, Any]:
    return {
        "name": state.name,
        "duty": state.duty,
        "role": state.role,
        "state": state.state,
        "problem": state.problem,
        "compat": state.compat,
        "running": state.running,
        "waiting": state.waiting,
    }
