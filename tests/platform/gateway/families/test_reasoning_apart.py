"""Reasoning is told apart from text, whole and streamed, wherever the stream is cut."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost_inference.testing.scripts import Call, Say
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.events import Event
from roost_platform.gateway.families.chat.reading import read_chat
from roost_platform.gateway.families.chat.writing import ChatWriter, completion
from roost_platform.gateway.providers.chat_decoder import ChatDecoder
from roost_platform.testing.providers.gateway import gateway_server

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
MENTIONS = "Models write `<think>` and `</think>`.\n```xml\n<think>\n</think>\n```\nThat is all."
# The tag that the prompt opened, what the engine sends, the text, the reasoning.
CASES = [
    ("", "<think>why</think>Hi", "Hi", "why"),
    ("", '<thinking time="3">why</thinking>\n\nHi', "Hi", "why"),
    ("", "[THINK]why[/THINK]Hi", "Hi", "why"),
    ("", "◁think▷why◁/think▷Hi", "Hi", "why"),
    ("", "<|START_THINKING|>why<|END_THINKING|>Hi", "Hi", "why"),
    ("", "<|channel|>analysis<|message|>why<|end|><|channel|>final<|message|>Hi", "Hi", "why"),
    ("", "<|channel>thought why<channel|>Hi", "Hi", " why"),
    ("", MENTIONS, MENTIONS, ""),
    ("", "a < b, [x] and <thinker>", "a < b, [x] and <thinker>", ""),
    ("<think>", "why</think>\n\nHi", "Hi", "why"),
    ("<think>", "why `</thinker>` not</think>Hi", "Hi", "why `</thinker>` not"),
    ("<think>", "<think>why</think>Hi", "Hi", "why"),
    ("<think>", "</think>\n\nHi", "Hi", ""),
    ("<think>", "it never ends", "", "it never ends"),
    ("<think>", f"why</think>{MENTIONS}", MENTIONS, "why"),
    ("[THINK]", "why[/THINK]Hi", "Hi", "why"),
    ("◁think▷", "why◁/think▷Hi", "Hi", "why"),
    ("<|START_THINKING|>", "why<|END_THINKING|>Hi", "Hi", "why"),
    ("<|channel>thought", " why<channel|>Hi", "Hi", " why"),
]
Decoded = tuple[list[Event], Answer]


def decoded(chunks: Sequence[dict[str, Any]], opening: str = "") -> Decoded:
    decoder, answer, events = ChatDecoder(), Answer(), list[Event]()
    first = {"choices": [{"delta": {"role": "assistant"}}], "opens_reasoning": opening}
    for chunk in [first, *chunks, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]:
        events += decoder.feed(chunk)
    events += decoder.end()
    answer.take(events)
    return events, answer


def text_chunks(pieces: Sequence[str]) -> list[dict[str, Any]]:
    return [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]


def streamed(events: Sequence[Event]) -> tuple[str, str]:
    """The text and the reasoning that a client of a stream puts together."""
    writer = ChatWriter(read_chat(BODY, {}), BODY, "1")
    sent = b"".join(writer.write([event]) for event in events).decode()
    deltas = [
        json.loads(line[6:])["choices"][0]["delta"]
        for line in sent.splitlines()
        if line.startswith("data: ")
    ]
    assert all(one.get("reasoning") == one.get("reasoning_content") for one in deltas)
    text = "".join(one.get("content") or "" for one in deltas)
    return text, "".join(one.get("reasoning") or "" for one in deltas)


def cut(text: str, at: Sequence[int]) -> list[str]:
    places = sorted({place % (len(text) + 1) for place in at} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(places)]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CASES), st.lists(st.integers(0, 200), max_size=40))
def test_a_stream_says_what_the_whole_says_wherever_it_is_cut(
    case: tuple[str, str, str, str], at: list[int]
) -> None:
    opening, sent, text, reasoning = case
    events, answer = decoded(text_chunks(cut(sent, at)), opening)
    assert streamed(events) == (text, reasoning)
    message = completion(read_chat(BODY, {}), BODY, "1", answer)["choices"][0]["message"]
    assert message["content"] == text
    assert message.get("reasoning", "") == message.get("reasoning_content", "") == reasoning


@settings(max_examples=100, deadline=None)
@given(
    st.text(alphabet="ab<>/think[]`\n ◁▷", max_size=60), st.lists(st.integers(0, 60), max_size=20)
)
def test_the_cuts_of_a_stream_change_nothing(sent: str, at: list[int]) -> None:
    whole = decoded(text_chunks([sent]))[1].choices[0]
    parts = decoded(text_chunks(cut(sent, at)))[1].choices[0]
    assert (parts.text, parts.reasoning_text) == (whole.text, whole.reasoning_text)


def test_a_late_end_of_reasoning_loses_nothing() -> None:
    for pieces in (["why\n</think>Hi"], ["wh", "y\n</think>Hi"], ["why\n", "</think>", "Hi"]):
        choice = decoded(text_chunks(pieces))[1].choices[0]
        assert (choice.text, choice.reasoning_text) == ("Hi", "why\n"), pieces


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_an_engine_that_tells_them_apart_itself_is_believed(name: str) -> None:
    chunks = [
        {"choices": [{"delta": {name: "why"}}]},
        {"choices": [{"delta": {"content": "Hi"}}]},
    ]
    for opening in ("", "<think>"):
        choice = decoded(chunks, opening)[1].choices[0]
        assert (choice.text, choice.reasoning_text) == ("Hi", "why")


async def test_the_bundled_core_tells_where_its_prompt_opens_a_block(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as gateway:
        gateway.engine.opening = "<think>"
        gateway.engine.when("hi", Say("because\n</think>\n\nHello"))
        body = {**BODY, "model": "fast"}
        message = (await gateway.post("/v1/chat/completions", body)).json()["choices"][0]["message"]
        assert (message["content"], message["reasoning"]) == ("Hello", "because\n")
        stream = await gateway.post("/v1/chat/completions", {**body, "stream": True})
        assert "opens_reasoning" not in stream.text
        assert '"reasoning":"because' in stream.text and '"content":"because' not in stream.text
        # Reasoning that comes back is not sent again.
        back = [*body["messages"], message, {"role": "user", "content": "hi again"}]
        await gateway.post("/v1/chat/completions", {**body, "messages": back})
        assert "because" not in json.dumps(gateway.engine.requests[-1])
        gateway.engine.when("hi", Say("I have to look</think>"), Call("look", "{}"))
        tools = [{"type": "function", "function": {"name": "look"}}]
        answer = await gateway.post("/v1/chat/completions", {**body, "tools": tools})
        choice = answer.json()["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["reasoning"] == "I have to look"
