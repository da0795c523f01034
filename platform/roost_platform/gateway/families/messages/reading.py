"""Reads a request of Anthropic's Messages API into the inner request."""

import re
from collections.abc import Mapping
from typing import Any, Final

from roost_platform.gateway.families.messages.fields import (
    flag_of,
    invalid,
    list_of,
    number_of,
    object_of,
    text_of,
    whole_number_of,
)
from roost_platform.gateway.families.messages.history import chat_messages
from roost_platform.gateway.families.messages.tools import needs_its_own_tool, tool_fields
from roost_platform.gateway.request import HINTS, ModelRequest, NativeCall
from roost_platform.gateway.sizes import text_bytes

STOPS_MAX: Final = 64
SESSION_CHARACTERS_MAX: Final = 256
SESSION_HEADERS: Final = ("x-session-id", "x-claude-code-session-id", "x-session-affinity")
# Claude Code writes its session into the name of the person.
_SESSION_IN_PERSON: Final = re.compile(r'session_(?:id"\s*:\s*")?([0-9a-fA-F-]{36})')
FORWARDED_HEADERS: Final = ("anthropic-beta", "anthropic-version")
HEADER_CHARACTERS_MAX: Final = 4096
THINKING: Final = ("enabled", "adaptive", "disabled")
# A budget of thinking, in tokens, up to which it counts as this effort.
EFFORTS: Final = ((4096, "low"), (16_384, "medium"))
EFFORT_NAMES: Final = frozenset({"low", "medium", "high"})  # what other engines know


def read_messages(
    body: Mapping[str, Any], headers: Mapping[str, str], *, is_count: bool = False
) -> ModelRequest:
    """The request of this body. is_count: of count_tokens, which needs no max_tokens.

    Raises InvalidRequest, which names the field.
    """
    most = whole_number_of(body.get("max_tokens"), "max_tokens", 0)
    if most is None and not is_count:
        raise invalid("max_tokens", "Field required")
    # With 0 Anthropic only fills its cache; another engine has to write one token at least.
    bound = None if most is None else max(most, 1)
    chat: dict[str, Any] = {"messages": chat_messages(body.get("system"), body.get("messages"))}
    chat |= tool_fields(body.get("tools"), body.get("tool_choice"))
    chat |= _sampling(body)
    chat |= _output(body)
    if bound is not None:
        chat["max_tokens"] = bound
    person = text_of(object_of(body.get("metadata"), "metadata").get("user_id"), "metadata.user_id")
    return ModelRequest(
        family="messages",
        model=text_of(body.get("model"), "model"),
        body=chat,
        stream=flag_of(body.get("stream"), "stream"),
        max_tokens=bound,
        prompt_bytes=text_bytes(chat["messages"]) + text_bytes(chat.get("tools")),
        session=_session(headers, person),
        person=person[:SESSION_CHARACTERS_MAX],
        native_only="tool_choice" if needs_its_own_tool(body, chat) else "",
        native=NativeCall(
            "anthropic",
            {name: value for name, value in body.items() if name not in HINTS},
            {
                name: value[:HEADER_CHARACTERS_MAX]
                for name in FORWARDED_HEADERS
                if (value := headers.get(name)) and value.isascii() and value.isprintable()
            },
        ),
    )


def shows_reasoning(body: Mapping[str, Any]) -> bool:
    """Whether the client wants to read the reasoning."""
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("display") == "omitted":
        return False
    return thinking.get("type") in ("enabled", "adaptive")


def _sampling(body: Mapping[str, Any]) -> dict[str, Any]:
    stops = [
        text_of(stop, f"stop_sequences.{index}")
        for index, stop in enumerate(
            list_of(body.get("stop_sequences"), "stop_sequences", STOPS_MAX)
        )
    ]
    fields = {
        "temperature": number_of(body.get("temperature"), "temperature", 0, 1),
        "top_p": number_of(body.get("top_p"), "top_p", 0, 1) or None,
        "top_k": whole_number_of(body.get("top_k"), "top_k", 0),
        "stop": [stop for stop in stops if stop] or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _output(body: Mapping[str, Any]) -> dict[str, Any]:
    """How much the model thinks, and the form of its answer."""
    fields: dict[str, Any] = {}
    config = object_of(body.get("output_config"), "output_config")
    effort = text_of(config.get("effort"), "output_config.effort")
    thinking = object_of(body.get("thinking"), "thinking")
    kind = thinking.get("type")
    if thinking and kind not in THINKING:
        raise invalid("thinking.type", f"Input should be one of {', '.join(THINKING)}")
    if kind == "enabled":
        budget = whole_number_of(thinking.get("budget_tokens"), "thinking.budget_tokens", 1)
        # Not with `adaptive`, which leaves it to the model: engines refuse an effort for models
        # that can't think.
        fields["reasoning_effort"] = _effort(effort, budget)
    wanted = object_of(config.get("format"), "output_config.format") or object_of(
        body.get("output_format"), "output_format"
    )
    if wanted.get("type") == "json_schema":
        schema = object_of(wanted.get("schema"), "output_config.format.schema")
        form = {"name": "answer", "schema": schema, "strict": True}
        fields["response_format"] = {"type": "json_schema", "json_schema": form}
    return fields


def _effort(named: str, budget: int | None) -> str:
    if named:
        return named if named in EFFORT_NAMES else "high"
    if budget is None:
        return "medium"
    return next((name for most, name in EFFORTS if budget <= most), "high")


def _session(headers: Mapping[str, str], person: str) -> str:
    """The client's name of its conversation."""
    for name in SESSION_HEADERS:
        if value := headers.get(name):
            return str(value)[:SESSION_CHARACTERS_MAX]
    found = _SESSION_IN_PERSON.search(person)
    return found[1] if found else ""
