"""What a model answers may be nested without end: it is read, refused or shown, never a fault."""

import json
import time

import pytest

from roost.errors import GenerateFailed
from roost.flows.decoding import of_schema
from roost.flows.journal import Entry
from roost_inference.client.assembly import ToolCall
from roost_platform.db.inbox.replies.wording import by_code
from roost_platform.db.turns.children.schemas import faults_of
from roost_platform.db.turns.scheduled.ends import read_verdict
from roost_platform.db.waits.answering import WORDS_CHARS_MAX, option_of, plain_digits
from roost_platform.views.workflows.decisions import _arguments
from roost_workflows.turn.planning import ARGUMENTS_DEPTH_MAX, canonical_arguments

TREE = {"type": "object", "properties": {"a": {"$ref": "#"}}}
MOST_S = 0.3  # of processor time; each took seconds


def nested(depth: int) -> str:
    return '{"a":' * depth + "{}" + "}" * depth


@pytest.mark.parametrize("depth", [200, 700, 900, 990, 100_000])
def test_no_depth_of_an_answer_is_a_fault(depth: int) -> None:
    deep = nested(depth)
    assert read_verdict(deep) is None and read_verdict("[" * depth) is None
    assert faults_of(deep, TREE) in ([], ["it is nested too deeply"])
    assert _arguments(deep)
    _, decode = of_schema(TREE)
    try:
        decode(Entry("", "generate", "", "{}", "ok", deep))
    except GenerateFailed as error:
        assert "nested too deeply" in str(error)


@pytest.mark.parametrize("depth", [ARGUMENTS_DEPTH_MAX - 1, ARGUMENTS_DEPTH_MAX, 500, 900])
def test_arguments_that_are_too_deep_to_be_written_again_are_refused(depth: int) -> None:
    given = canonical_arguments(ToolCall("x", "book", nested(depth)))
    if depth < ARGUMENTS_DEPTH_MAX:
        assert given is not None and json.loads(given) == json.loads(nested(depth))
    else:
        assert given is None


@pytest.mark.parametrize(
    "said",
    [
        "a" + "\u0315" * 30_000 + "\u0300" * 30_000,
        "a" + " " * 60_000 + "b",
        "\u0315\u0300" * 30_000,
    ],
    ids=["combining", "gap", "mixed"],
)
def test_a_long_message_costs_no_square_of_itself_while_a_question_is_open(said: str) -> None:
    began = time.thread_time()
    assert option_of(["Yes", "No"], said) is None
    assert by_code([], said) == ([], said)
    assert time.thread_time() - began < MOST_S


def test_blanks_around_a_choice_do_not_make_it_long() -> None:
    assert option_of(["Yes", "No"], " " * 10_000 + "YES\n") == "Yes"
    assert plain_digits("x" * WORDS_CHARS_MAX + "２").endswith("２")  # noqa: RUF001
