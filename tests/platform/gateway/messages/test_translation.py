"""Messages → chat → messages keeps text, calls and results, whatever the conversation."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost_inference.errors import InvalidRequest
from roost_platform.gateway.families.messages.reading import read_messages
from roost_platform.gateway.providers.anthropic.body import anthropic_body
from roost_platform.gateway.request import ModelRequest
from roost_platform.testing.providers.anthropic_rules import broken_rule

TEXT = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
IDS = st.text("abcXYZ019_-", min_size=1, max_size=12)
VALUES = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=9), max_size=3
)
TOOLS = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]


@st.composite
def turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A conversation that Anthropic accepts: the next message answers a group of calls."""
    messages: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 4))):
        said = draw(st.lists(TEXT, min_size=1, max_size=3))
        messages.append({"role": "user", "content": [_text(one) for one in said]})
        ids = draw(st.lists(IDS, max_size=3, unique=True))
        blocks = [_text(one) for one in draw(st.lists(TEXT, max_size=2))]
        blocks += [
            {"type": "tool_use", "id": id, "name": "look", "input": draw(VALUES)} for id in ids
        ]
        if not blocks:
            continue
        messages.append({"role": "assistant", "content": blocks})
        if ids:
            results = [
                {"type": "tool_result", "tool_use_id": id, "content": draw(TEXT)} for id in ids
            ]
            messages.append({"role": "user", "content": results})
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": [_text("and now?")]})
    return messages


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def told(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What a conversation says, without the borders of its blocks and messages."""
    said: list[Any] = []
    for message in messages:
        texts = ""
        for block in message["content"]:
            if block["type"] == "text":
                texts += block["text"] if message["role"] == "assistant" else f"\n{block['text']}"
            elif block["type"] == "tool_use":
                said.append((block["id"], block["name"], block["input"]))
            else:
                content = block.get("content") or ""
                if isinstance(content, list):
                    content = "\n".join(part["text"] for part in content)
                said.append((block["tool_use_id"], content))
        said.append((message["role"], texts))
    return _joined([one for one in said if one[1] != ""])


def _joined(said: list[Any]) -> list[Any]:
    joined: list[Any] = []
    for one in said:
        if joined and joined[-1][0] == one[0] in ("user", "assistant"):
            joined[-1] = (one[0], joined[-1][1] + one[1])
        else:
            joined.append(one)
    return joined


@settings(max_examples=60, deadline=None)
@given(turns(), st.none() | TEXT)
def test_a_conversation_survives_both_translations(
    messages: list[dict[str, Any]], system: str | None
) -> None:
    body = {"max_tokens": 9, "model": "m", "messages": messages, "tools": TOOLS, "system": system}
    request = read_messages(body, {})
    back = anthropic_body(request, "m")
    assert broken_rule(back) == ""
    assert told(back["messages"]) == told(messages)
    assert back.get("system") == ([_text(system)] if system else None)
    assert back["tools"][0]["name"] == "look"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
TYPES = st.sampled_from(
    ["text", "image", "document", "tool_use", "tool_result", "thinking", "search_result", "x"]
)
NAMES = ("text", "source", "content", "id", "name", "input", "tool_use_id", "title", "thinking")
BLOCKS = st.lists(
    st.fixed_dictionaries({"type": TYPES}, optional=dict.fromkeys(NAMES, JSON)) | JSON, max_size=3
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": BLOCKS | JSON}
    )
    | JSON,
    max_size=3,
)
FIELDS = (
    "model",
    "system",
    "tools",
    "tool_choice",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "metadata",
    "thinking",
    "output_config",
    "output_format",
    "stream",
)


@settings(max_examples=120, deadline=None)
@given(
    st.fixed_dictionaries(
        {"max_tokens": st.just(5) | JSON, "messages": MESSAGES | JSON},
        optional=dict.fromkeys(FIELDS, JSON),
    )
)
def test_any_body_is_read_or_refused_by_the_name_of_its_field(body: dict[str, Any]) -> None:
    try:
        request = read_messages(body, {})
    except InvalidRequest as error:
        assert error.param
        return
    json.dumps(anthropic_body(request, "m"))


CHAT_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer", "function"])},
        optional={
            "content": JSON | st.lists(st.fixed_dictionaries({"type": TYPES, "text": JSON})),
            "tool_calls": JSON
            | st.lists(
                st.fixed_dictionaries(
                    {
                        "id": JSON,
                        "function": st.fixed_dictionaries({"name": IDS, "arguments": JSON}),
                    }
                ),
                max_size=2,
            ),
            "tool_call_id": JSON,
            "reasoning_details": JSON,
            "function_call": JSON,
        },
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=120, deadline=None)
@given(CHAT_MESSAGES)
def test_any_chat_becomes_messages_that_keep_anthropic_s_rules(
    messages: list[dict[str, Any]],
) -> None:
    request = ModelRequest("chat", "m", {"messages": messages})
    assert broken_rule(anthropic_body(request, "m")) == ""


@pytest.mark.parametrize(
    ("choice", "chat"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
            {
                "tool_choice": {"type": "function", "function": {"name": "look"}},
                "parallel_tool_calls": False,
            },
        ),
        # A tool that only Anthropic has can't be forced elsewhere.
        ({"type": "tool", "name": "web_search"}, {}),
    ],
)
def test_each_choice_of_a_tool_has_its_form(choice: Any, chat: dict[str, Any]) -> None:
    body = {
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [*TOOLS, {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": choice,
    }
    request = read_messages(body, {})
    assert len(request.body["tools"]) == 1
    names = ("tool_choice", "parallel_tool_calls")
    assert {name: request.body[name] for name in names if name in request.body} == chat


def test_documents_pictures_and_results_become_parts() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    content = [
        {"type": "tool_result", "tool_use_id": "a", "content": [_text("seen"), picture]},
        {"type": "tool_result", "tool_use_id": "b"},
        {
            "type": "document",
            "title": "Notes",
            "source": {"type": "text", "media_type": "text/plain", "data": "the text"},
            "cache_control": {"type": "ephemeral"},
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
        },
    ]
    body = {"max_tokens": 5, "messages": [{"role": "user", "content": content}]}
    first, second, last = read_messages(body, {}).messages
    assert first == {"role": "tool", "tool_call_id": "a", "content": "seen"}
    assert second == {"role": "tool", "tool_call_id": "b", "content": ""}
    assert [part["type"] for part in last["content"]] == ["image_url", "text", "text", "file"]
    assert last["content"][2]["text"] == "the text"


@pytest.mark.parametrize(
    ("address", "media"),
    [
        ("data:image/jpg;base64,AAAA", "image/jpeg"),
        ("DATA:image/PNG;BASE64,AAAA", "image/png"),
        ("data:image/svg+xml;base64,AAAA", None),
    ],
)
def test_a_picture_that_anthropic_knows_by_another_name_is_seen(
    address: str, media: str | None
) -> None:
    part = {"type": "image_url", "image_url": {"url": address}}
    request = ModelRequest("chat", "m", {"messages": [{"role": "user", "content": [part]}]})
    (block,) = anthropic_body(request, "m")["messages"][0]["content"]
    if media is None:
        assert "image/svg+xml" in block["text"]
    else:
        assert block["source"] == {"type": "base64", "media_type": media, "data": "AAAA"}


@pytest.mark.parametrize(("given", "sent"), [(-1, None), (0, None), (5, 5)])
def test_a_top_k_that_takes_all_tokens_is_no_field_at_anthropic(
    given: int, sent: int | None
) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "top_k": given}
    assert anthropic_body(ModelRequest("chat", "m", body), "m").get("top_k") == sent
