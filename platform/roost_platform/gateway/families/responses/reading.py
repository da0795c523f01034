"""Reads a request to /v1/responses: each field is checked, with an error that names it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from roost_inference.errors import InvalidRequest
from roost_platform.gateway.families.fields import (
    TOKENS_MAX,
    flag,
    number,
    object_field,
    one_of,
    text_field,
    whole_number,
)
from roost_platform.gateway.families.responses.tools import Tools, read_tools
from roost_platform.gateway.request import HINTS

LOGPROBS_MAX: Final = 20
METADATA_MAX: Final = 16
METADATA_KEY_CHARACTERS_MAX: Final = 64
METADATA_VALUE_CHARACTERS_MAX: Final = 512
LOGPROBS: Final = "message.output_text.logprobs"
SUMMARIES: Final = ("auto", "concise", "detailed")
# What only OpenAI's own servers hold; to go on without it would answer another question.
NOT_HERE: Final = ("conversation", "prompt")
# What is read of a request here or where the history is; `max_tool_calls` is told back alone.
READ: Final = HINTS | {
    *("model", "input", "instructions", "previous_response_id", "store", "background", "stream"),
    *("tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "temperature", "top_p"),
    *("presence_penalty", "frequency_penalty", "top_logprobs", "reasoning", "text", "service_tier"),
    *("truncation", "include", "metadata", "user", "safety_identifier", "prompt_cache_key"),
}


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """A request, checked. input: a text, or the client's items.

    echo: the fields of the response that repeat the request. chat: those of a chat request, without
    messages. max_tokens: the bound of the output, which is in `chat` as well. unread: fields that
    do nothing.
    """

    model: str
    input: str | list[Any]
    instructions: str
    previous_id: str | None
    tools: Tools
    echo: Mapping[str, Any]
    chat: Mapping[str, Any]
    max_tokens: int | None
    stream: bool
    store: bool
    background: bool
    truncates: bool
    has_logprobs: bool
    summarises: bool
    person: str
    unread: tuple[str, ...]


def read_response(body: Mapping[str, Any], default_model: str) -> ResponseRequest:
    """The request of this body. Raises InvalidRequest, which names the field."""
    model = text_field(body, "model") or default_model
    if not model:
        raise InvalidRequest("model has to name a model", param="model")
    for name in NOT_HERE:
        if body.get(name) is not None:
            raise InvalidRequest(f"{name} is not supported here", param=name)
    tools = read_tools(body)
    include = _texts(body, "include")
    top_logprobs = whole_number(body, "top_logprobs", 0, LOGPROBS_MAX)
    has_logprobs = LOGPROBS in include or bool(top_logprobs)
    most = whole_number(body, "max_output_tokens", 1, TOKENS_MAX)
    is_kept = body.get("store") is None or flag(body, "store")
    is_background = flag(body, "background")
    if is_background and not is_kept:
        raise InvalidRequest("A background response needs store", param="background")
    reasoning = _reasoning(body)
    text = _text(body)
    is_parallel = body.get("parallel_tool_calls") is None or flag(body, "parallel_tool_calls")
    numbers = {
        "temperature": number(body, "temperature", 0, 2),
        "top_p": number(body, "top_p", 0, 1),
        "presence_penalty": number(body, "presence_penalty", -2, 2),
        "frequency_penalty": number(body, "frequency_penalty", -2, 2),
    }
    given = {name: value for name, value in numbers.items() if value is not None}
    chat: dict[str, Any] = {**tools.chat, **given}
    if "tools" in chat and body.get("parallel_tool_calls") is not None:
        chat["parallel_tool_calls"] = is_parallel
    if most is not None:
        chat["max_completion_tokens"] = most
    if has_logprobs:
        chat |= {"logprobs": True, "top_logprobs": top_logprobs or 0}
    if reasoning["effort"] is not None:
        chat["reasoning_effort"] = reasoning["effort"]
    if (form := _chat_format(text["format"])) is not None:
        chat["response_format"] = form
    # The names of sessions and people stay here: engines that know them not may refuse them.
    if (tier := text_field(body, "service_tier")) not in ("", "auto", "default"):
        chat["service_tier"] = tier
    if "verbosity" in text:
        chat["verbosity"] = text["verbosity"]
    instructions = text_field(body, "instructions")
    previous = text_field(body, "previous_response_id") or None
    echo = {
        "instructions": instructions or None,
        "max_output_tokens": most,
        "max_tool_calls": whole_number(body, "max_tool_calls", 1, TOKENS_MAX),
        "model": model,
        "parallel_tool_calls": is_parallel,
        "previous_response_id": previous,
        "reasoning": reasoning,
        "store": is_kept,
        "background": is_background,
        "temperature": given.get("temperature", 1.0),
        "top_p": given.get("top_p", 1.0),
        "presence_penalty": given.get("presence_penalty", 0.0),
        "frequency_penalty": given.get("frequency_penalty", 0.0),
        "text": text,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": list(tools.shown),
        "top_logprobs": top_logprobs or 0,
        "truncation": one_of(body, "truncation", ("auto", "disabled")) or "disabled",
        "metadata": _metadata(body),
        "prompt_cache_key": text_field(body, "prompt_cache_key") or None,
        "prompt_cache_retention": text_field(body, "prompt_cache_retention") or None,
        "safety_identifier": text_field(body, "safety_identifier") or None,
        "service_tier": "default" if tier in ("", "auto") else tier,
        "user": text_field(body, "user") or None,
    }
    return ResponseRequest(
        model=model,
        input=_input(body),
        instructions=instructions,
        previous_id=previous,
        tools=tools,
        echo=echo,
        chat=chat,
        max_tokens=most,
        stream=flag(body, "stream"),
        store=is_kept,
        background=is_background,
        truncates=echo["truncation"] == "auto",
        has_logprobs=has_logprobs,
        summarises=reasoning["summary"] is not None,
        person=text_field(body, "user") or text_field(body, "safety_identifier"),
        unread=tuple(name for name, value in body.items() if value and name not in READ),
    )


def _input(body: Mapping[str, Any]) -> str | list[Any]:
    value = body.get("input")
    if isinstance(value, str | list) and (value or value == ""):
        return value
    if body.get("previous_response_id") and (value is None or value == []):
        return []
    raise InvalidRequest("input has to be a text or a list of items", param="input")


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidRequest(f"{name} has to be a list of texts", param=name)
    return value


def _reasoning(body: Mapping[str, Any]) -> dict[str, Any]:
    given = object_field(body, "reasoning") or {}
    effort = given.get("effort")
    if effort is not None and not isinstance(effort, str):
        raise InvalidRequest("reasoning.effort has to be a text", param="reasoning.effort")
    summary = given.get("summary") or given.get("generate_summary")
    if summary is not None and summary not in SUMMARIES:
        known = ", ".join(SUMMARIES)
        raise InvalidRequest(
            f"reasoning.summary has to be one of {known}", param="reasoning.summary"
        )
    return {"effort": effort, "summary": summary}


def _metadata(body: Mapping[str, Any]) -> Mapping[str, str]:
    given = object_field(body, "metadata") or {}
    is_small = len(given) <= METADATA_MAX and all(
        len(key) <= METADATA_KEY_CHARACTERS_MAX
        and isinstance(value, str)
        and len(value) <= METADATA_VALUE_CHARACTERS_MAX
        for key, value in given.items()
    )
    if not is_small:
        raise InvalidRequest(
            f"metadata has at most {METADATA_MAX} texts of {METADATA_VALUE_CHARACTERS_MAX} "
            f"characters, with names of {METADATA_KEY_CHARACTERS_MAX}",
            param="metadata",
        )
    return given


def _text(body: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the text, as the response tells them."""
    given = object_field(body, "text") or {}
    text: dict[str, Any] = {"format": _format(given.get("format"))}
    verbosity = given.get("verbosity")
    if verbosity is not None:
        if verbosity not in ("low", "medium", "high"):
            raise InvalidRequest(
                "text.verbosity has to be low, medium or high", param="text.verbosity"
            )
        text["verbosity"] = verbosity
    return text


def _format(given: Any) -> dict[str, Any]:
    if given is None:
        return {"type": "text"}
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in ("text", "json_object"):
        return {"type": kind}
    if kind != "json_schema":
        raise InvalidRequest(
            "text.format.type has to be text, json_object or json_schema", param="text.format.type"
        )
    name, schema = given.get("name"), given.get("schema")
    if not isinstance(name, str) or not name:
        raise InvalidRequest("text.format.name has to be a text", param="text.format.name")
    if not isinstance(schema, dict):
        raise InvalidRequest("text.format.schema has to be an object", param="text.format.schema")
    return {
        "type": "json_schema",
        "name": name,
        "description": given.get("description"),
        "schema": schema,
        "strict": bool(given.get("strict")),
    }


def _chat_format(form: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Chat's response_format; None for plain text."""
    if form["type"] != "json_schema":
        return None if form["type"] == "text" else form
    schema = {name: value for name, value in form.items() if name != "type" and value is not None}
    return {"type": "json_schema", "json_schema": schema}
