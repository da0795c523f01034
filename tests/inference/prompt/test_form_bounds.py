"""Forms that a client asks for end no process and hold no thread: what could is refused unread."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from roost_inference.errors import InvalidRequest
from roost_inference.prompt.forms import GBNF_CHARACTERS_MAX, GBNF_RULES_MAX, LARK_LINES_MAX
from roost_inference.prompt.schema_patterns import PATTERNS_COMBINED_MAX, combined_patterns
from roost_inference.prompt.schemas import SCHEMAS_BYTES_MAX
from roost_inference.prompt.tools import Markers, build_grammar
from roost_inference.wire.parsing import parse_chat_call

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def ask(**fields: Any) -> str | None:
    messages = [{"role": "user", "content": "hi"}]
    return build_grammar(parse_chat_call({"messages": messages, **fields}), Markers())


def chain(rules: int) -> str:
    """Rules of which each names the next one: as deep as there are rules."""
    named = "".join(f"r{n}: r{n + 1}\n" for n in range(rules - 2))
    return f'start: r0\n{named}r{rules - 2}: "a"\n'


def inner(count: int) -> Mapping[str, Any]:
    """One value that must match so many patterns."""
    parts = [{"type": "string", "pattern": f".*{letter}.*"} for letter in LETTERS[:count]]
    return {"type": "object", "properties": {"a": {"allOf": parts}}, "required": ["a"]}


ESCAPED = json.dumps(inner(26)).replace("pattern", "p\\u0061ttern")


@pytest.mark.parametrize(
    ("grammar", "why"),
    [
        (chain(4600), f"{LARK_LINES_MAX} lines"),  # overran the stack of the thread
        ("\n" * 60_000, f"{GBNF_CHARACTERS_MAX} characters"),  # took twenty seconds, all at once
        (" \n" * 15_000 + "root: x", "can't be followed"),
        ("root ::= " + "(" * 30_000, "can't be followed"),
        (
            "root ::= r0\n" + "".join(f"r{n} ::= r{n + 1} r{n + 1}\n" for n in range(900)),
            f"{GBNF_RULES_MAX} rules",
        ),
        (f"start: %json {json.dumps(inner(26))}\n", f"{PATTERNS_COMBINED_MAX} patterns"),
        (f"start: %json {ESCAPED}\n", f"{PATTERNS_COMBINED_MAX} patterns"),
    ],
    ids=["deep", "blank", "blanks", "brackets", "rules", "schema", "escaped"],
)
def test_a_grammar_that_would_hold_or_end_the_engine_is_refused(grammar: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as refused:
        ask(structured_outputs={"grammar": grammar})
    assert refused.value.param == "structured_outputs.grammar"


def test_grammars_at_the_bounds_are_followed() -> None:
    assert ask(structured_outputs={"grammar": chain(LARK_LINES_MAX)})
    rules = "".join(f"r{n} ::= r{n + 1}\n" for n in range(GBNF_RULES_MAX - 2))
    gbnf = f'root ::= r0\n{rules}r{GBNF_RULES_MAX - 2} ::= "a"\n'
    assert ask(structured_outputs={"grammar": gbnf})


REFERENCES = {
    "$defs": {
        letter: {"pattern": f".*{letter}.*", "allOf": [{"$ref": f"#/$defs/{following}"}]}
        for letter, following in pairwise(LETTERS)
    }
    | {"z": {"type": "string"}},
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/a"}},
}
NAMES = {
    "type": "object",
    "patternProperties": {f".*{one}.*": {"pattern": f".*{one}"} for one in LETTERS},
}


@pytest.mark.parametrize("schema", [inner(26), REFERENCES, NAMES], ids=["parts", "chain", "names"])
def test_a_schema_whose_patterns_meet_in_one_value_is_refused(schema: Mapping[str, Any]) -> None:
    """Twenty-six of them hold a thread for hours: with each one the search doubles."""
    assert combined_patterns(schema) > PATTERNS_COMBINED_MAX
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    tag = {"begin": "<f>", "end": "</f>", "schema": schema}
    tags = {"type": "structural_tag", "structures": [tag], "triggers": ["<f"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for fields in (
        {"structured_outputs": {"json": schema}},
        {"response_format": form},
        {"response_format": tags},
        {"tools": [tool]},
    ):
        with pytest.raises(InvalidRequest, match=f"more than {PATTERNS_COMBINED_MAX} patterns"):
            ask(**fields)


def test_patterns_that_do_not_meet_are_not_counted() -> None:
    many = {f"p{n}": {"type": "string", "pattern": f"a{n}"} for n in range(100)}
    one = {"$ref": "#/$defs/one", "description": "a note combines nothing"}
    schema = {
        "type": "object",
        "properties": {**many, "single": {"allOf": [one], "title": "x"}},
        "$defs": {"one": {"type": "string", "format": "date"}},
    }
    assert combined_patterns(schema) == 0
    assert ask(structured_outputs={"json": schema})
    assert combined_patterns(inner(PATTERNS_COMBINED_MAX)) == PATTERNS_COMBINED_MAX


def test_schemas_that_are_too_large_together_are_refused_before_one_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[str] = []
    for room in ("tools", "forms"):
        monkeypatch.setattr(
            f"roost_inference.prompt.{room}.check_schema",
            lambda _, where, __: compiled.append(where),
        )
    names = [f"property{n}" for n in range(2000)]
    schema = {"type": "object", "properties": {name: {} for name in names}, "required": names}
    count = SCHEMAS_BYTES_MAX // len(json.dumps(schema)) + 1
    tools = [
        {"type": "function", "function": {"name": f"f{n}", "parameters": schema}}
        for n in range(count)
    ]
    tag = {"begin": "<f>", "end": "</f>", "schema": schema}
    tags = {"type": "structural_tag", "structures": [tag] * count, "triggers": ["<f"]}
    for fields in ({"tools": tools}, {"response_format": tags}):
        with pytest.raises(InvalidRequest, match=f"larger than {SCHEMAS_BYTES_MAX} bytes together"):
            ask(**fields)
    assert compiled == []
