"""A chat request as the client of engines takes it, and its body on the wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion; messages and tools are OpenAI's, None leaves a field to the engine.

    model: the model to ask for, empty for the engine's own. agent, person, session: for whom it
    is; they stay on this side of the wire. session_id: the session that the engine keeps.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    session_id: str | None = None
    cache_salt: str | None = None
    priority: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    agent: str = ""
    person: str = ""
    session: str = ""


def fields_of(request: ChatRequest) -> dict[str, Any]:
    """The optional fields of OpenAI's that the request sets, by their names on the wire."""
    optional = {
        "tools": list(request.tools) or None,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": list(request.stop) or None,
    }
    return {name: value for name, value in optional.items() if value is not None}


def body_of(request: ChatRequest, model: str) -> dict[str, Any]:
    """The request on the wire, always streamed. What hosted engines refuse is there only if set."""
    body = {
        "model": model,
        "messages": list(request.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    own = {"cache_salt": request.cache_salt, "priority": request.priority or None}
    given = {name: value for name, value in own.items() if value is not None}
    return {**body, **fields_of(request), **given, **request.extra}
