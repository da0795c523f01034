"""The events of a stream tell the same answer as a whole one, however the engine cuts it."""

import json
import random
from collections.abc import Sequence
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from roost_platform.gateway.answer import Answer
from roost_platform.gateway.events import (
    CallDelta,
    Event,
    Finish,
    NativePart,
    ReasoningDelta,
    Started,
    TextDelta,
    Usage,
)
from roost_platform.gateway.families.messages.family import MessagesFamily
from roost_platform.gateway.providers.anthropic.decoder import MessagesDecoder
from roost_platform.gateway.request import ModelRequest
from roost_platform.testing.providers.anthropic import Reply, events_of

BODY = {"thinking": {"type": "enabled"}}
REQUEST = ModelRequest("messages", "m", {}, prompt_bytes=40)


def written(events: Sequence[Event]) -> list[dict[str, Any]]:
    writer = MessagesFamily().writer(REQUEST, BODY, "a-b")
    text = (b"".join(writer.write([event]) for event in events) + writer.end()).decode()
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]


def replayed(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client puts together, with the rules of the stream held on the way."""
    events = [event for event in events if event["type"] != "ping"]
    message = cast(dict[str, Any], events[0]["message"])
    open_index = None
    for event in events[1:]:
        match event["type"]:
            case "content_block_start":
                assert open_index is None and event["index"] == len(message["content"])
                open_index = event["index"]
                message["content"].append({**event["content_block"], "json": ""})
            case "content_block_delta":
                assert event["index"] == open_index
                block, delta = message["content"][open_index], event["delta"]
                for kind in ("text", "thinking", "signature"):
                    block |= {kind: block[kind] + delta[kind]} if kind in delta else {}
                block["json"] += delta.get("partial_json", "")
            case "content_block_stop":
                assert event["index"] == open_index
                open_index = None
            case "message_delta":
                message |= {**event["delta"], "usage": event["usage"]}
            case last:
                assert last == "message_stop" and event is events[-1] and open_index is None
    for block in message["content"]:
        if text := block.pop("json"):
            block["input"] = json.loads(text)
    return message


def whole(events: Sequence[Event]) -> dict[str, Any]:
    answer = Answer()
    answer.take(events)
    return dict(MessagesFamily().whole(REQUEST, BODY, "a-b", answer))


THOUGHTS = st.tuples(st.text(min_size=1, max_size=20), st.sampled_from(["", "proof"]))


@settings(max_examples=80, deadline=None)
@given(
    thoughts=st.lists(THOUGHTS, max_size=2),
    texts=st.lists(st.text(min_size=1, max_size=30), max_size=2),
    calls=st.lists(st.dictionaries(st.text(max_size=5), st.integers(), max_size=3), max_size=4),
    seed=st.integers(0, 2**16),
    is_mixed=st.booleans(),
)
def test_a_stream_is_the_whole_answer_in_pieces(
    thoughts: list[tuple[str, str]],
    texts: list[str],
    calls: list[dict[str, int]],
    seed: int,
    is_mixed: bool,
) -> None:
    chance = random.Random(seed)

    def pieces(text: str) -> list[str]:
        cuts = sorted(chance.sample(range(len(text) + 1), min(3, len(text) + 1)))
        return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    events: list[Event] = [Started(model="theirs")]
    for text, proof in thoughts:
        events += [ReasoningDelta(piece) for piece in pieces(text)]
        events.append(ReasoningDelta("", signature=proof))
    events += [TextDelta(piece) for text in texts for piece in pieces(text)]
    lanes = []
    for index, arguments in enumerate(calls):
        lane: list[Event] = [CallDelta(index, f"c{index}", f"tool{index}")]
        lane += [CallDelta(index, arguments=piece) for piece in pieces(json.dumps(arguments))]
        lanes.append(lane)
    if is_mixed:  # an engine that writes its calls at once; each begins in order
        events += [lane.pop(0) for lane in lanes]
        while any(lanes):
            events.append(chance.choice([lane for lane in lanes if lane]).pop(0))
    else:
        events += [event for lane in lanes for event in lane]
    events += [Finish("tool_calls" if calls else "stop"), Usage(50, 20, 5, 7, 3)]
    assert replayed(written(events)) == whole(events)


BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, st.text(min_size=1, max_size=20)),
    st.builds(
        lambda text: {"type": "thinking", "thinking": text, "signature": "proof"},
        st.text(max_size=20),
    ),
    st.just({"type": "redacted_thinking", "data": "cipher"}),
    st.just({"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
    st.builds(
        lambda value: {"type": "server_tool_use", "id": "s", "name": "web_search", "input": value},
        st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
    ),
    st.builds(
        lambda value: {"type": "tool_use", "id": "t", "name": "look", "input": value},
        st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
    ),
)


def joined(blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Neighbouring texts are one: the inner events know no border between them."""
    out: list[dict[str, Any]] = []
    for block in blocks:
        kept = {name: value for name, value in block.items() if name not in ("caller", "citations")}
        if out and out[-1]["type"] == kept["type"] == "text":
            out[-1] = {**out[-1], "text": out[-1]["text"] + kept["text"]}
        else:
            out.append(kept)
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(BLOCKS, max_size=6))
def test_anthropic_s_own_answer_passes_unchanged(blocks: list[dict[str, Any]]) -> None:
    # Calls that share an id get ids of their own: test_unknown_shapes.
    blocks = [{**b, "id": f"t{n}"} if b["type"] == "tool_use" else b for n, b in enumerate(blocks)]
    decoder = MessagesDecoder()
    events = [
        event for value in events_of(Reply(blocks), "m") for event in decoder.feed(value)
    ] + decoder.end()
    for message in (replayed(written(events)), whole(events)):
        assert joined(message["content"]) == joined(blocks)


def test_a_late_piece_of_a_call_waits_for_its_turn() -> None:
    events: list[Event] = [
        CallDelta(0, "a", "first"),
        CallDelta(0, arguments='{"x": '),
        CallDelta(1, "b", "second"),
        CallDelta(1, arguments='{"y": 2}'),
        TextDelta("between"),
        CallDelta(0, arguments="1}"),
        NativePart({"type": "container_upload", "file_id": "f"}),
        Finish("stop"),
    ]
    message = replayed(written(events))
    kinds = [block["type"] for block in message["content"]]
    assert kinds == ["tool_use", "tool_use", "text", "container_upload"]
    assert [block["input"] for block in message["content"][:2]] == [{"x": 1}, {"y": 2}]
    assert message["stop_reason"] == "tool_use"
