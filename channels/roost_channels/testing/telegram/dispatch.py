"""From HTTP to a method and back: token, encodings, envelope, faults, record."""

import json
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from roost_channels.testing.faults import CALL_FAULTS, Fault, whole_seconds
from roost_channels.testing.loopback import BAD_GATEWAY_HTML, Call, cut_body, cut_connection
from roost_channels.testing.telegram.core import METHODS, Core
from roost_channels.testing.telegram.errors import BotApiError, too_many_requests
from roost_channels.testing.telegram.methods import ALL_METHODS, Described
from roost_channels.testing.telegram.parameters import Parameters, from_request

NOT_FOUND = BotApiError(404, "Not Found")
assert ALL_METHODS  # importing the package registers the methods


class Dispatcher:
    """Answers /bot<token>/<method> and /file/bot<token>/<path>."""

    def __init__(self, core: Core, token: str) -> None:
        self._core = core
        self._token = token

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = unquote(request.path)
        if path.startswith("/file/bot"):
            return self._file(path.removeprefix("/file/bot"))
        if not path.startswith("/bot"):
            return _answer(404, NOT_FOUND.envelope())
        token, slash, name = path.removeprefix("/bot").partition("/")
        if not slash:
            return _answer(404, NOT_FOUND.envelope())
        problem = self._token_problem(token)
        if problem is not None:
            return _answer(problem.code, problem.envelope())
        try:
            parameters = await from_request(request)
        except BotApiError as error:
            return _answer(error.code, error.envelope())
        name = name.strip("/") or parameters.text("method")
        call = Call(name, parameters.recorded(), self._core.now())
        self._core.log.calls.append(call)
        fault = self._core.faults.take(name, CALL_FAULTS)
        try:
            return await self._perform(request, name, parameters, call, fault)
        finally:
            call.finished_at = self._core.now()
            self._core.changed()

    def _token_problem(self, token: str) -> BotApiError | None:
        if ":" not in token or token.startswith("0") or len(token) > 80:
            return BotApiError(401, "Unauthorized: invalid token specified")
        return None if token == self._token else BotApiError(401, "Unauthorized")

    async def _perform(
        self,
        request: web.Request,
        name: str,
        parameters: Parameters,
        call: Call,
        fault: Fault | None,
    ) -> web.StreamResponse:
        call.fault = fault.kind if fault else ""
        if fault is not None:
            if fault.kind == "delay":
                await self._core.clock.sleep(fault.value)
            elif fault.kind == "drop_before":
                return cut_connection(request)
            elif fault.kind == "http_502":
                call.status, call.response = 502, BAD_GATEWAY_HTML
                return web.Response(status=502, text=BAD_GATEWAY_HTML, content_type="text/html")
            elif fault.kind in ("http_500", "unauthorized", "rate_limit"):
                self._refuse(call, fault)
                return _answer(call.status, call.response)
        call.status, call.response = await self.execute(name, parameters, call)
        if fault is not None and fault.kind == "drop_after":
            return cut_connection(request)
        if fault is not None and fault.kind == "garbage":
            return web.Response(text='{"ok":true,"result":', content_type="application/json")
        answer = _answer(call.status, call.response)
        if fault is not None and fault.kind == "cut_body":
            return await cut_body(request, answer)
        return answer

    def _refuse(self, call: Call, fault: Fault) -> None:
        errors = {
            "http_500": BotApiError(500, "Internal Server Error"),
            "unauthorized": BotApiError(401, "Unauthorized"),
        }
        error = errors.get(fault.kind) or too_many_requests(whole_seconds(fault.value))
        if fault.kind == "rate_limit":
            call.early = self._is_early(call)
            until = self._core.now() + error.parameters["retry_after"]
            self._core.flood.announce(_buckets(call)[0], until)
        call.status, call.response = error.code, error.envelope()

    def _is_early(self, call: Call) -> bool:
        flood, now = self._core.flood, self._core.now()
        return any(flood.inside_wait(bucket, now) for bucket in _buckets(call))

    async def execute(
        self, name: str, parameters: Parameters, call: Call | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Run a method; also used for calls that come in the answer to a webhook."""
        function = METHODS.get(name.lower())
        try:
            if function is None:
                raise BotApiError(404, "Not Found: method not found")
            if call is not None:
                call.early = self._is_early(call)
            result = await function(self._core, parameters)
        except BotApiError as error:
            return error.code, error.envelope()
        if isinstance(result, Described):
            return 200, {"ok": True, "result": result.result, "description": result.description}
        return 200, {"ok": True, "result": result}

    def _file(self, rest: str) -> web.StreamResponse:
        token, _, path = rest.partition("/")
        if token != self._token:
            return _answer(401, BotApiError(401, "Unauthorized").envelope())
        for file in self._core.world.files.values():
            if file.path == path and file.path_until >= self._core.now():
                return web.Response(body=file.data, content_type="application/octet-stream")
        return _answer(404, NOT_FOUND.envelope())


def _buckets(call: Call) -> tuple[str, ...]:
    """The waits a call falls under when a fault or a limit announced one, the narrowest first."""
    chat = call.parameters.get("chat_id", "")
    name = call.method.lower()
    if name in ("sendchataction", "sendmessagedraft", "sendrichmessagedraft"):
        return (f"typing:{chat}",)
    if name.startswith("edit"):
        return (f"edit:{chat}",)
    if name.startswith("send") or name == "createforumtopic":
        return (f"send:{chat}", "send")
    return (f"{name}:{chat}",) if chat else (name,)


def _answer(status: int, body: dict[str, Any]) -> web.Response:
    headers = {}
    retry_after = body.get("parameters", {}).get("retry_after")
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return web.Response(
        status=status,
        text=json.dumps(body, ensure_ascii=False),
        content_type="application/json",
        headers=headers,
    )
