"""What a prompt is held for before it is counted: equal calls exactly, others within an error."""

import random

import pytest

from roost_platform.gateway.keys import estimates
from roost_platform.gateway.keys.estimates import (
    COUNTS_MAX,
    IMAGE_TOKENS,
    TARGETS_MAX,
    PromptEstimates,
    at_first,
    prompt_size,
)
from roost_platform.gateway.request import ModelRequest, NativeCall
from roost_platform.gateway.sizes import PromptSize


def size(bytes: int, messages: int = 1, images: int = 0, n: int = 1) -> PromptSize:
    return PromptSize(bytes, messages, images, n)


def test_a_first_prompt_is_a_quarter_of_its_bytes_and_what_roles_take() -> None:
    known = PromptEstimates()
    assert known.tokens("t", size(4000, 10)) == 1000 + 40 + 3
    assert known.tokens("t", size(0, 0)) == 3
    assert known.tokens("t", size(40, 1, images=2)) == 10 + 4 + 3 + 2 * IMAGE_TOKENS
    assert known.tokens("t", size(40, 1, n=4), prompts=4) == 4 * 17


@pytest.mark.parametrize("counted", [1, 9, 31, 250, 900])
def test_a_prompt_of_a_size_that_was_counted_is_held_exactly(counted: int) -> None:
    known = PromptEstimates()
    known.learn("t", size(2), 77)
    known.learn("t", size(1000), counted)
    known.learn("u", size(1000), counted + 5)
    assert known.tokens("t", size(1000)) == counted
    assert known.tokens("u", size(1000)) == counted + 5
    assert known.tokens("t", size(2)) == 77


def test_the_newest_count_stands_alone() -> None:
    known = PromptEstimates()
    for counted in (800, 250):
        known.learn("t", size(1000), counted)
    assert known.tokens("t", size(1000)) == 250


@pytest.mark.parametrize("per_byte", [0.22, 0.25, 0.33, 0.6])
@pytest.mark.parametrize("template", [8, 35, 400])
def test_a_conversation_that_grows_stays_near_to_its_count(per_byte: float, template: int) -> None:
    """After the first two answers the mean error is below a tenth, whatever script and template."""
    known, chance = PromptEstimates(), random.Random(7)
    read, errors = 200, []
    for turn in range(40):
        of = size(read, 1 + 2 * turn)
        counted = round(template + per_byte * read + 4 * of.messages)
        errors.append(abs(known.tokens("t", of) - counted) / counted)
        known.learn("t", of, counted)
        read += chance.randrange(50, 800)
    assert max(errors[2:]) < 0.25
    assert sum(errors[2:]) / len(errors[2:]) < 0.1


def test_a_short_prompt_of_a_wordy_template_says_nothing_of_long_ones() -> None:
    known = PromptEstimates()
    known.learn("t", size(10), 60)  # 6 tokens a byte: the template's own words
    assert known.tokens("t", size(100_000)) == pytest.approx(25_060, rel=0.01)


def test_a_long_prompt_of_few_tokens_leaves_a_short_one_its_least() -> None:
    known = PromptEstimates()
    known.learn("t", size(100_000), 3000)  # blanks
    assert known.tokens("t", size(1000)) == at_first(size(1000)) // 2


def test_pictures_and_answers_are_learnt_apart() -> None:
    known = PromptEstimates()
    known.learn("t", size(100, images=1), 1500)
    known.learn("t", size(100, n=3), 90)
    assert known.tokens("t", size(100, images=1)) == 1500
    assert known.tokens("t", size(100, n=3)) == 90
    assert known.tokens("t", size(100)) == at_first(size(100))


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    known = PromptEstimates()
    for number in range(TARGETS_MAX + 10):
        known.learn(f"t{number}", size(1000), 999)
    assert len(known._targets) == TARGETS_MAX
    assert known.tokens("t0", size(1000)) == at_first(size(1000))
    for images in range(COUNTS_MAX + 10):
        known.learn("t", size(1000, images=images), 999)
    assert len(known._targets["t"].by_class) == COUNTS_MAX
    assert known.tokens("t", size(1000)) != 999


def test_what_was_counted_the_same_way_gives_the_same_estimate() -> None:
    def told(seed: int) -> list[int]:
        known, chance = PromptEstimates(), random.Random(seed)
        for _ in range(500):
            known.learn("t", size(chance.randrange(10**5)), chance.randrange(10**5))
        return [known.tokens("t", size(bytes)) for bytes in range(0, 10**5, 997)]

    assert told(3) == told(3)
    assert min(told(3)) >= 1


def test_classes_of_size_grow_with_the_size() -> None:
    classes = [estimates._size_class(bytes) for bytes in range(5000)]
    assert classes == sorted(classes)
    assert len(set(classes)) < 100


def test_pictures_and_marks_are_found_in_either_form() -> None:
    def asked(content: object, native: NativeCall | None = None) -> ModelRequest:
        body = {"messages": [{"role": "user", "content": content}]}
        return ModelRequest("chat", "m", body, prompt_bytes=5, n=2, native=native)

    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    text = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    assert prompt_size(asked("hello")) == PromptSize(5, 1, 0, 2)
    assert prompt_size(asked([picture, picture])).images == 2
    assert prompt_size(asked([text])).writes_cache
    native = NativeCall("anthropic", {"system": [text]})
    assert prompt_size(asked("hello", native)).writes_cache
    assert not prompt_size(asked("hello", NativeCall("anthropic", {"system": "x"}))).writes_cache
