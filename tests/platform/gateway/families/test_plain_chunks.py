"""Chunks that add text alone are read in few steps; they mean what they mean read in full."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roost_inference.errors import EngineError
from roost_platform.gateway.providers.chat_decoder import ChatDecoder
from roost_platform.gateway.providers.plain_text import LEARNT_MAX, ChunkReader, PlainText

texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "`",
            "```\n",
            '"',
            "\\",
            "\\n",
            "é",
            "🙂",
            '","x":"',
            "\x00",
            "content",
        ]
    ),
)
spaced = st.sampled_from([(",", ":"), (", ", ": ")])
FIRST = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}


@st.composite
def chunks(draw: st.DrawFn) -> dict[str, Any]:
    delta: dict[str, Any] = {"content": draw(texts)}
    rare = st.sampled_from([None, None, None, None, "x"])
    for name in ("role", "reasoning", "refusal", "reasoning_content"):
        if (value := draw(rare)) is not None:
            delta[name] = value
    choice: dict[str, Any] = {"index": draw(st.sampled_from([0, 0, 0, 1])), "delta": delta}
    choice["finish_reason"] = draw(st.sampled_from([None, None, None, None, "stop"]))
    if draw(rare):
        entry = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
        choice["logprobs"] = {"content": [entry]}
    chunk: dict[str, Any] = {"id": "c", "model": "m", "choices": [choice]}
    if draw(rare):
        chunk["usage"] = {"prompt_tokens": 1, "completion_tokens": 2}
    if draw(rare):
        chunk["obfuscation"] = draw(texts)
    return chunk


def told(decoder: ChatDecoder, values: list[Any]) -> list[Any]:
    events: list[Any] = []
    try:
        for value in values:
            events += decoder.feed(value)
        events += decoder.end()
    except EngineError as error:
        events.append((type(error), error.message))
    return events


@settings(max_examples=300, deadline=None)
@given(st.lists(chunks(), max_size=12), spaced, st.booleans())
def test_what_is_read_in_few_steps_means_the_same(
    some: list[dict[str, Any]], separators: tuple[str, str], is_ascii: bool
) -> None:
    data = [json.dumps(one, separators=separators, ensure_ascii=is_ascii) for one in (FIRST, *some)]
    reader = ChunkReader()
    assert told(ChatDecoder(), [reader.read(one) for one in data]) == told(
        ChatDecoder(), [json.loads(one) for one in data]
    )


def chunk(text: str, **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return json.dumps({"id": "c", "choices": [choice], **more})


def test_a_chunk_of_the_learnt_form_is_not_parsed(monkeypatch: Any) -> None:
    from roost_platform.gateway.providers import plain_text

    parsed: list[str] = []

    def parse(data: str) -> Any:
        parsed.append(data)
        return json.loads(data)

    monkeypatch.setattr(plain_text, "json_value", parse)
    reader = ChunkReader()
    read = [reader.read(chunk(text)) for text in ("", "a", "b", "ß", 'q"q', "c")]
    assert read[1:] == [PlainText(text, 0) for text in ("a", "b", "ß", 'q"q', "c")]
    assert len(parsed) == 2  # the first one, and the one that is learnt from


def test_forms_that_change_with_each_chunk_are_learnt_a_few_times_only() -> None:
    reader = ChunkReader()
    for number in range(50):
        value = reader.read(chunk(f"t{number}", created=number))
        assert number == 0 or value == PlainText(f"t{number}", 0)
    assert reader._learnt == LEARNT_MAX
