"""Every field of a chat is checked, and an error names the field that is at fault."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost_inference.errors import EngineError, InvalidRequest
from roost_platform.gateway.families.chat.family import ChatFamily
from roost_platform.gateway.families.chat.messages import MESSAGES_MAX, PARTS_MAX
from roost_platform.gateway.families.chat.reading import read_chat
from roost_platform.gateway.families.chat.sampling import BIASES_MAX, STOPS_MAX
from roost_platform.gateway.families.chat.tools import TOOLS_MAX
from roost_platform.gateway.families.completions.family import CompletionsFamily
from roost_platform.gateway.families.embeddings.family import EmbeddingsFamily
from roost_platform.gateway.request import HINTS

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

# A field's value, and the path that the error names.
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": 5}, "model"),
    ({"model": "a\0b"}, "model"),
    ({"model": "a" * 257}, "model"),
    # llama.cpp: test_invalid_chat_completion_req
    ({"messages": None}, "messages"),
    ({"messages": "string"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [USER] * (MESSAGES_MAX + 1)}, "messages"),
    ({"messages": [123]}, "messages[0]"),
    ({"messages": [{}]}, "messages[0].role"),
    ({"messages": [{"role": 123}]}, "messages[0].role"),
    ({"messages": [{"role": []}]}, "messages[0].role"),
    ({"messages": [{"role": "system", "content": 123}]}, "messages[0].content"),
    ({"messages": [USER, {}]}, "messages[1].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [1]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text",
    ),
    ({"messages": [{"role": "user", "content": [{}] * (PARTS_MAX + 1)}]}, "messages[0].content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].image_url.url",
    ),
    ({"messages": [{**USER, "name": 5}]}, "messages[0].name"),
    ({"messages": [{**USER, "tool_calls": [CALL]}]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"messages": [{"role": "function", "name": "f", "content": "1"}]}, "messages[0].name"),
    ({"tools": "f"}, "tools"),
    ({"tools": [TOOL] * (TOOLS_MAX + 1)}, "tools"),
    ({"tools": [1]}, "tools[0]"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "tools[0].function.parameters",
    ),
    # vLLM: named and required choices need tools that are there
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": 5}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {}}, "tool_choice"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "tool_choice",
    ),
    ({"tools": [TOOL], "parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"functions": [{"name": "f"}], "tools": [TOOL]}, "functions"),
    ({"functions": [{}]}, "functions[0].name"),
    ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
    ({"function_call": {"name": "g"}}, "function_call"),
    # llama.cpp: test_completion_with_response_format
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "sound"}}, "response_format.type"),
    ({"response_format": {"type": "json_object", "schema": 123}}, "response_format.schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "response_format.json_schema.schema",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
        "response_format.json_schema.name",
    ),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "warm"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_k": 0.5}, "top_k"),
    ({"min_p": 2}, "min_p"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"frequency_penalty": -2.5}, "frequency_penalty"),
    ({"presence_penalty": 10**400}, "presence_penalty"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 2**31}, "max_tokens"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
    ({"n": 17}, "n"),
    ({"n": 0}, "n"),
    ({"seed": "x"}, "seed"),
    ({"seed": 2**64}, "seed"),  # vLLM: test_long_seed
    ({"seed": -(2**63) - 1}, "seed"),
    ({"stop": 5}, "stop"),
    ({"stop": [""]}, "stop"),
    ({"stop": ["x"] * (STOPS_MAX + 1)}, "stop"),
    ({"logit_bias": []}, "logit_bias"),
    ({"logit_bias": {"a": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 101}}, "logit_bias"),
    ({"logit_bias": {str(n): 1 for n in range(BIASES_MAX + 1)}}, "logit_bias"),
    ({"logprobs": 5}, "logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),  # vLLM: test_too_many_chat_logprobs
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"reasoning_effort": "huge"}, "reasoning_effort"),
    ({"reasoning": "low"}, "reasoning"),
    ({"reasoning": {"effort": []}}, "reasoning.effort"),
    ({"stream": "yes"}, "stream"),
    # vLLM: test_chat_completion_stream_options
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": False, "stream_options": {"include_usage": None}}, "stream_options"),
    ({"stream": True, "stream_options": 5}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"user": 5}, "user"),
    ({"metadata": {"a": 1}}, "metadata"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"service_tier": 1}, "service_tier"),
    ({"store": "x"}, "store"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[f"{n}-{b[1]}" for n, b in enumerate(BAD)])
def test_a_field_that_does_not_fit_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_chat({"model": "fast", "messages": [USER], **fields}, {})
    assert (refused.value.http_status, refused.value.param) == (400, param)
    assert param in refused.value.message


def test_null_is_as_good_as_absent() -> None:
    names = {fields_name for fields, _ in BAD for fields_name in fields} - {"messages"}
    request = read_chat({"messages": [USER], **dict.fromkeys(names)}, {})
    assert request.body == {"messages": [USER]}


def test_fields_that_are_unknown_go_on_and_hints_do_not() -> None:
    body = {"messages": [USER], "guided_regex": "a+", "vendor": {"x": 1}, **dict.fromkeys(HINTS, 1)}
    assert read_chat(body, {}).body == {
        "messages": [USER],
        "guided_regex": "a+",
        "vendor": {"x": 1},
    }


def test_either_name_bounds_the_output_and_the_newer_one_counts_first() -> None:
    assert read_chat({"messages": [USER], "max_tokens": 7}, {}).max_tokens == 7
    both = {"messages": [USER], "max_tokens": 7, "max_completion_tokens": 9}
    assert read_chat(both, {}).max_tokens == 9


def test_choices_among_tools_that_are_not_there_mean_nothing() -> None:
    body = {"messages": [USER], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}
    assert read_chat(body, {}).body == {"messages": [USER]}


def test_allowed_tools_leave_the_others_out() -> None:
    other = {"type": "function", "function": {"name": "g"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    body = {
        "messages": [USER],
        "tools": [TOOL, other],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed},
    }
    read = read_chat(body, {}).body
    assert (read["tools"], read["tool_choice"]) == ([other], "required")


def test_functions_of_the_older_api_become_tools() -> None:
    body = {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "function_call": CALL["function"]},
            {"role": "function", "name": "f", "content": "42"},
        ],
        "functions": [{"name": "f"}],
        "function_call": {"name": "f"},
    }
    read = read_chat(body, {}).body
    (call,) = read["messages"][1]["tool_calls"]
    assert call["function"] == CALL["function"]
    assert read["messages"][2] == {"role": "tool", "tool_call_id": call["id"], "content": "42"}
    assert read["tools"] == [{"type": "function", "function": {"name": "f"}}]
    assert read["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert not {"functions", "function_call"} & set(read)


def test_an_answer_that_was_only_reasoning_comes_back_as_an_empty_text() -> None:
    message = {"role": "assistant", "content": None, "reasoning_content": "hm"}
    whole: dict[str, Any] = {**message, "refusal": None, "annotations": [], "tool_calls": []}
    read = read_chat({"messages": [USER, whole]}, {}).messages[1]
    assert read == {"role": "assistant", "content": "", "reasoning_content": "hm"}


def test_names_that_are_stored_fit_every_database() -> None:
    body = {"messages": [USER], "user": "a\0b" + "c" * 500, "prompt_cache_key": "s\0\ud800"}
    request = read_chat(body, {})
    assert request.person == "ab" + "c" * 254
    assert request.session == "s?"


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = sorted({name for fields, _ in BAD for name in fields} | {"input", "prompt", "echo"})


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), ANY_JSON, max_size=6), ANY_JSON)
def test_unknown_json_is_read_or_refused_and_never_fails(body: dict[str, Any], part: Any) -> None:
    messages = [{"role": "user", "content": part}, {"role": "assistant", "tool_calls": part}, part]
    for family in (ChatFamily(), CompletionsFamily(), EmbeddingsFamily()):
        for base in ({}, {"messages": messages}, {"messages": [USER], "prompt": "a", "input": "a"}):
            try:
                family.read({**base, **body}, {})
            except EngineError as error:
                assert 400 <= error.http_status < 500 and error.http_status != 422
