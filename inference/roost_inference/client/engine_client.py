"""The client of any OpenAI-compatible engine: the bundled core, vLLM, Ollama or a hosted one.

Iterate `stream` inside `contextlib.aclosing`, or cancel the task: either closes the connection at
once, which is how an engine learns to stop.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import httpx2

from roost_inference.client.assembly import AnswerAssembly, Completed, Delta, ToolCall
from roost_inference.client.chat_request import ChatRequest, body_of
from roost_inference.client.dialects.parameters import (
    MODELS_MAX,
    REFUSABLE,
    refused_parameter,
    without,
)
from roost_inference.client.events import events_of
from roost_inference.client.network import is_loopback, network_errors
from roost_inference.client.refusals import json_of, refusal
from roost_inference.errors import (
    EngineError,
    EngineFailed,
    EngineUnavailable,
    UnknownModel,
)

log = logging.getLogger(__name__)

__all__ = ["ChatRequest", "Completed", "Delta", "EngineClient", "ToolCall"]

CONNECT_TIMEOUT_S = 5.0
# Between two reads. Engines without keep-alive comments are silent while they read a long prompt.
READ_TIMEOUT_S = 300.0
PROBE_TIMEOUT_S = 5.0
# Below the 5 s after which servers close idle connections, so that none is used while it closes.
IDLE_CONNECTION_S = 2.0
# Ours and vLLM's, unknown to many engines: one that refuses a field by name is not sent it again.
OPTIONAL_FIELDS = ("cache_salt", "priority", "stream_options")
# Those that may be left out at any time. vLLM refuses a priority if its settings say so, and only
# one other than 0, so the first refusal may come after many answers.
HARMLESS_FIELDS = frozenset({"priority"})
BODY_BYTES_MAX = 2**20
KEY_BYTES_MIN = 8  # a shorter key may be any word of an answer


class EngineClient:
    """Talks to one engine. `base_url` with or without a path; without one, /v1 is meant.

    Raises roost_inference.errors: EngineUnavailable where the engine can't be reached, is starting,
    or the connection is lost, also in mid-stream; EngineRefused where it refuses our key or our
    account; QueueFull; InvalidRequest and its kinds.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        model: str = "",
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        url = httpx2.URL(base_url.rstrip("/"))
        self._api = str(url if url.path.strip("/") else url.copy_with(path="/v1")).rstrip("/")
        self._root = self._api.removesuffix("/v1")
        self._model = model
        self._served_model = ""
        self._unknown_fields: set[str] = set()
        self._refused_parameters: dict[str, frozenset[str]] = {}  # by model
        self._was_accepted = False
        self._key = api_key.encode()
        headers = {"accept-encoding": "identity"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(
                read_timeout_s, connect=connect_timeout_s, write=connect_timeout_s * 6, pool=None
            ),
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=IDLE_CONNECTION_S),
            # No proxy of the environment stands between two processes of one machine.
            trust_env=not is_loopback(url.host),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def stream(
        self, request: ChatRequest, *, tells_start: bool = False
    ) -> AsyncGenerator[Delta | Completed, None]:
        """Text as it comes, then one Completed, always the last item.

        tells_start: an empty Delta comes with the engine's first event, which may be no text.
        """
        body = await self._body(request)
        headers = {"x-session-id": request.session_id} if request.session_id else {}
        url = f"{self._api}/chat/completions"
        answer = AnswerAssembly(body["model"], _names_of(request.tools))
        with network_errors():
            async with (
                self._accepted(url, body, headers) as response,
                contextlib.aclosing(events_of(response)) as events,
            ):
                async for event in events:
                    if event.is_end:
                        answer.end_mark()
                        break
                    delta = answer.add(event.value, is_event_error=event.is_error)
                    if delta.text or delta.replaces or tells_start:
                        tells_start = False
                        yield delta
            held_back = answer.end()
            if held_back.text or held_back.replaces:
                yield held_back
            completed = answer.completed()
        yield completed

    async def complete(self, request: ChatRequest) -> Completed:
        """The whole answer."""
        return await whole_answer(self.stream(request))

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Any other request of the engine's own, such as `/v1/sessions`: status, headers, body.

        Raises EngineUnavailable. Cut off beyond BODY_BYTES_MAX.
        """
        url = f"{self._api}{path[3:]}" if path.startswith("/v1/") else f"{self._root}{path}"
        with network_errors():
            async with self._http.stream(method, url, json=body, timeout=PROBE_TIMEOUT_S) as reply:
                return reply.status_code, reply.headers, await self._read(reply)

    async def health(self) -> dict[str, Any]:
        """The engine's own /health, or {"status": "ok", …} for engines that have none like it.

        A bundled engine that is loading says {"status": "starting"}. Raises EngineUnavailable.
        """
        status, headers, body = await self.call("GET", "/health")
        value = json_of(body)
        if isinstance(value, dict) and isinstance(value.get("status"), str):
            return value
        if status == 200:
            return {"status": "ok"}
        if status in (401, 403, 404, 405):
            models = await self.models()
            return {"status": "ok", "model": self._model or next(iter(models), "")}
        raise refusal(status, headers, body)

    async def models(self) -> list[str]:
        """Names of the models the engine serves."""
        status, headers, body = await self.call("GET", "/v1/models")
        if status != 200:
            raise refusal(status, headers, body)
        value = json_of(body)
        entries = value.get("data") if isinstance(value, dict) else None
        if not isinstance(entries, list):
            raise EngineFailed("The engine's list of models is not in OpenAI's form")
        return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]

    async def _body(self, request: ChatRequest) -> dict[str, Any]:
        """The request on the wire. Fields that hosted engines refuse are sent only when set."""
        body = body_of(request, request.model or await self._model_name())
        body = without(body, self._refused_parameters.get(body["model"], ()))
        return {name: value for name, value in body.items() if name not in self._unknown_fields}

    @contextlib.asynccontextmanager
    async def _accepted(
        self, url: str, body: dict[str, Any], headers: Mapping[str, str]
    ) -> AsyncIterator[httpx2.Response]:
        """A response with status 200. Repeats the request without the fields the engine refuses."""
        left_out: set[str] = set()
        parameters: set[str] = set()
        for _ in range(1 + len(OPTIONAL_FIELDS) + len(REFUSABLE)):
            async with self._http.stream("POST", url, json=body, headers=headers) as response:
                if response.status_code == 200:
                    self._was_accepted = True
                    self._unknown_fields |= left_out
                    self._learn(body["model"], parameters)
                    yield response
                    return
                text = await self._read(response)
            if name := refused_parameter(response.status_code, json_of(text), body):
                parameters.add(name)
                body = without(body, (name,))
                continue
            unknown = self._refused_fields(response.status_code, text, body)
            if not unknown:
                break
            left_out |= unknown
            body = {name: value for name, value in body.items() if name not in unknown}
        raise self._refused(response, text)

    def _learn(self, model: str, refused: set[str]) -> None:
        """Remember what a model does not take, for the requests after this one."""
        if refused:
            log.warning("the model %s does not take %s", model, ", ".join(sorted(refused)))
            known = self._refused_parameters.pop(model, frozenset())
            self._refused_parameters[model] = known | refused
        while len(self._refused_parameters) > MODELS_MAX:
            del self._refused_parameters[next(iter(self._refused_parameters))]

    def _refused_fields(self, status: int, text: bytes, body: Mapping[str, Any]) -> set[str]:
        """The optional fields that a refusal names. Once the engine has accepted a request, only
        harmless ones: a refusal may quote what people write, which must not switch the salt off.
        """
        if status not in (400, 422):
            return set()
        named = {name for name in OPTIONAL_FIELDS if name in body and name.encode() in text}
        return named & HARMLESS_FIELDS if self._was_accepted else named

    async def _model_name(self) -> str:
        """The configured model, else the first one the engine serves."""
        if self._model:
            return self._model
        if not self._served_model:
            names = await self.models()
            if not names:
                raise EngineUnavailable("The engine serves no model")
            self._served_model = names[0]
        return self._served_model

    async def _read(self, response: httpx2.Response) -> bytes:
        """At most BODY_BYTES_MAX of the body; the rest is left unread and the connection closed.

        Some engines repeat a refused key in their error, which people and logs must not see.
        """
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) >= BODY_BYTES_MAX:
                break
        if len(self._key) >= KEY_BYTES_MIN:
            body = body.replace(self._key, b"[key]")
        return body[:BODY_BYTES_MAX]

    def _refused(self, response: httpx2.Response, body: bytes) -> EngineError:
        error = refusal(response.status_code, response.headers, body)
        if isinstance(error, UnknownModel) and not self._model:
            # The settings name no model, so the engine serves another one than when we looked.
            self._served_model = ""
            return EngineUnavailable(f"The engine's model has changed: {error.message}")
        return error


async def whole_answer(stream: AsyncGenerator[Delta | Completed, None]) -> Completed:
    """The end of a stream, which is read until then. Raises EngineFailed where it has none."""
    async with contextlib.aclosing(stream) as items:
        async for item in items:
            if isinstance(item, Completed):
                return item
    raise EngineFailed("The stream ended without an answer")


def _names_of(tools: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    functions = (tool.get("function") for tool in tools)
    return frozenset(str(one.get("name")) for one in functions if isinstance(one, Mapping))
