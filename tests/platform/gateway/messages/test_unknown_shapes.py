"""Whatever a provider with Anthropic's API sends is an answer or an error, and is bounded."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost_inference.client.call_assembly import CALLS_MAX
from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.errors import UnreadableAnswer
from roost_platform.gateway.families.chat.reading import read_chat
from roost_platform.gateway.families.chat.writing import ChatWriter, completion
from roost_platform.gateway.families.messages.reading import read_messages
from roost_platform.gateway.families.messages.whole import message
from roost_platform.gateway.families.messages.writing import MessagesWriter
from roost_platform.gateway.providers.anthropic.decoder import BLOCKS_MAX, MessagesDecoder

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
BODY = {**CHAT, "max_tokens": 9}
JUNK: list[Any] = [
    *(None, True, 0, 5, -1, 1.5, 10**30, float("nan"), "", "x", "text", [], {}, [1], ["a"], [[]]),
    *([{}], {"a": 1}, {"type": 5}, {"type": "text", "text": 5}, {"type": ["text"]}),
    *({"type": "tool_use", "id": 5, "name": [], "input": 5}, [{"type": "text", "citations": 5}]),
]
ANY = st.sampled_from(JUNK)


def some(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=known)


def one_of(*names: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(names) | ANY


BLOCK = ANY | some(
    type=one_of("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use"),
    **dict.fromkeys(("text", "thinking", "signature", "data", "id", "name", "input"), ANY),
    citations=ANY,
)
DELTA = ANY | some(
    type=one_of(
        *("text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta")
    ),
    **dict.fromkeys(("text", "thinking", "signature", "partial_json", "citation"), ANY),
    **dict.fromkeys(("stop_reason", "stop_sequence", "stop_details", "container"), ANY),
)
USAGE = ANY | some(
    input_tokens=ANY, output_tokens=ANY, cache_read_input_tokens=ANY, output_tokens_details=ANY
)
EVENT = ANY | some(
    type=one_of(
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop", "message", "ping", "error"),
    ),
    index=st.integers(0, 2) | ANY,
    content_block=BLOCK,
    delta=DELTA,
    message=ANY | some(id=ANY, model=ANY, usage=USAGE, content=ANY),
    content=st.lists(BLOCK, max_size=2) | ANY,
    usage=USAGE,
    **dict.fromkeys(("error", "stop_reason", "context_management"), ANY),
)
START = {"type": "message_start", "message": {"usage": {"input_tokens": 1}}}


@settings(max_examples=400, deadline=None)
@given(st.lists(EVENT, max_size=5))
def test_any_json_of_a_provider_becomes_an_answer_or_an_error(events: list[Any]) -> None:
    decoder, answer = MessagesDecoder(), Answer()
    native, chat = read_messages(BODY, {}), read_chat(CHAT, {})
    writers = (
        MessagesWriter(native, "1", estimate=1, shows_reasoning=True),
        ChatWriter(chat, CHAT, "1"),
    )
    with contextlib.suppress(EngineError):
        for event in [START, *events, {"type": "message_stop"}]:
            told = decoder.feed(event)
            answer.take(told)
            for writer in writers:
                writer.write(told)
        answer.take(decoder.end())
        whole = message(native, "1", answer, shows_reasoning=True)
        assert isinstance(whole["stop_reason"], str)
        completion(chat, CHAT, "1", answer)


def begun(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": {"type": kind, **more}}


STOP = {"type": "content_block_stop", "index": 0}


@pytest.mark.parametrize(
    ("kind", "most"), [("tool_use", CALLS_MAX), ("text", BLOCKS_MAX), ("odd", BLOCKS_MAX)]
)
def test_blocks_without_end_are_refused(kind: str, most: int) -> None:
    decoder = MessagesDecoder()
    decoder.feed(START)
    for _ in range(most):
        decoder.feed(begun(kind))
        decoder.feed(STOP)
    with pytest.raises(UnreadableAnswer, match=str(most)):
        decoder.feed(begun(kind))


def test_calls_that_share_an_id_get_each_their_own() -> None:
    decoder, answer = MessagesDecoder(), Answer()
    decoder.feed(START)
    for _ in range(3):
        answer.take(decoder.feed(begun("tool_use", id="same", name="look", input={"a": 1})))
        answer.take(decoder.feed(STOP))
    [first, *others] = answer.choices[0].calls
    assert first.id == "same"
    assert len({first.id, *(call.id for call in others)}) == 3
    assert [json.loads(call.arguments) for call in others] == [{"a": 1}] * 2


def test_blocks_that_nothing_ends_are_whole_at_the_end() -> None:
    decoder, answer = MessagesDecoder(), Answer()
    searched = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}
    answer.take(decoder.feed(START))
    answer.take(decoder.feed(begun("tool_use", id="a", name="look", input={"at": 1})))
    answer.take(decoder.feed({"type": "content_block_start", "content_block": searched}))
    answer.take(decoder.feed(begun("tool_use", id="b", name="look", input={"at": 2})))
    answer.take(decoder.feed({"type": "message_stop"}))
    answer.take(decoder.end())
    whole = message(read_messages(BODY, {}), "1", answer, shows_reasoning=True)
    inputs = [block["input"] for block in whole["content"]]
    assert sorted(inputs, key=str) == sorted([{"at": 1}, {"at": 2}, {"query": "x"}], key=str)
