"""What was left out comes back whole, whatever it is and however a model asks."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost_platform.gateway.answer import AnsweredCall
from roost_platform.gateway.compression.retrieval import (
    ANSWERS_CHARACTERS_MAX,
    CALLS_MAX,
    NO_MORE,
    PART_CHARACTERS,
    Retrieval,
    tool,
    tool_name,
)
from roost_platform.gateway.compression.stubs import reference_of

REFERENCE = "r-0123456789abcdef"


class Stored:
    """Texts of other prompts, by key and reference."""

    def __init__(self, texts: Mapping[tuple[str, str], str] | None = None) -> None:
        self.texts = dict(texts or {})

    async def keep(self, key_id: str, texts: Mapping[str, str]) -> None:
        self.texts |= {(key_id, reference): text for reference, text in texts.items()}

    async def find(self, key_id: str, reference: str) -> str | None:
        return self.texts.get((key_id, reference))


def call(arguments: object) -> AnsweredCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return AnsweredCall("c", "retrieve", text)


async def read_all(retrieval: Retrieval, reference: str) -> str:
    """The text, read in as many parts as it takes."""
    text, start = "", 0
    while True:
        (answer,) = await retrieval.answer(
            [call({"reference": reference, "start": start})], is_last=False
        )
        if not answer.startswith("[Characters "):
            return text + answer
        head, _, part = answer.partition("]\n")
        text += part
        if "for more" not in head:
            return text
        start = int(head.split("with start ")[1].split(" ")[0])


@given(st.text(max_size=200), st.integers(0, 3 * PART_CHARACTERS), st.text(max_size=20))
@settings(max_examples=30, deadline=None)
async def test_every_text_comes_back_whole(before: str, filler: int, needle: str) -> None:
    text = f"!{before}{'x' * filler}{needle}"
    reference = reference_of("key", text)
    assert await read_all(Retrieval("key", {reference: text}, Stored()), reference) == text
    stored = Stored({("key", reference): text})
    assert await read_all(Retrieval("key", {}, stored), reference) == text


@pytest.mark.parametrize(
    "arguments",
    [
        {"reference": REFERENCE},
        {"reference": f"[Left out: reference {REFERENCE.upper()}]"},
        {"ref": REFERENCE},
        REFERENCE,
        f'{{"reference": "{REFERENCE}',
        {"reference": REFERENCE, "start": -5},
        {"reference": REFERENCE, "start": "0"},
    ],
)
async def test_models_ask_in_many_ways(arguments: object) -> None:
    retrieval = Retrieval("key", {REFERENCE: "the text"}, Stored())
    assert await retrieval.answer([call(arguments)], is_last=False) == ["the text"]


async def test_texts_of_another_key_are_not_there() -> None:
    retrieval = Retrieval("key", {}, Stored({("other", REFERENCE): "secret"}))
    (answer,) = await retrieval.answer([call({"reference": REFERENCE})], is_last=False)
    assert answer == f"There is no text of the reference {REFERENCE}."


async def test_answers_are_bounded_and_the_last_one_says_so() -> None:
    texts = {f"r-{number:016x}": "x" * PART_CHARACTERS for number in range(20)}
    retrieval = Retrieval("key", texts, Stored())
    calls = [call({"reference": reference}) for reference in texts]
    answers = await retrieval.answer(calls, is_last=False)
    assert sum(len(answer) for answer in answers if answer != NO_MORE) == ANSWERS_CHARACTERS_MAX
    assert answers[CALLS_MAX:] == [NO_MORE] * (20 - CALLS_MAX)
    fresh = Retrieval("key", texts, Stored())
    twice = await fresh.answer([calls[0], calls[0]], is_last=True)
    assert twice[1] == f"This text stands above already.\n\n{NO_MORE}"


def test_the_tool_takes_a_name_that_is_free() -> None:
    assert tool_name({}) == "retrieve"
    taken = [tool("retrieve"), tool("retrieve_2"), "odd", {"function": 7}]
    assert tool_name({"tools": taken}) == "retrieve_3"
