"""Routes HTTP requests to Bot API methods: token, encodings, envelope, faults and waits."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from roost_channels.testing.dispatch import Dispatcher
from roost_channels.testing.file_response import file_response
from roost_channels.testing.loopback import Call
from roost_channels.testing.telegram.errors import BotApiError, too_many_requests
from roost_channels.testing.telegram.methods import ALL_METHODS, DescribedResult
from roost_channels.testing.telegram.parameters import Parameters, from_request
from roost_channels.testing.telegram.state.core import METHODS, TelegramCore

NOT_FOUND = BotApiError(404, "Not Found")
assert ALL_METHODS  # importing their package registers the methods


class BotDispatcher(Dispatcher[TelegramCore]):
    """Answers /bot<token>/<method> and /file/bot<token>/<path>."""

    garbage = '{"ok":true,"result":'
    wait_s_min = 1

    def __init__(self, core: TelegramCore, token: str) -> None:
        super().__init__(core)
        self._token = token

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; requests without a valid token are not recorded."""
        path = unquote(request.path)
        if path.startswith("/file/bot"):
            return self._file(path.removeprefix("/file/bot"))
        if not path.startswith("/bot"):
            return _refused(NOT_FOUND)
        token, slash, name = path.removeprefix("/bot").partition("/")
        if not slash:
            return _refused(NOT_FOUND)
        problem = self._token_problem(token)
        if problem is not None:
            return _refused(problem)
        try:
            parameters = await from_request(request)
        except BotApiError as error:
            return _refused(error)
        name = name.strip("/") or parameters.text("method")
        call = Call(name, parameters.recorded(), self._core.now())
        return await self.perform(request, call, lambda: self.execute(name, parameters))

    def _token_problem(self, token: str) -> BotApiError | None:
        if ":" not in token or token.startswith("0") or len(token) > 80:
            return BotApiError(401, "Unauthorized: invalid token specified")
        return None if token == self._token else BotApiError(401, "Unauthorized")

    def error_for(self, kind: str, wait_s: int) -> BotApiError:
        """The Bot API's error for a fault."""
        errors = {
            "http_500": BotApiError(500, "Internal Server Error"),
            "unauthorized": BotApiError(401, "Unauthorized"),
        }
        return errors.get(kind) or too_many_requests(wait_s)

    def announce_wait(self, call: Call, wait_s: int) -> None:
        """Remember the wait in the bucket of flood control that the call belongs to."""
        self._core.flood.announce(_buckets(call)[0], self._core.now() + wait_s)

    def wait_until(self, call: Call) -> float:
        """When the longest wait of the call's buckets ends."""
        return max(self._core.flood.wait_until(bucket) for bucket in _buckets(call))

    def make_response(self, call: Call, headers: Mapping[str, str]) -> web.Response:
        """The call's response; a `retry_after` in its body is also in the Retry-After header."""
        wait_s = call.response.get("parameters", {}).get("retry_after")
        return super().make_response(call, {"Retry-After": str(wait_s)} if wait_s else headers)

    async def execute(self, name: str, parameters: Parameters) -> tuple[int, dict[str, Any]]:
        """Run a method by its name; returns the HTTP status and the envelope.

        The responses to webhooks may name methods too.
        """
        function = METHODS.get(name.lower())
        try:
            if function is None:
                raise BotApiError(404, "Not Found: method not found")
            result = await function(self._core, parameters)
        except BotApiError as error:
            return error.code, error.body()
        if isinstance(result, DescribedResult):
            return 200, {"ok": True, "result": result.result, "description": result.description}
        return 200, {"ok": True, "result": result}

    def _file(self, rest: str) -> web.StreamResponse:
        token, _, path = rest.partition("/")
        if token != self._token:
            return _refused(BotApiError(401, "Unauthorized"))
        for file in self._core.world.files.values():
            if file.path == path and file.path_until >= self._core.now():
                return file_response(file.data, "")
        return _refused(NOT_FOUND)


def _buckets(call: Call) -> tuple[str, ...]:
    """The flood buckets of a call, the narrowest first."""
    chat = call.parameters.get("chat_id", "")
    name = call.method.lower()
    if name in ("sendchataction", "sendmessagedraft", "sendrichmessagedraft"):
        return (f"typing:{chat}",)
    if name.startswith("edit"):
        return (f"edit:{chat}",)
    if name.startswith("send") or name == "createforumtopic":
        return (f"send:{chat}", "send")
    return (f"{name}:{chat}",) if chat else (name,)


def _refused(error: BotApiError) -> web.Response:
    """The response to a request that is not recorded as a call."""
    return web.json_response(error.body(), status=error.code)
