"""Which tool calls of a model's answer are run, and under which ids."""

import hashlib
import json
import logging
from typing import Any, Final

from roost.agent import Agent
from roost_inference.client.assembly import Completed, ToolCall
from roost_workflows.ports import PlannedCall
from roost_workflows.state import GenerateInput

log = logging.getLogger(__name__)

CALLS_PER_STEP_MAX: Final = 16
ARGUMENTS_DEPTH_MAX: Final = 96  # levels; cards, pages and engines write arguments once more
CALL_ID_LENGTH: Final = 9  # the strictest engines demand exactly nine letters and digits
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FENCE: Final = "```"
UNPARSED: Final = "arguments_that_were_not_json"


def plan_calls(agent: Agent, call: GenerateInput, done: Completed) -> list[PlannedCall]:
    """The calls to run. A call that the token limit cut off is neither run nor kept."""
    planned = []
    for index, requested in enumerate(done.tool_calls):
        if index == CALLS_PER_STEP_MAX:
            log.warning(
                "turn %s: the model asked for %d calls, %d are run",
                call.turn_id,
                len(done.tool_calls),
                CALLS_PER_STEP_MAX,
            )
            break
        arguments = canonical_arguments(requested)
        if arguments is None:
            if done.finish_reason == "length":
                continue
            arguments = json.dumps({UNPARSED: requested.arguments}, ensure_ascii=False)
        tool = agent.tool(requested.name)
        # A tool that does not exist only returns an error, which is safe to repeat.
        effect = tool.effect if tool else "pure"
        planned.append(PlannedCall(call_id(call, index), requested.name, arguments, effect))
    return planned


def canonical_arguments(requested: ToolCall) -> str | None:
    """The arguments as compact JSON text of an object, None when they are not one or too deep.

    Some models write them as JSON within a string, or between the fences of a code block.
    """
    try:
        value: Any = json.loads(_unfenced(requested.arguments) or "{}")
        if isinstance(value, str):
            value = json.loads(_unfenced(value) or "{}")
        if not isinstance(value, dict) or _is_too_deep(value):
            return None
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(ARGUMENTS_DEPTH_MAX):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        if not inner:
            return False
        level = inner
    return True


def _unfenced(arguments: str) -> str:
    text = arguments.strip()
    if not (text.startswith(FENCE) and text.endswith(FENCE)):
        return arguments
    language, _, inner = text.removesuffix(FENCE).removeprefix(FENCE).partition("\n")
    return inner if language.strip().isalpha() or not language.strip() else arguments


def call_id(call: GenerateInput, index: int) -> str:
    """An id of our own: unique in the transcript and the same in every attempt, unlike engines'
    ids.
    """
    digest = hashlib.sha256(f"{call.turn_id}:{call.step}:{index}".encode()).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:CALL_ID_LENGTH])
