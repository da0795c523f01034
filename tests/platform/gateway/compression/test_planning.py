"""What a compressed prompt keeps, whatever the conversation looks like."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roost_platform.gateway.compression.bm25 import relevance
from roost_platform.gateway.compression.planning import Bounds, Plan, plan
from roost_platform.gateway.compression.rounds import first_request
from roost_platform.gateway.compression.rows import text_of
from roost_platform.gateway.compression.sent_rows import ROWS_MAX, WARM_S, SentRows, chain
from roost_platform.gateway.compression.stubs import cut, reference_of, stub
from roost_platform.gateway.request import ModelRequest, NativeCall
from roost_platform.gateway.sizes import text_bytes

TIGHT = Bounds(above_bytes=2000, target_bytes=1200)
FORCED = Bounds(2000, 1200, is_forced=True)
Row = Mapping[str, Any]


def user(text: str) -> Row:
    return {"role": "user", "content": text}


def said(text: str) -> Row:
    return {"role": "assistant", "content": text}


def calls(*ids: str) -> Row:
    functions = [
        {"id": id, "type": "function", "function": {"name": "read", "arguments": "{}"}}
        for id in ids
    ]
    return {"role": "assistant", "content": None, "tool_calls": functions}


def result(id: str, text: str) -> Row:
    return {"role": "tool", "tool_call_id": id, "content": text}


def asked(rows: Sequence[Row], native: NativeCall | None = None) -> ModelRequest:
    body = {"messages": list(rows)}
    return ModelRequest("chat", "fast", body, prompt_bytes=text_bytes(rows), native=native)


def planned(
    rows: Sequence[Row], *, sent: SentRows | None = None, now: float = 0.0, bounds: Bounds = TIGHT
) -> Plan:
    return plan(asked(rows), "key", bounds, sent or SentRows(), now)


def lines(word: str, count: int = 200) -> str:
    return "\n".join(f"{word} {number}" for number in range(count))


OLD = [
    {"role": "system", "content": lines("rules", 20)},
    user(lines("wish")),
    calls("a", "b"),
    result("a", lines("apples")),
    result("b", lines("bananas")),
    said(lines("words")),
    user("And now?"),
    calls("c"),
    result("c", lines("cherries")),
]


def test_system_assistant_last_user_and_unseen_results_stay() -> None:
    after = planned(OLD).rows
    assert len(after) == len(OLD)
    changed = {index for index, row in enumerate(after) if row != OLD[index]}
    assert changed == {1, 3, 4}
    for index in (3, 4):
        assert after[index]["tool_call_id"] == OLD[index]["tool_call_id"]


def test_a_prompt_below_the_threshold_stays_as_it_is() -> None:
    rows = [user("a"), said("b"), user("c")]
    assert planned(rows) == Plan(rows, {}, text_bytes(rows))


def test_what_the_question_is_about_stays() -> None:
    rows = [
        calls("a", "b"),
        result("a", lines("apples")),
        result("b", lines("bananas")),
        said("Read."),
        user("How many bananas are there?"),
    ]
    bounds = Bounds(3000, 3000)
    after = plan(asked(rows), "key", bounds, SentRows(), 0.0).rows
    assert after[2] == rows[2] and "Left out" in after[1]["content"]


def test_of_a_relevant_text_that_is_too_long_beginning_and_end_stay() -> None:
    rows = [calls("a"), result("a", lines("bananas", 2000)), said("Read."), user("bananas?")]
    bounds = Bounds(4000, 4000)
    text = plan(asked(rows), "key", bounds, SentRows(), 0.0).rows[1]["content"]
    head, note, tail = text.partition("[Left out: ")
    assert head.startswith("bananas 0\n") and tail.endswith("bananas 1999") and note
    kept = len(head), len(tail)
    assert 0.6 < kept[0] / sum(kept) < 0.8
    assert len(text) < 4000


def test_nothing_before_a_cache_breakpoint_is_replaced() -> None:
    rows = [dict(row) for row in OLD]
    rows[3]["content"] = [
        {"type": "text", "text": lines("apples"), "cache_control": {"type": "ephemeral"}}
    ]
    after = planned(rows).rows
    assert [index for index, row in enumerate(after) if row != rows[index]] == [4]


def test_a_breakpoint_in_the_native_body_covers_its_rows() -> None:
    marked = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    native = [
        {"role": "user", "content": [marked]},
        *({"role": "user", "content": "later"} for _ in range(6)),
    ]
    request = asked(OLD, NativeCall("anthropic", {"messages": native}))
    after = plan(request, "key", TIGHT, SentRows(), 0.0).rows
    assert [index for index, row in enumerate(after) if row != OLD[index]] == [3, 4]
    native.append({"role": "user", "content": [marked]})
    assert plan(request, "key", TIGHT, SentRows(), 0.0).rows == OLD


def test_a_compressed_call_does_not_go_out_in_its_native_form() -> None:
    native = NativeCall("anthropic", {"messages": [{"role": "user", "content": lines("x")}]})
    request = asked(OLD, native)
    sent = first_request(request, plan(request, "key", TIGHT, SentRows(), 0.0), "retrieve")
    assert sent.native is None
    assert sent.body["messages"] != OLD
    assert sent.prompt_bytes == text_bytes(sent.body["messages"]) + text_bytes(sent.body["tools"])


def test_pictures_and_odd_contents_are_left_alone() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    odd: list[Row] = [
        {"role": "user", "content": [{"type": "text", "text": lines("seen")}, picture]},
        {"role": "tool", "tool_call_id": "a", "content": None},
        {"role": "tool", "tool_call_id": "b", "content": [7, {"text": 8}]},
        {"role": "user", "content": [{"type": "text", "text": lines("list")}]},
        said("Read."),
        user("And now?"),
    ]
    after = planned(odd).rows
    assert after[:3] == odd[:3]
    assert after[3]["content"][0]["text"].startswith("[Left out")


def test_a_warm_prefix_is_not_rewritten_and_a_cold_one_is() -> None:
    sent = SentRows()
    before = OLD[:-3]
    large = Bounds(100_000, 100_000)
    plan(asked(before), "key", large, sent, 0.0)
    assert planned(OLD, sent=sent, now=WARM_S).rows == OLD
    assert planned(OLD, sent=sent, now=3 * WARM_S).rows != OLD


def test_another_key_and_another_session_know_nothing_of_a_prefix() -> None:
    sent = SentRows()
    plan(asked(OLD), "key", Bounds(10**6, 10**6), sent, 0.0)
    assert plan(asked(OLD), "other", TIGHT, sent, 1.0).rows != OLD


def test_a_warm_prefix_is_given_up_where_the_prompt_would_not_fit() -> None:
    sent = SentRows()
    plan(asked(OLD), "key", Bounds(10**6, 10**6), sent, 0.0)
    assert planned(OLD, sent=sent, now=1.0, bounds=FORCED).rows != OLD


def test_stubs_stay_byte_for_byte_in_later_turns_warm_or_cold() -> None:
    for pause in (1.0, 10 * WARM_S):
        sent = SentRows()
        first = planned(OLD, sent=sent)
        more = [*OLD, said("Seen."), user("What of apples, bananas and my wish?")]
        second = planned(more, sent=sent, now=pause)
        assert json.dumps(second.rows[: len(OLD) - 1]) == json.dumps(first.rows[:-1])
        assert first.originals.items() <= second.originals.items()


def test_a_text_has_one_reference_for_a_key_and_another_for_another() -> None:
    assert reference_of("a", "text") == reference_of("a", "text") != reference_of("b", "text")
    assert stub("text", "r-1") == stub("text", "r-1")


def test_what_was_sent_is_remembered_for_a_bounded_number_of_rows() -> None:
    sent = SentRows()
    for number in range(3):
        names = chain(str(number), [user("a"), user("b")])
        sent.remember(names, [0, 0], now=number)
    old = chain("0", [user("a"), user("b")])
    filler = [index.to_bytes(16) for index in range(ROWS_MAX - 5)]
    sent.remember(filler, [0] * len(filler), now=9.0)
    forms, warm = sent.forms(old, now=9.0)
    assert (forms, warm) == ([0, -1], 1)


ROWS = st.lists(
    st.one_of(
        st.tuples(st.just("user"), st.integers(0, 900)),
        st.tuples(st.just("assistant"), st.integers(0, 900)),
        st.tuples(st.just("system"), st.integers(0, 300)),
        st.tuples(st.just("calls"), st.integers(1, 3)),
    ),
    min_size=1,
    max_size=12,
)
WORDS = st.text(st.sampled_from("ab cé\n中😀"), min_size=1, max_size=5)


def conversation(shape: Sequence[tuple[str, int]], word: str) -> list[Row]:
    rows: list[Row] = []
    for number, (kind, size) in enumerate(shape):
        if kind == "calls":
            ids = [f"{number}-{index}" for index in range(size)]
            rows.append(calls(*ids))
            rows += [result(id, f"{id} {word}" * 150) for id in ids]
        else:
            rows.append({"role": kind, "content": f"{number} {word} " * (size // 8)})
    return rows


@given(ROWS, WORDS, st.integers(0, 12), st.booleans())
@settings(max_examples=60, deadline=None)
def test_rows_calls_and_prefixes_hold_for_every_conversation(
    shape: Sequence[tuple[str, int]], word: str, cut_at: int, is_forced: bool
) -> None:
    rows = conversation(shape, word)
    sent = SentRows()
    bounds = Bounds(1500, 900, is_forced)
    earlier = rows[: min(cut_at, len(rows))]
    first = plan(asked(earlier), "key", bounds, sent, 0.0) if earlier else Plan([], {}, 0)
    after = plan(asked(rows), "key", bounds, sent, 1.0)

    assert len(after.rows) == len(rows)
    changed = []
    for index, (old, new) in enumerate(zip(rows, after.rows, strict=True)):
        assert {**old, "content": ""} == {**new, "content": ""}
        if old != new:
            changed.append(index)
            assert old["role"] in ("user", "tool")
            assert text_of(old) in after.originals.values()
            assert any(reference in new["content"] for reference in after.originals)
    last_user = max((i for i, r in enumerate(rows) if r["role"] == "user"), default=-1)
    last_answer = max(
        (i for i, r in enumerate(rows) if r["role"] == "assistant"), default=len(rows)
    )
    assert last_user not in changed or last_user < len(earlier)
    assert all(index < last_answer for index in changed)
    if not is_forced:
        assert json.dumps(after.rows[: len(earlier)]) == json.dumps(first.rows)
    assert after.prompt_bytes == text_bytes(after.rows)


@given(st.text(max_size=3000), st.integers(1, 2000))
@settings(max_examples=60, deadline=None)
def test_a_cut_text_keeps_its_own_beginning_and_end(text: str, characters: int) -> None:
    shown = cut(text, "r-0", characters)
    if shown == text:
        return
    head, _, tail = shown.partition("\n[Left out: reference r-0, ")
    tail = tail.partition(" on]\n")[2]
    assert text.startswith(head) and text.endswith(tail)
    assert len(head) + len(tail) <= characters


def test_rare_words_count_more_and_texts_without_any_count_nothing() -> None:
    texts = ["the common word here", "the order INV-2041 is open", "", "東京 の 天気"]
    scores = relevance("where is the INV-2041", texts)
    assert scores[1] > scores[0] > 0 == scores[2] == scores[3]
    assert relevance("京", texts)[3] > 0
    assert relevance("", texts) == [0.0] * 4 and relevance("x", []) == []
