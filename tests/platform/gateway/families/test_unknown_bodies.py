"""A body with anything in the place of its values is read, or refused by the field's name."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost_inference.errors import EngineError
from roost_platform.gateway.families.chat.reading import read_chat
from roost_platform.gateway.families.completions.reading import read_completion
from roost_platform.gateway.families.embeddings.reading import read_embeddings
from roost_platform.gateway.families.messages.reading import read_messages
from roost_platform.gateway.families.responses.items import chat_messages, input_items
from roost_platform.gateway.families.responses.reading import read_response
from roost_platform.gateway.keys.estimates import prompt_size
from roost_platform.gateway.providers.anthropic.body import anthropic_body, native_body
from roost_platform.gateway.providers.chat_body import chat_body, habits_of
from roost_platform.gateway.providers.wire_limits import check_wire, ignored_fields
from roost_platform.gateway.request import ModelRequest

SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "enum": ["b"]}}}
FUNCTION = {"name": "look", "description": "d", "parameters": SCHEMA, "strict": True}
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "s"}]},
        {"role": "user", "content": [{"type": "text", "text": "u"}, PICTURE], "name": "n"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_details": [{}]},
        {"role": "tool", "content": "r", "tool_call_id": "c"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}, {"type": "custom", "custom": {}}],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "functions": [FUNCTION],
    "function_call": {"name": "look"},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    **{"stop": ["x"], "logit_bias": {"1": 1}, "logprobs": True, "top_logprobs": 1, "n": 2},
    **{"stream": True, "stream_options": {"include_usage": True}, "metadata": {"a": "b"}},
    **{"reasoning": {"effort": "low"}, "reasoning_effort": "low", "modalities": ["text"]},
    **{"max_tokens": 5, "max_completion_tokens": 5, "temperature": 1, "top_p": 1, "seed": 1},
    **{"user": "u", "prompt_cache_key": "k", "parallel_tool_calls": False, "min_tokens": 1},
}
COMPLETION: dict[str, Any] = {
    **{"model": "m", "prompt": ["a", "b"], "n": 2, "best_of": 2, "echo": False, "logprobs": 1},
    **{"stop": "x", "suffix": "", "max_tokens": 5, "stream": False, "user": "u", "seed": 5},
}
EMBEDDINGS: dict[str, Any] = {
    **{"model": "m", "input": ["a", [1, 2]], "dimensions": 2, "encoding_format": "float"},
    "user": "u",
}
MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "u", "citations": []},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "AA=="},
                },
                {"type": "document", "source": {"type": "text", "data": "d"}, "title": "t"},
                {
                    "type": "search_result",
                    "source": "s",
                    "title": "t",
                    "content": [{"type": "text", "text": "x"}],
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "c", "name": "look", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "c",
                    "content": [{"type": "text", "text": "r"}],
                    "is_error": False,
                }
            ],
        },
    ],
    "tools": [{"name": "look", "input_schema": SCHEMA}, {"type": "bash_20250124", "name": "bash"}],
    "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    **{"metadata": {"user_id": "u"}, "stop_sequences": ["x"], "temperature": 1, "top_p": 1},
    **{"top_k": 1, "stream": False},
}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "t"}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        {"type": "custom_tool_call", "call_id": "d", "name": "cut", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": [{"type": "input_text"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]},
        {"type": "item_reference", "id": "i"},
    ],
    "tools": [
        {"type": "function", "name": "look", "parameters": SCHEMA, "strict": True},
        {"type": "custom", "name": "cut", "format": {"type": "grammar", "definition": "g"}},
        {"type": "web_search"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "look"}]},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    **{"include": ["message.output_text.logprobs"], "metadata": {"a": "b"}, "store": True},
    **{"instructions": "i", "max_output_tokens": 5, "top_logprobs": 1, "truncation": "auto"},
    **{"background": False, "stream": False, "user": "u", "service_tier": "flex"},
}
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 5, 1.5, 10**30, "", "x", "\0", "auto", "none", "required", "text"),
    *([], {}, [None], [1], ["a"], [[]], [{}], {"a": 1}, {"type": "x"}, {"type": None}),
    *({"type": ["x"]}, {"type": {}}, {"name": []}, {"type": "function", "name": []}, "y" * 2000),
    *([{"type": "text"}], [{"type": "text", "text": 5}], {"type": "function", "function": 5}),
]


def responses(body: Mapping[str, Any], _: Mapping[str, str]) -> ModelRequest:
    """What the endpoint of responses does with a body before a provider is asked."""
    asked = read_response(body, "m")
    messages = chat_messages(asked.instructions, input_items(asked.input, "resp_" + "0" * 32))
    return ModelRequest("responses", asked.model, {**asked.chat, "messages": messages})


READERS: Mapping[str, tuple[Callable[[Any, Any], ModelRequest], Mapping[str, Any]]] = {
    "chat": (read_chat, CHAT),
    "completions": (read_completion, COMPLETION),
    "embeddings": (lambda body, _: read_embeddings(body), EMBEDDINGS),
    "messages": (read_messages, MESSAGES),
    "responses": (responses, RESPONSES),
}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside of this one."""
    for name, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, name)
        if isinstance(child, dict | list):
            yield from paths(child, (*path, name))


def with_junk(body: Mapping[str, Any], path: tuple[Any, ...], junk: Any) -> Any:
    changed = copy.deepcopy(dict(body))
    place: Any = changed
    for step in path[:-1]:
        try:
            place = place[step]
        except (KeyError, IndexError, TypeError):
            return changed  # other junk has taken its place
    if isinstance(place, dict) or (isinstance(place, list) and path[-1] in range(len(place))):
        place[path[-1]] = copy.deepcopy(junk)
    return changed


@pytest.mark.parametrize("name", READERS)
def test_junk_in_any_place_is_read_or_refused_for_every_wire(name: str) -> None:
    read, body = READERS[name]
    places = st.tuples(st.sampled_from([*paths(body)]), st.sampled_from(JUNK))
    habits = habits_of("p", "localhost", keep_reasoning=False)

    @settings(max_examples=500, deadline=None)
    @given(st.lists(places, min_size=1, max_size=2))
    def try_all(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
        changed: Any = body
        for path, junk in changes:
            changed = with_junk(changed, path, junk)
        try:
            request = read(changed, {})
        except EngineError as error:
            assert error.http_status in (400, 413)
            return
        prompt_size(request)
        if request.family == "embeddings":
            return
        chat_body(request, "m", {}, habits)
        anthropic_body(request, "m")
        if request.native is not None:
            native_body(request.native.body, "m")
        for wire in ("openai", "anthropic"):
            ignored_fields(request, wire)
            try:
                check_wire(request, wire, "p")
            except EngineError as error:
                assert error.http_status == 400

    try_all()
