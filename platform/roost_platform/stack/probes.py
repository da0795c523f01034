"""Whether a port or a URL answers: one attempt each, with its own time limit."""

import asyncio
import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from roost_inference.client.refusals import refusal
from roost_platform.data_folder.engine_key import engine_key
from roost_platform.settings.config import WILDCARDS, Settings

TIMEOUT_S = 3.0
LIFE_TIMEOUT_S = 2.0  # for a sign of life
ANSWER_BYTES_MAX = 1 << 20


def reach(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
    return "127.0.0.1" if host in WILDCARDS else host


def port_answers(address: str) -> bool:
    """Whether something accepts connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((reach(host), int(port)), TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True


def get_json(
    url: str, *, token: str = "", body: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    """(status, answer) of a GET, or of a POST of `body`; status 0 when nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return response.status, _object(response.read(ANSWER_BYTES_MAX))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _object(error.read(ANSWER_BYTES_MAX))
    except (OSError, ValueError, http.client.HTTPException):
        return 0, {}


def engine_problem(settings: Settings) -> str:
    """Why the engine can't be used; empty when it can. Another engine need not have /health."""
    key = engine_key(settings)
    base = settings.engine_url.replace("//0.0.0.0:", "//127.0.0.1:")
    root = base if base.endswith("/v1") else f"{base}/v1"
    status, body = get_json(f"{base}/health", token=key)
    if status == 503 and body.get("status") == "starting":
        return "the model is still loading"
    if status not in (200, 401, 403, 404):
        return f"{base} answers {status}" if status else f"{base} does not answer"
    status, body = get_json(f"{root}/models", token=key)
    if problem := _refusal(root, status, body, key):
        return problem
    if status != 200:
        return f"{root}/models answers {status or 'nothing'}"
    served = [one.get("id") for one in body.get("data") or () if isinstance(one, dict)]
    wanted = settings.engine.model_name
    if settings.engine.url and wanted and served and wanted not in served:
        return f"{root} serves no model {wanted!r}; ROOST_ENGINE__MODEL_NAME is wrong"
    return _chat_problem(settings, root, key) if settings.engine.url else ""


def _chat_problem(settings: Settings, root: str, key: str) -> str:
    """Why another engine refuses to answer; some name their models without a key.

    A request without messages is refused after the key and the model are checked, and costs
    nothing.
    """
    model = settings.engine.model_name
    request = {"model": model or "none", "messages": [], "max_tokens": 1}
    status, body = get_json(f"{root}/chat/completions", token=key, body=request)
    if status == 404 and model:
        return f"{root} has no model {model!r} (404); check ROOST_ENGINE__MODEL_NAME"
    return _refusal(root, status, body, key)


def _refusal(root: str, status: int, body: Mapping[str, Any], key: str) -> str:
    """What a refusal means for the operator, then the engine's own words; empty for others."""
    if status == 402:
        meaning = f"{root} asks for payment; look at the account's balance there"
    elif status not in (401, 403):
        return ""
    elif key:
        meaning = f"{root} refuses the key; ROOST_ENGINE__API_KEY must be the engine's"
    else:
        meaning = f"{root} asks for a key; set ROOST_ENGINE__API_KEY"
    words = refusal(status, {}, json.dumps(body).encode()).message
    return f"{meaning}: HTTP {status}: {words}"


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def tcp_probe(port: int) -> Callable[[], Awaitable[bool]]:
    """A probe that is true when something accepts connections at this port."""

    async def probe() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    return probe


def http_probe(url: str, *, any_status: bool = False) -> Callable[[], Awaitable[bool]]:
    """A probe that is true when the URL answers 200; with `any_status`, when it answers at all."""

    def get() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=LIFE_TIMEOUT_S) as response:
                return any_status or bool(response.status == 200)
        except urllib.error.HTTPError:
            return any_status
        except (OSError, urllib.error.URLError):
            return False

    async def probe() -> bool:
        return await asyncio.to_thread(get)

    return probe
