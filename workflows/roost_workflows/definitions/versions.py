"""An agent as plain data with a hash: what people look at, and what a model call is tied to."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from roost.agent import Agent, ModelSettings
from roost.flow import Flow
from roost.tools import Tool

DIGEST_CHARS: Final = 16
LIMITS: Final = ("max_steps", "max_calls", "max_repeats", "max_turn_tokens", "max_turn_s")


@dataclass(frozen=True, slots=True)
class DeclaredVersion:
    """One version of an agent. digest: of the definition; equal definitions are one version."""

    agent: str
    digest: str
    definition: dict[str, Any]


def version_of(agent: Agent | Flow) -> DeclaredVersion:
    """The version that the code declares now."""
    definition = definition_of(agent)
    return DeclaredVersion(agent.name, sha256(definition)[:DIGEST_CHARS], definition)


def versions_of(agents: Iterable[Agent | Flow]) -> tuple[DeclaredVersion, ...]:
    """The versions of several agents and flows."""
    return tuple(version_of(agent) for agent in agents)


def definition_of(agent: Agent | Flow) -> dict[str, Any]:
    """All that is declared of an agent, as JSON: instructions, tools, model settings and limits.

    A flow's description stands for instructions; code and parameters are its own.
    """
    if isinstance(agent, Flow):
        return {
            "instructions": agent.description,
            "tools": [_tool(tool) for tool in agent.tools],
            "model": {},
            "limits": {"max_steps": agent.max_steps},
            "queue": agent.queue,
            "parameters": dict(agent.parameters),
            "code": agent.code_hash,
        }
    return {
        "instructions": agent.instructions,
        "tools": [_tool(tool) for tool in sorted(agent.tools, key=lambda tool: tool.name)],
        "model": _model(agent.settings),
        "limits": {name: getattr(agent, name) for name in LIMITS},
        "queue": agent.queue,
    }


def _model(settings: ModelSettings) -> dict[str, Any]:
    """What is set; the rest is left to the engine."""
    unset = {"stop": list(settings.stop) or None, "name": settings.name or None}
    values = {**asdict(settings), **unset}
    return {name: value for name, value in values.items() if value is not None}


def sha256(value: object) -> str:
    """The SHA-256 of a value's canonical JSON: sorted keys, no spaces, texts as they are."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
        "effect": tool.effect,
        "approval": tool.approval,
        "approver": tool.approver,
        "timeout_s": tool.timeout_s,
        "label": tool.label,
        "code": tool.definition_hash,
    }
