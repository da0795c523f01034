"""The request of a model call: what stays the same first, in the same order in every turn."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from roost.agent import Agent
from roost.messages import LocalMessage
from roost.prompt import build_messages
from roost_inference.client.engine_client import ChatRequest
from roost_workflows.model_calls import Asked
from roost_workflows.ports import TurnContext
from roost_workflows.turn.manifest import manifest_of
from roost_workflows.turn.window import window

# As in vLLM, a lower number goes first. A person who has just written waits for the first word;
# between tools milliseconds matter less; nobody waits for background work.
PRIORITY_TURN: Final = 0
PRIORITY_CONTINUATION: Final = 1
PRIORITY_BACKGROUND: Final = 2


def build_request(
    agent: Agent,
    context: TurnContext,
    *,
    step: int,
    last: bool,
    shorter: int,
    pictures: Mapping[str, str] | None = None,
    forces: bool = True,
) -> ChatRequest:
    """The request, with tools always in the same order, so that equal prefixes stay equal.

    On the last step the tools are still declared, but not allowed: leaving them out would change
    the beginning of the prompt and lose the session's cache. pictures: see `build_messages`.
    forces: whether the engine is asked to hold an answer to its schema.
    """
    settings = agent.settings
    messages = window(context.messages, shorter)
    return ChatRequest(
        messages=build_messages(
            agent.instructions,
            messages,
            last_step=last and bool(agent.tools),
            pictures=pictures,
        ),
        tools=declared_tools(agent),
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        stop=list(settings.stop),
        session_id=context.turn.session_id,
        cache_salt=context.cache_salt,
        priority=priority_of(context, step),
        extra=_extra(agent, context.given.schema if context.given and forces else None, last=last),
        model=settings.name,
        agent=agent.name,
        person=context.person_id,
    )


def priority_of(context: TurnContext, step: int) -> int:
    """What goes before what: nobody waits for a child in the background."""
    if context.given is None:
        return PRIORITY_TURN if step == 1 else PRIORITY_CONTINUATION
    return PRIORITY_BACKGROUND if context.given.in_background else PRIORITY_CONTINUATION


def asked_with(
    agent: Agent,
    context: TurnContext,
    request: ChatRequest,
    shorter: int,
    pictures: Mapping[str, str] | None,
    *,
    last: bool,
) -> Asked:
    """What is kept of the request: enough to build it again from the transcript, and a manifest to
    see that it is the same.
    """
    return Asked(
        end=context.end,
        shortening=shorter,
        last=last,
        pictures=None if pictures is None else tuple(pictures),
        temperature=request.temperature,
        max_tokens=request.max_tokens,
        agent_digest=agent_digest(agent),
        manifest=manifest_of(agent, window(context.messages, shorter), request),
    )


def agent_digest(agent: Agent) -> str:
    """A short SHA-256 of the instructions and the tools, with which every prompt begins."""
    beginning = json.dumps([agent.instructions, declared_tools(agent)], sort_keys=True)
    return hashlib.sha256(beginning.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _extra(
    agent: Agent, schema: Mapping[str, Any] | None = None, *, last: bool
) -> dict[str, object]:
    """Body fields beyond the common ones, only where they differ from the default."""
    extra: dict[str, object] = {}
    if schema is not None:
        answer = {"name": "answer", "schema": dict(schema)}
        extra["response_format"] = {"type": "json_schema", "json_schema": answer}
    if last and agent.tools:
        extra["tool_choice"] = "none"
    if agent.settings.repetition_penalty is not None:
        extra["repetition_penalty"] = agent.settings.repetition_penalty
    return extra


def warming_request(agent: Agent, cache_salt: str) -> ChatRequest:
    """A request for one token that nobody reads: the KV of instructions and tools stays, with which
    every conversation of the tenant begins.
    """
    return ChatRequest(
        messages=build_messages(agent.instructions, [LocalMessage("user", "Hello")]),
        tools=declared_tools(agent),
        max_tokens=1,
        temperature=0,
        cache_salt=cache_salt,
        priority=PRIORITY_BACKGROUND,
        agent=agent.name,
    )


def declared_tools(agent: Agent) -> list[dict[str, Any]]:
    """The tools sorted by name: an order that does not depend on the code."""
    return [tool.schema() for tool in sorted(agent.tools, key=lambda tool: tool.name)]
