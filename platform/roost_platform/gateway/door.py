"""The door of the gateway: the addresses under /v1, as one small ASGI app without middleware."""

import logging
import re
from collections.abc import Awaitable, Callable, Collection, Mapping

from starlette.types import Receive, Scope, Send

from roost_inference.errors import EngineError, EngineFailed, EngineUnavailable, QueueFull
from roost_inference.http.access.origin import host_name
from roost_platform.gateway.counting import TokenCounting
from roost_platform.gateway.errors import EncodedBody, NotFoundHere, UnknownHost, Waiting
from roost_platform.gateway.exchange import Exchange
from roost_platform.gateway.families.chat.family import ChatFamily
from roost_platform.gateway.families.completions.family import CompletionsFamily
from roost_platform.gateway.families.embeddings.family import EmbeddingsFamily
from roost_platform.gateway.families.family import GenerationFamily
from roost_platform.gateway.families.messages.family import MessagesFamily
from roost_platform.gateway.families.models.listing import ModelList
from roost_platform.gateway.families.models.serving import PATH as MODELS
from roost_platform.gateway.families.models.serving import ModelPages
from roost_platform.gateway.families.responses.store import ResponseStore
from roost_platform.gateway.leaving import ClientGone
from roost_platform.gateway.observing import facts
from roost_platform.gateway.responses.endpoints import Responses
from roost_platform.gateway.serving import Serving

log = logging.getLogger(__name__)

PREFIX = "/v1/"
# Clients look there whether the gateway lives: Claude Code sends HEAD /.
BASES = ("/", "/v1", "/v1/")
_SEGMENT = re.compile(r"\{(\w+)\}")
Handler = Callable[[Exchange], Awaitable[None]]
ErrorBody = Callable[[EngineError, str], Mapping[str, object]]


class Gateway:
    """Serves every address under /v1. Errors go out in the form of the family that was asked.

    hosts: names that a Host header may have, against DNS rebinding; `*` is any.
    """

    def __init__(
        self,
        serving: Serving,
        responses: ResponseStore | None = None,
        hosts: Collection[str] = ("*",),
    ) -> None:
        self.serving = serving
        self._hosts = frozenset(hosts)
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._below: dict[tuple[str, str], Handler] = {}
        self._errors: dict[str, ErrorBody] = {}
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        self._default_error: ErrorBody = ChatFamily().error
        self.add_generation("/v1/chat/completions", ChatFamily())
        messages = MessagesFamily()
        self.add_generation("/v1/messages", messages)
        counting = TokenCounting(serving)
        self.add("POST", "/v1/messages/count_tokens", counting.answer, messages.error)
        for path in BASES:
            for method in ("GET", "HEAD"):
                self.add(method, path, _is_alive, self._default_error)
        self._responses: Responses | None = None
        if responses is not None:
            self.add_responses(Responses(serving, responses))
        self.add_generation("/v1/completions", CompletionsFamily())
        self.add_generation("/v1/embeddings", EmbeddingsFamily())
        catalogue = serving.router.catalogue
        self._models = ModelList(catalogue, catalogue.clock)
        pages = ModelPages(serving.keys, self._models)
        self.add("GET", MODELS, pages.list, self._default_error)
        self.add_below("GET", f"{MODELS}/", pages.one)

    def add_generation(self, path: str, family: GenerationFamily) -> None:
        """Serve POST on this address by a family."""

        async def generate(exchange: Exchange) -> None:
            await self.serving.generate(exchange, family)

        self.add("POST", path, generate, family.error)

    def add_responses(self, responses: Responses) -> None:
        """Serve responses, and close them with the gateway."""
        self._responses = responses
        one = "/v1/responses/{id}"
        for method, path, handler in (
            ("POST", "/v1/responses", responses.create),
            ("POST", "/v1/responses/input_tokens", responses.count),
            ("POST", "/v1/responses/compact", responses.compact),
            ("GET", one, responses.retrieve),
            ("DELETE", one, responses.delete),
            ("GET", f"{one}/input_items", responses.items),
            ("POST", f"{one}/cancel", responses.cancel),
        ):
            self.add(method, path, handler, responses.error)

    async def close(self) -> None:
        """End what runs without a client."""
        await self._models.close()
        if self._responses is not None:
            await self._responses.close()

    def add(self, method: str, path: str, handler: Handler, error: ErrorBody) -> None:
        """Serve an address; `{name}` in it stands for a segment, which is a parameter then."""
        if "{" in path and path not in self._errors:
            self._patterns.append((re.compile(_SEGMENT.sub(r"(?P<\1>[^/]+)", path)), path))
        self._handlers[method, path] = handler
        self._errors[path] = error

    def add_below(self, method: str, prefix: str, handler: Handler) -> None:
        """Serve all addresses that begin like this: names of models have slashes."""
        self._below[method, prefix] = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send)
        path = self._address(exchange)
        handler = self._handlers.get((exchange.method, path)) or self._above(exchange)
        try:
            if (
                "*" not in self._hosts
                and host_name(exchange.headers.get("host", "")) not in self._hosts
            ):
                raise UnknownHost
            if handler is None:
                raise self._unknown(exchange, path)
            await handler(exchange)
        except ClientGone:
            pass
        except EngineError as error:
            await self._refuse(exchange, path, error)
        except Exception:
            log.exception("request %s failed", exchange.request_id)
            await self._refuse(exchange, path, EngineFailed("The gateway has failed; see its log"))

    async def _refuse(self, exchange: Exchange, path: str, error: EngineError) -> None:
        """Answer with an error, unless the answer has begun: then it was its last event."""
        if exchange.has_begun:
            return
        facts.tell(facts.RequestRefused(error.code))
        error_body = self._errors.get(path) or self._unknown_s_form(exchange)
        body = error_body(error, exchange.request_id)
        await exchange.answer(body, status=error.http_status, headers=_headers(error))

    def _unknown_s_form(self, exchange: Exchange) -> ErrorBody:
        """The form of an error about an address that is not served: the client's own."""
        is_anthropic_s = "anthropic-version" in exchange.headers
        return self._errors["/v1/messages"] if is_anthropic_s else self._default_error

    def _address(self, exchange: Exchange) -> str:
        """The path as it was added."""
        if exchange.path not in self._errors:
            for pattern, path in self._patterns:
                if match := pattern.fullmatch(exchange.path):
                    exchange.parameters = match.groupdict()
                    return path
        return exchange.path

    def _above(self, exchange: Exchange) -> Handler | None:
        for (method, prefix), handler in self._below.items():
            if method == exchange.method and exchange.path.startswith(prefix):
                return handler
        return None

    def _unknown(self, exchange: Exchange, path: str) -> EngineError:
        methods = sorted(method for method, added in self._handlers if added == path)
        if methods:
            error = NotFoundHere(f"{exchange.path} takes {', '.join(methods)}")
            error.http_status, error.code = 405, "method_not_allowed"
            return error
        return NotFoundHere(f"There is no {exchange.method} {exchange.path[:200]}")


async def _is_alive(exchange: Exchange) -> None:
    await exchange.answer({"status": "ok"})


def _headers(error: EngineError) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    retry_after_s: float | None = None
    if isinstance(error, Waiting | QueueFull | EngineUnavailable):
        retry_after_s = error.retry_after_s
    if retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(retry_after_s)))
    elif error.http_status == 503:
        headers["retry-after"] = "1"
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, EncodedBody):
        headers["accept-encoding"] = "identity"
    return headers
