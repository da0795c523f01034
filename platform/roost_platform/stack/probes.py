"""Whether a port or a URL answers: one attempt each, with its own time limit."""

import json
import socket
import urllib.error
import urllib.request
from typing import Any

from roost_inference.client.refusals import refusal
from roost_platform.data_folder.engine_key import engine_key
from roost_platform.settings.config import Settings

TIMEOUT_S = 3.0
REFUSED = (401, 402, 403)
WILDCARDS = ("0.0.0.0", "::", "")


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


def get_json(url: str, *, token: str = "") -> tuple[int, dict[str, Any]]:
    """(status, body) of a GET; status 0 when nobody answers."""
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return response.status, _object(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _object(error.read())
    except (OSError, ValueError):
        return 0, {}


def engine_problem(settings: Settings) -> str:
    """Why the engine can't be used; empty when it can. Another engine need not have /health."""
    key = engine_key(settings)
    base = settings.engine_url.replace("//0.0.0.0:", "//127.0.0.1:")
    status, body = get_json(f"{base}/health", token=key)
    if status == 503 and body.get("status") == "starting":
        return "the model is still loading"
    if status not in (200, 401, 403, 404):
        return f"{base} answers {status}" if status else f"{base} does not answer"
    root = base if base.endswith("/v1") else f"{base}/v1"
    status, body = get_json(f"{root}/models", token=key)
    if status in REFUSED:
        words = refusal(status, {}, json.dumps(body).encode()).message
        return (
            f"{root} refuses the key; ROOST_ENGINE__API_KEY is the engine's: HTTP {status}: {words}"
        )
    if status != 200:
        return f"{root}/models answers {status or 'nothing'}"
    served = [one.get("id") for one in body.get("data") or () if isinstance(one, dict)]
    wanted = settings.engine.model_name
    if settings.engine.url and wanted and served and wanted not in served:
        return f"{root} serves no model {wanted!r}; ROOST_ENGINE__MODEL_NAME is wrong"
    return ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
