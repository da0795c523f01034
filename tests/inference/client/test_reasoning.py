"""A model's reasoning is no part of its answer, however an engine sends it."""

import random
from collections.abc import Callable, Iterable

import pytest

from roost_inference.client.assembly import AnswerAssembly
from roost_inference.client.reasoning import ReasoningFilter, split_reasoning
from roost_platform.testing.growth import grows_in_proportion

FENCED = "Write:\n\n```xml\n<think>\nhere\n</think>\n```\n\nThat is all."
HARMONY = (
    "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hi"
    "<|return|>"
)
CASES = [
    ("<think>a</think>Hi", "Hi"),
    ("  \n<thinking>a\n</thinking>\n\nHi", "Hi"),
    ("<THINK>a</THINK>Hi", "Hi"),
    ('<think time="3">a</think>Hi', "Hi"),
    ("<reasoning>a</reasoning>\n<thought>b</thought> Hi", "Hi"),
    ("[THINK]a[/THINK]Hi", "Hi"),
    ("◁think▷a◁/think▷Hi", "Hi"),
    ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Hi<|END_RESPONSE|>", None),
    (HARMONY, "Hi"),
    ("<think></think>\n\nHi", "Hi"),
    ("<think>a", ""),
    ("The prompt opened it.\n</think>\n\nHi", "Hi"),
    ("The prompt opened it</think>Hi", "Hi"),
    ("thinking in ```py\nx = 1\n</think>\nHi", "Hi"),
    ("```py\nx = 1\n</think>\nHi", "Hi"),
    (FENCED, FENCED),
    (f"<think>a</think>{FENCED}", FENCED),
    ("~~~\n<think>\n~~~\nx", "~~~\n<think>\n~~~\nx"),
    ("Models write `<think>` and `</think>`.", "Models write `<think>` and `</think>`."),
    ('Close it with "</think>" please.', 'Close it with "</think>" please.'),
    ("The <think> tag in a line", "The <think> tag in a line"),
    ("A\n<think>b</think>\nC", "A\n\nC"),
    ("A\n<think>it never ends", "A\n<think>it never ends"),
    ("<thinker>ok</thinker>", "<thinker>ok</thinker>"),
    ("  if a < b and c<d: [x](y) [1] <|", "  if a < b and c<d: [x](y) [1] <|"),
    ("", ""),
]


def seen(pieces: Iterable[str]) -> str:
    """What people see in the end of an answer that comes in these pieces."""
    parts, shown = ReasoningFilter(), ""
    for piece in pieces:
        visible = parts.feed(piece)
        shown = visible.text if visible.replaces else shown + visible.text
    last = parts.end()
    return last.text if last.replaces else shown + last.text


@pytest.mark.parametrize(("text", "answer"), CASES)
def test_reasoning_is_taken_out_wherever_the_stream_is_cut(text: str, answer: str | None) -> None:
    whole = split_reasoning(text)[0]
    if answer is not None:
        assert whole == answer
    for seed in range(40):
        cut = random.Random(seed)
        pieces, at = [], 0
        while at < len(text):
            length = cut.randint(1, 4)
            pieces.append(text[at : at + length])
            at += length
        assert seen(pieces) == whole, (seed, pieces)


def test_reasoning_is_kept_apart_and_not_lost() -> None:
    assert split_reasoning("<think>why</think>Hi") == ("Hi", "why")
    assert split_reasoning("why\n</think>Hi")[1] == "why\n"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_in_a_field_of_its_own_is_no_answer(name: str) -> None:
    answer = AnswerAssembly("m")
    for delta in ({name: "why"}, {"content": "Hi"}, {name: None}):
        answer.add({"choices": [{"delta": delta}]})
    answer.add({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    answer.end()
    assert (answer.completed().text, answer.completed().reasoning) == ("Hi", "why")


def test_reasoning_among_the_parts_of_a_message_is_no_answer() -> None:
    answer = AnswerAssembly("m")
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}
    content = [thinking, {"type": "text", "text": "Hi"}, {"type": "image_url"}]
    answer.add({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})
    answer.end()
    assert (answer.completed().text, answer.completed().reasoning) == ("Hi", "why")


@pytest.mark.parametrize(
    "unit",
    ["<", "`", " ", "<think>\n", "\n<think>", "<|", "</think>", "a <b ", "◁", "[", "\n```\n"],
)
def test_the_filters_work_grows_with_the_text(unit: str) -> None:
    def prepare(characters: int) -> Callable[[], object]:
        text = "A\n" + unit * (characters // len(unit))
        return lambda: seen(text[at : at + 7] for at in range(0, len(text), 7))

    assert grows_in_proportion(prepare, 20_000)
