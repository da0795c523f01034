"""Calls whose values are typed by the schema: written as templates write them, read back right."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from roost_inference.errors import BadGrammar
from roost_inference.prompt.call_markup import CallMarkup, Markers, ParsedCall
from roost_inference.prompt.families.gemma import GemmaCalls
from roost_inference.prompt.families.gemma_values import object_of
from roost_inference.prompt.families.xml_parameters import XmlParameters
from roost_inference.prompt.tools import build_grammar, parser_of
from roost_inference.wire.parsing import parse_chat_call

BYTES = LLTokenizer("byte")
XML, GEMMA = XmlParameters(), GemmaCalls()
BOTH = pytest.mark.parametrize("markup", [XML, GEMMA], ids=["xml", "gemma"])

ROOM = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "beds": {"type": "integer"}},
    "required": ["name"],
}
BOOKING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "guest": {"type": "string"},
        "nights": {"type": "integer"},
        "price": {"type": "number"},
        "paid": {"type": "boolean"},
        "nothing": {"type": "null"},
        "rooms": {"type": "array", "items": {"$ref": "#/$defs/Room"}},
        "address": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "code": {"type": ["string", "null"]}},
            "required": ["city"],
        },
        "board": {"enum": ["full", "half", None]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["guest"],
    "$defs": {"Room": ROOM},
}


def xml_call(arguments: dict[str, Any]) -> str:
    """As the templates write it, but for `True` and `None`, which no JSON has."""
    texts = {
        name: value if isinstance(value, str) else json_text(value)
        for name, value in arguments.items()
    }
    parts = [f"<parameter={name}>\n{text}\n</parameter>\n" for name, text in texts.items()]
    return f"<tool_call>\n<function=book>\n{''.join(parts)}</function>\n</tool_call>"


def json_text(value: Any) -> str:
    """As the grammar has it: llguidance permits DEL in a string as an escape alone."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def gemma_value(value: Any) -> str:
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda pair: pair[0].lower())
        return f"{{{','.join(f'{name}:{gemma_value(child)}' for name, child in pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(gemma_value, value))}]"
    return json.dumps(value)


def written(markup: CallMarkup, arguments: dict[str, Any]) -> str:
    if markup is XML:
        return xml_call(arguments)
    return f"<|tool_call>call:book{gemma_value(arguments)}<tool_call|>"


def request(schema: dict[str, Any], **fields: Any) -> Any:
    tool = {"type": "function", "function": {"name": "book", "parameters": schema}}
    fields = {"tool_choice": "required", **fields}
    return parse_chat_call(
        {"messages": [{"role": "user", "content": "hi"}], "tools": [tool], **fields}
    )


def grammar(markup: CallMarkup, schema: dict[str, Any], markers: Markers | None = None) -> str:
    text = build_grammar(request(schema), markers or Markers(), markup)
    assert text is not None
    return text


def accepts(markup: CallMarkup, schema: dict[str, Any], text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar(markup, schema))
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and bool(matcher.is_accepting())


def read(markup: CallMarkup, schema: dict[str, Any], text: str, size: int = 10**6) -> Any:
    """The arguments of the one call, of text that comes in pieces of this size."""
    make = parser_of(request(schema), markup)
    assert make is not None
    parser = make()
    found: list[str | ParsedCall] = []
    for at in range(0, len(text), size):
        found += parser.feed(text[at : at + size])
    found += parser.finish(cut_off=False)
    (call,) = found
    assert isinstance(call, ParsedCall), found
    return json.loads(call.arguments)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12).map(lambda text: text.strip("\r\n"))


def in_order(*names: str) -> Any:
    """Objects in the order in which grammars have their properties."""
    return lambda value: {name: value[name] for name in names if name in value}


ROOMS = st.fixed_dictionaries({"name": TEXTS}, optional={"beds": st.integers()}).map(
    in_order("name", "beds")
)
ADDRESSES = st.fixed_dictionaries({"city": TEXTS}, optional={"code": TEXTS}).map(
    in_order("city", "code")
)
BOOKINGS = st.fixed_dictionaries(
    {"guest": TEXTS},
    optional={
        "nights": st.integers(),
        "price": st.floats(allow_nan=False, allow_infinity=False, width=32),
        "paid": st.booleans(),
        "nothing": st.none(),
        "rooms": st.lists(ROOMS, max_size=3),
        "address": ADDRESSES,
        "board": st.sampled_from(["full", "half", None]),
    },
)


@BOTH
@settings(max_examples=25, deadline=None)
@given(arguments=BOOKINGS, size=st.integers(1, 40))
@example(arguments={"guest": "", "address": {"city": "\x7f"}}, size=1)
def test_calls_of_any_values_pass_and_are_read_back_as_they_were(
    markup: CallMarkup, arguments: dict[str, Any], size: int
) -> None:
    text = written(markup, in_order(*BOOKING["properties"])(arguments))
    assert accepts(markup, BOOKING, text)
    assert read(markup, BOOKING, text, size) == arguments


@BOTH
def test_strings_that_look_like_other_values_stay_strings(markup: CallMarkup) -> None:
    for text in ("5", "true", "null", "None", '{"a": 1}', '"quoted"', " spaced ", "", "1e5", "[]"):
        call = written(markup, {"guest": text})
        assert accepts(markup, BOOKING, call)
        assert read(markup, BOOKING, call) == {"guest": text}


def test_a_string_of_several_lines_keeps_them_all() -> None:
    code = '\n\nif x < 5:\n    print("</function>")\n\n'
    call = written(XML, {"guest": code})
    assert accepts(XML, BOOKING, call)
    for size in (1, 3, 1000):
        assert read(XML, BOOKING, call, size) == {"guest": code}


def test_values_in_pythons_spelling_are_read_where_no_string_may_be() -> None:
    call = xml_call({"guest": "None", "paid": "True", "nothing": "None"})
    assert read(XML, BOOKING, call) == {"guest": "None", "paid": True, "nothing": None}
    assert object_of('{a:True,b:[None,False],c:<|"|>True<|"|>}') == (
        '{"a": true, "b": [null, false], "c": "True"}'
    )


def test_numbers_keep_every_digit() -> None:
    digits = "123456789012345678901234567890.123456789"
    for markup in (XML, GEMMA):
        text = written(markup, {"guest": "a", "price": 0.5}).replace("0.5", digits)
        make = parser_of(request(BOOKING), markup)
        assert make is not None
        (call,) = make().feed(text)
        assert isinstance(call, ParsedCall) and digits in call.arguments


def test_a_value_that_may_be_a_string_or_not_is_json_where_it_can_be() -> None:
    schema = {"properties": {"a": {"type": ["string", "integer"]}, "b": {}}}
    for text, value in (("5", 5), ("5.5", "5.5"), ("five", "five"), ("true", "true")):
        assert read(XML, schema, xml_call({"a": text})) == {"a": value}
    for text in ("5.5", "[1]", "null", '{"a": 1}'):
        assert read(XML, schema, xml_call({"b": text})) == {"b": json.loads(text)}
    for text in ("[1", "NaN", "five"):
        assert read(XML, schema, xml_call({"b": text})) == {"b": text}


@BOTH
@pytest.mark.parametrize(
    ("child", "good", "bad"),
    [
        ({"type": "string", "enum": ["a", "b"]}, ["a", "b"], ["c", ""]),
        ({"const": 5}, [5], [6]),
        ({"enum": [1, "one", True, None, [2]]}, [1, True, [2]], ["two", 2]),
        ({"type": "integer", "minimum": 3}, [3, 10], [2, 3.5]),
        ({"type": "number", "maximum": 1.5}, [1.5, -8], [2]),
        ({"type": "string", "pattern": "^[a-c]+$"}, ["abc"], ["abd", ""]),
        ({"type": "string", "pattern": "^x|y$"}, ["xa", "by"], ["ax", "yb"]),
        ({"type": "string", "pattern": "[/|]\\$"}, ["a/$", "|$b"], ["a$"]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äöü"], ["a", "abcd"]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [[1, 2]], [[], ["a"]]),
        ({"type": "array", "items": {"type": "null"}, "maxItems": 2}, [[], [None]], [[None] * 3]),
        ({"allOf": [{"$ref": "#/$defs/Room"}], "description": "x"}, [{"name": "a"}], [{}, 5]),
        ({"$ref": "#/$defs/Tree"}, [{"leaf": 1}, {"more": [{"leaf": 2}]}], [{"leaf": "a"}]),
        ({"anyOf": [{"type": "boolean"}, {"type": "array"}]}, [True, [], [1, "a"]], [5, None]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"z": 1}], [{"z": "a"}]),
    ],
)
def test_schemas_hold(
    markup: CallMarkup, child: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    tree = {
        "type": "object",
        "properties": {
            "leaf": {"type": "integer"},
            "more": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        },
    }
    schema = {
        "properties": {"value": child},
        "required": ["value"],
        "$defs": {"Room": ROOM, "Tree": tree},
    }
    for value in good:
        text = written(markup, {"value": value})
        assert accepts(markup, schema, text), value
        assert read(markup, schema, text) == {"value": value}
    for value in bad:
        assert not accepts(markup, schema, written(markup, {"value": value})), value


@BOTH
def test_required_parameters_come_and_undeclared_ones_do_not(markup: CallMarkup) -> None:
    assert not accepts(markup, BOOKING, written(markup, {}))
    assert not accepts(markup, BOOKING, written(markup, {"guest": "a", "other": "b"}))
    open_one = {"properties": {"a": {"type": "integer"}}, "additionalProperties": True}
    text = written(markup, {"a": 1, "other": "b", "third": [1]})
    assert accepts(markup, open_one, text)
    assert read(markup, open_one, text) == {"a": 1, "other": "b", "third": [1]}
    assert not accepts(markup, open_one, written(markup, {"a": "x"}))
    assert accepts(markup, {}, written(markup, {}))


@BOTH
@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"properties": {"a>\n": {}, "a:": {}}},
        {"properties": {"a": {"$ref": "#/$defs/none"}}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"properties": {"a": {"enum": ['</parameter><|"|>']}}},
        {"properties": {"a": {"allOf": [{"minLength": 1}, {"minLength": 2}]}}},
        {"properties": {}, "patternProperties": {"^a": {}}},
    ],
    ids=str,
)
def test_a_schema_that_a_form_can_not_hold_is_refused(
    markup: CallMarkup, schema: dict[str, Any]
) -> None:
    with pytest.raises(BadGrammar) as raised:
        build_grammar(request(schema), Markers(), markup)
    assert raised.value.param == "tools"


def test_control_tokens_stand_in_the_grammar_where_the_vocabulary_has_them() -> None:
    markers = Markers(tokens={part: 300 + n for n, part in enumerate(GEMMA.parts)})
    text = grammar(GEMMA, BOOKING, markers)
    assert LLMatcher.validate_grammar(text) == ""
    assert all(f"<[{300 + n}]>" in text for n in range(3)) and '<|\\"|>' not in text
    free = build_grammar(request(BOOKING, tool_choice="auto"), markers, GEMMA)
    assert free is not None and LLMatcher.validate_grammar(free) == ""
    assert '<[303]> "thought' in free, "a thought may stand before the answer"


def test_a_thought_comes_out_as_a_block_before_answer_and_calls() -> None:
    call = written(GEMMA, {"guest": "Ann"})
    text = f"<|channel>thought\nLet me <see>.\n<channel|>Well, {call}"
    for size in (1, 2, 5, 1000):
        make = parser_of(request(BOOKING), GEMMA)
        assert make is not None
        parser = make()
        found: list[str | ParsedCall] = []
        for at in range(0, len(text), size):
            found += parser.feed(text[at : at + size])
        found += parser.finish(cut_off=False)
        words = "".join(part for part in found if isinstance(part, str))
        assert words == "<think>\nLet me <see>.\n\n</think>\n\nWell,"
        assert isinstance(found[-1], ParsedCall)


def test_a_large_schema_is_compiled_and_bounded() -> None:
    many = {f"p{number}": {"type": "string"} for number in range(200)}
    schema = {"properties": many}
    for markup in (XML, GEMMA):
        assert accepts(markup, schema, written(markup, {"p3": "a", "p77": "b"}))
    wide = {"oneOf": [{"type": "integer", "minimum": n} for n in range(70)]}
    with pytest.raises(BadGrammar, match="64 alternatives"):
        build_grammar(request({"properties": {"a": wide}}), Markers(), XML)
