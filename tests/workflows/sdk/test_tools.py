"""Declaring tools: what the model is shown, what is refused, and how wrong arguments are told."""

from dataclasses import dataclass
from typing import Annotated

import pytest
from pydantic import Field

from roost import Context, DefinitionError, ModelRetry, tool
from roost.text import RESULT_BYTES_MAX, cap, result_text


@dataclass
class Booking:
    place: str
    people: int


@tool(effect="idempotent", timeout=5)
async def book_table(
    ctx: Context, place: str, people: Annotated[int, Field(ge=1, le=20)] = 2
) -> Booking:
    """Book a table."""
    return Booking(place, people)


def test_schema_comes_from_the_signature_and_leaves_out_the_context() -> None:
    function = book_table.schema()["function"]
    assert function["name"] == "book_table"
    assert function["description"] == "Book a table."
    assert function["parameters"] == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "place": {"type": "string"},
            "people": {"type": "integer", "minimum": 1, "maximum": 20, "default": 2},
        },
        "required": ["place"],
    }


def test_a_property_named_title_stays_in_the_schema() -> None:
    @tool(effect="pure")
    def write(title: str) -> str:
        """Write a page."""
        return title

    assert write.parameters["properties"] == {"title": {"type": "string"}}


def test_undeclared_effect_counts_as_unsafe() -> None:
    @tool
    def send(text: str) -> None:
        """Send a text."""

    assert send.effect == "unsafe"


def test_a_tool_can_be_called_as_the_function_it_is() -> None:
    @tool(effect="pure")
    def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    assert double(21) == 42


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("not json", "Invalid JSON"),
        ("[1]", "should be an object"),
        ('{"people": 3}', "place: Field required"),
        ('{"place": "Roma", "people": 21}', "people: Input should be less than or equal to 20"),
        ('{"place": "Roma", "when": 1}', "when: Extra inputs are not permitted"),
    ],
)
def test_wrong_arguments_are_told_by_name(arguments: str, told: str) -> None:
    with pytest.raises(ModelRetry, match="book_table") as caught:
        book_table.parse(arguments)
    assert told in str(caught.value)


def test_arguments_become_typed_values_with_defaults() -> None:
    assert book_table.parse('{"place": "Roma"}') == {"place": "Roma", "people": 2}


def no_docstring(text: str) -> str:
    return text


def no_annotation(text) -> str:  # type: ignore[no-untyped-def]
    """Say."""
    return str(text)


def star(*texts: str) -> str:
    """Say."""
    return ""


def strange(thing: "NoSuchType") -> str:  # type: ignore[name-defined]  # noqa: F821
    """Say."""
    return ""


class Opaque:
    pass


def unschemable(thing: Opaque) -> str:
    """Say."""
    return ""


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda text: text, "lambda"),
        (no_docstring, "docstring"),
        (no_annotation, "annotation"),
        (star, "by name"),
        (strange, "resolved"),
        (unschemable, "schema"),
        (print, "takes a function"),
    ],
)
def test_what_can_not_be_a_tool_is_refused_with_a_reason(function: object, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        tool(effect="pure")(function)  # type: ignore[arg-type]


def test_check_and_verifiable_belong_together() -> None:
    def say(text: str) -> str:
        """Say."""
        return text

    with pytest.raises(DefinitionError, match="verifiable"):
        tool(effect="verifiable")(say)
    with pytest.raises(DefinitionError, match="verifiable"):
        tool(effect="pure", check=lambda key: None)(say)
    with pytest.raises(DefinitionError, match="not one of"):
        tool(effect="sometimes")(say)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="timeout"):
        tool(effect="pure", timeout=0)(say)


def test_results_become_text() -> None:
    assert result_text("plain") == "plain"
    assert result_text(None) == "done"
    assert result_text(Booking("Roma", 2)) == '{"place":"Roma","people":2}'
    assert result_text(["a", 1]) == '["a",1]'


def test_a_result_that_json_can_not_hold_is_told_all_the_same() -> None:
    looped: list[object] = []
    looped.append(looped)
    assert result_text(looped) == "[[...]]"
    assert result_text(["half \ud83d"]) == "['half \\ud83d']"
    assert cap(result_text("half \ud83d")) == "half ?"


@pytest.mark.parametrize("letter", ["x", "é", "漢"])
def test_long_results_keep_head_and_tail_within_the_bound(letter: str) -> None:
    capped = cap(f"HEAD{letter * 40_000}TAIL")
    assert len(capped.encode()) <= RESULT_BYTES_MAX
    assert capped.startswith("HEAD") and capped.endswith("TAIL")
    assert "bytes left out" in capped
    assert cap("short") == "short"
