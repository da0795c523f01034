"""What holds for every response: its events make its resource, and no body fails the gateway."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from tests.platform.gateway.responses.replaying import ENDS, events_of, replayed

from roost_inference.errors import EngineError, EngineFailed, InvalidRequest
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.events import (
    CallDelta,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    Usage,
)
from roost_platform.gateway.families.responses.items import chat_messages, input_items
from roost_platform.gateway.families.responses.reading import read_response
from roost_platform.gateway.families.responses.resource import new_resource
from roost_platform.gateway.families.responses.writing import ResponseWriter, whole_response

ID = "resp_" + "0" * 32
CUSTOM = frozenset({"patch"})

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
entry = st.fixed_dictionaries({"token": words, "logprob": st.just(-0.5)})
texts = st.builds(TextDelta, words, logprobs=st.lists(entry, max_size=1))
reasoning = st.builds(ReasoningDelta, words, signature=st.sampled_from(["", "", "sig"]))
redacted = st.builds(ReasoningDelta, words, is_redacted=st.just(True))
refusals = st.builds(RefusalDelta, words)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """The events of one answer, the parts of its calls mixed as some engines mix them."""
    events: list[Event] = [Started()]
    said = draw(st.lists(st.one_of(texts, texts, reasoning, redacted, refusals), max_size=8))
    calls: list[Event] = []
    for index in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(["look", "patch"]))
        calls.append(CallDelta(index, f"call_{index}", name))
        calls += [CallDelta(index, arguments=text) for text in draw(st.lists(words, max_size=3))]
    if draw(st.booleans()):
        heads = [c for c in calls if isinstance(c, CallDelta) and c.name]
        calls = heads + draw(st.permutations([c for c in calls if c not in heads]))
    events += said + calls
    reason = draw(st.sampled_from(["stop", "tool_calls", "length", "content_filter"]))
    events += [Finish(reason), Usage(input_tokens=3, output_tokens=5)]  # type: ignore[arg-type]
    return events


def written(events: Sequence[Event], cuts: list[int], *, summarises: bool) -> list[dict[str, Any]]:
    """The stream of an answer that comes in batches."""
    resource = new_resource(ID, {"model": "fast"}, "in_progress")
    writer = ResponseWriter(resource, custom=CUSTOM, summarises=summarises)
    parts: list[bytes] = []
    bounds = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    for start, end in pairwise(bounds):
        parts.append(writer.write(events[start:end]))
    parts.append(writer.end())
    return events_of(b"".join(parts).decode())


@given(answers(), st.lists(st.integers(0, 20), max_size=4), st.booleans())
def test_the_events_make_the_resource(
    answer: list[Event], cuts: list[int], summarises: bool
) -> None:
    events = written(answer, cuts, summarises=summarises)
    assert [event["type"] in ENDS for event in events].count(True) == 1
    final = events[-1]["response"]
    assert replayed(events) == final["output"]
    added = [e["output_index"] for e in events if e["type"] == "response.output_item.added"]
    done = [e["output_index"] for e in events if e["type"] == "response.output_item.done"]
    assert sorted(added) == sorted(done) == list(range(len(final["output"])))
    finished = {e["output_index"]: e["item"] for e in events if e["type"].endswith("_item.done")}
    assert [finished[index] for index in range(len(finished))] == final["output"]


@given(answers())
def test_signed_reasoning_comes_back_to_its_provider(answer: list[Event]) -> None:
    output = written(answer, [], summarises=True)[-1]["response"]["output"]
    put = Answer()
    put.take(answer)
    blocks = [block for block in put.choices[0].reasoning if block.signature or block.is_redacted]
    results = [
        {"type": f"{item['type']}_output", "call_id": item["call_id"], "output": "ok"}
        for item in output
        if "call_id" in item
    ]
    last = {"type": "message", "role": "assistant", "content": "end"}
    asked = {"type": "message", "role": "user", "content": "go"}
    messages = chat_messages("", [asked, *output, last, *results])
    details = [one for message in messages for one in message.get("reasoning_details", ())]
    told = [one.get("signature") or one["data"] for one in details]
    assert told == [block.signature or block.text for block in blocks]


@given(answers())
def test_a_whole_response_has_what_its_stream_has(answer: list[Event]) -> None:
    streamed = written(answer, [], summarises=False)[-1]["response"]
    put = Answer()
    put.take(answer)
    resource = new_resource(ID, {"model": "fast"}, "in_progress")
    whole = whole_response(resource, put, custom=CUSTOM, summarises=False)

    def said(response: dict[str, Any]) -> tuple[Any, ...]:
        parts = [part for item in response["output"] for part in item.get("content", ())]
        calls = [i for i in response["output"] if "call_id" in i]
        named = [(i["name"], i.get("arguments"), i.get("input")) for i in calls]
        kinds = ("output_text", "refusal", "reasoning_text")
        by_kind = [
            "".join(p.get("text", p.get("refusal", "")) for p in parts if p["type"] == kind)
            for kind in kinds
        ]
        return response["status"], response["usage"], by_kind, named

    assert said(whole) == said(streamed)


@given(answers(), st.integers(0, 12))
def test_a_response_that_breaks_off_keeps_what_was_told(answer: list[Event], cut: int) -> None:
    resource = new_resource(ID, {"model": "fast"}, "in_progress")
    writer = ResponseWriter(resource, custom=CUSTOM, summarises=False)
    told = writer.write(answer[: min(cut, len(answer) - 2)])
    events = events_of((told + writer.fail(EngineFailed("gone"))).decode())
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    final = events[-1]["response"]
    for replay, item in zip(replayed(events), final["output"], strict=True):
        if item["type"] != "custom_tool_call":  # its input is known at its end only
            assert {**replay, "status": None} == {**item, "status": None}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
FIELDS = """instructions metadata reasoning text tools tool_choice include temperature top_p store
    stream background truncation max_output_tokens top_logprobs previous_response_id service_tier
    parallel_tool_calls conversation prompt max_tool_calls safety_identifier user prompt_cache_key
    """
KINDS = """message function_call function_call_output custom_tool_call custom_tool_call_output
    reasoning compaction item_reference web_search_call input_text input_image input_file custom
    allowed_tools function refusal output_text json_schema"""
NAMED = """role content call_id output arguments name input id text image_url file_data format
    schema effort summary mode tools encrypted_content refusal parameters verbosity"""
roles = st.sampled_from(["user", "assistant", "developer"])
odd: st.SearchStrategy[dict[str, Any]] = st.deferred(
    lambda: st.builds(
        lambda made, kind: {**made, "type": kind},
        st.dictionaries(
            st.sampled_from(NAMED.split()),
            json_values | roles | st.lists(odd, max_size=2),
            max_size=4,
        ),
        st.sampled_from(KINDS.split()),
    )
)


@given(
    st.dictionaries(st.sampled_from(FIELDS.split()), json_values | odd | st.lists(odd, max_size=2)),
    json_values | st.lists(odd, max_size=4),
)
@example({}, [{"type": "message", "role": []}])
def test_no_body_is_anything_but_read_or_refused(fields: dict[str, Any], given_input: Any) -> None:
    try:
        asked = read_response({"model": "fast", **fields, "input": given_input}, "")
        items = input_items(asked.input, ID)
        chat_messages(asked.instructions, [i for i in items if i["type"] != "item_reference"])
    except EngineError as error:
        assert isinstance(error, InvalidRequest) and error.http_status == 400
        assert error.param is not None
