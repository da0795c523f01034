"""The form of the text, as vLLM's clients ask for it: followed to its end, or refused at once."""

import json
from typing import Any

import pytest
from llguidance import LLMatcher

from roost_inference.errors import InvalidRequest
from roost_inference.output.grammar import GrammarCompiler
from roost_inference.prompt.schemas import OPTIONAL_PROPERTIES_MAX
from roost_inference.prompt.tools import CALL_CLOSE, CALL_OPEN, Markers, build_grammar
from roost_inference.testing.toy import SIZE, ToyVocabulary
from roost_inference.wire.parsing import parse_chat_call

USER = [{"role": "user", "content": "hi"}]
COMPILER = GrammarCompiler(ToyVocabulary().grammar_tokenizer(), SIZE)
FIND = {
    "type": "function",
    "function": {"name": "find", "parameters": {"properties": {"what": {"type": "string"}}}},
}
SCHEMA = {
    "type": "object",
    "properties": {"x": {"type": "integer"}},
    "required": ["x"],
    "additionalProperties": False,
}
TAGS = {
    "type": "structural_tag",
    "structures": [
        {"begin": "<function=add>", "schema": SCHEMA, "end": "</function>"},
        {"begin": "<function=sub>", "schema": SCHEMA, "end": "</function>"},
    ],
    "triggers": ["<function="],
}


def grammar(**fields: Any) -> str:
    found = build_grammar(parse_chat_call({"messages": USER, **fields}), Markers())
    assert found is not None
    return found


def accepts(text: str, **fields: Any) -> bool:
    """Whether the request's grammar lets `text` through to the end."""
    matcher = LLMatcher(ToyVocabulary().grammar_tokenizer(), grammar(**fields), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and bool(matcher.is_accepting())


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        (
            {"choice": ["yes", "no", 'a "b" \\ é🙂/']},
            ["no", 'a "b" \\ é🙂/'],
            ["maybe", "", "yesno"],
        ),
        ({"regex": r"\d{3}-(a|b/c)+"}, ["123-ab/ca", "000-b/c"], ["12-a", "123-", "123-a\n"]),
        ({"json": SCHEMA}, ['{"x": 12}'], ['{"x": "12"}', "{}", "[]"]),
        ({"json": json.dumps(SCHEMA)}, ['{"x": 12}'], ['{"x": 1, "y": 2}']),
        ({"json_object": True}, ["{}", '{"a": [1, null]}'], ["[1]", "1", "{"]),
        ({"grammar": 'root ::= "a" [0-9]+ | "b"'}, ["a12", "b"], ["a", "c"]),
        ({"grammar": 'start: "a" /[0-9]+/ | "b"'}, ["a12", "b"], ["a", "c"]),
    ],
)
def test_a_structured_output_lets_through_its_form_alone(
    form: dict[str, Any], good: list[str], bad: list[str]
) -> None:
    for text in good:
        assert accepts(text, structured_outputs=form), text
    for text in bad:
        assert not accepts(text, structured_outputs=form), text


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": TAGS},
        {"structured_outputs": {"structural_tag": json.dumps(TAGS)}},
        {
            "response_format": {
                "type": "structural_tag",
                "format": {
                    "type": "triggered_tags",
                    "triggers": ["<function="],
                    "tags": [
                        {
                            "begin": "<function=add>",
                            "content": {"type": "json_schema", "json_schema": SCHEMA},
                            "end": "</function>",
                        }
                    ],
                },
            }
        },
    ],
)
def test_a_structural_tag_leaves_text_free_and_holds_each_tag_to_its_schema(
    fields: dict[str, Any],
) -> None:
    call = '<function=add>{"x": 1}</function>'
    assert accepts("just words, 1 < 2\nand <func", **fields)
    assert accepts(f"so {call} and {call} it is", **fields)
    assert not accepts('so <function=add>{"x": "1"}</function>', **fields)
    assert not accepts('so <function=mul>{"x": 1}</function>', **fields)
    assert parse_chat_call({"messages": USER, **fields}).begins_freely


def test_a_json_object_may_bring_its_schema() -> None:
    form = {"type": "json_object", "schema": SCHEMA}
    assert accepts('{"x": 1}', response_format=form)
    assert not accepts('{"y": 1}', response_format=form)
    assert accepts('{"y": 1}', response_format={"type": "json_object"})


def test_a_form_goes_with_tools_where_both_can_hold() -> None:
    call = f'{CALL_OPEN}\n{{"name": "find", "arguments": {{"what": "x"}}}}\n{CALL_CLOSE}'
    for form, text in (
        ({"choice": ["yes", "no"]}, "no"),
        ({"regex": "a+"}, "aaa"),
        ({"json": SCHEMA}, '{"x": 1}'),
    ):
        assert accepts(text, structured_outputs=form, tools=[FIND])
        assert accepts(call, structured_outputs=form, tools=[FIND])
        assert not accepts("words", structured_outputs=form, tools=[FIND])
        assert not accepts(call, structured_outputs=form, tools=[FIND], tool_choice="none")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {"regex": "(a"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"regex": "(?=a)b"}}, "structured_outputs.regex"),
        ({"structured_outputs": {"grammar": "root ::= ("}}, "structured_outputs.grammar"),
        ({"structured_outputs": {"grammar": "start: missing"}}, "structured_outputs.grammar"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"structured_outputs": {"json": {"type": "nonsense"}}}, "structured_outputs.json"),
        ({"structured_outputs": {"structural_tag": "[]"}}, "structured_outputs.structural_tag"),
        (
            {"structured_outputs": {"structural_tag": json.dumps({**TAGS, "triggers": ["<x"]})}},
            "structured_outputs.structural_tag",
        ),
        ({"response_format": {"type": "structural_tag"}}, "response_format"),
        (
            {"response_format": {"type": "structural_tag", "format": {"type": "sequence"}}},
            "response_format",
        ),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": ["a"], "regex": "a"}}, "structured_outputs"),
        ({"structured_outputs": {"json_object": False}}, "structured_outputs"),
        (
            {"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}},
            "structured_outputs",
        ),
        (
            {"structured_outputs": {"grammar": 'start: "a"'}, "tools": [FIND]},
            "structured_outputs.grammar",
        ),
    ],
)
def test_a_form_that_can_not_be_followed_is_refused_and_named(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        COMPILER.compile(grammar(**fields))
    assert refused.value.param == param, refused.value.message
    assert refused.value.http_status == 400


def wide(count: int, *, required: bool) -> dict[str, Any]:
    names = [f"p{number}" for number in range(count)]
    schema: dict[str, Any] = {"type": "object", "properties": {name: {} for name in names}}
    return {**schema, "required": names} if required else schema


@pytest.mark.parametrize("required", [False, True])
def test_a_schema_of_a_thousand_properties_is_followed_to_its_end(required: bool) -> None:
    schema = {**wide(1000, required=required), "additionalProperties": False}
    compiled = COMPILER.compile(grammar(structured_outputs={"json": schema}))
    text = json.dumps({f"p{number}": number for number in range(1000)})
    for byte in text.encode()[:400]:
        assert compiled.allowed()[byte]
        compiled.accept(byte)


def test_more_optional_properties_than_can_be_followed_are_refused_at_the_start() -> None:
    """Also where an object has them in parts, or a tool does."""
    most = OPTIONAL_PROPERTIES_MAX
    parts = {"type": "object", "properties": {"a": wide(most, required=False)}}
    for schema in (wide(most + 1, required=False), parts):
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        for fields in (
            {"structured_outputs": {"json": schema}},
            {"tools": [tool]},
            {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
        ):
            with pytest.raises(InvalidRequest, match=f"more than {most} properties"):
                grammar(**fields)


@pytest.mark.parametrize(
    ("parallel", "calls"), [(None, 1), (False, 1), (True, 8)], ids=["unsaid", "no", "yes"]
)
def test_a_forced_tool_is_called_once_unless_several_calls_are_asked_for(
    parallel: bool | None, calls: int
) -> None:
    call = f'{CALL_OPEN}\n{{"name": "find", "arguments": {{"what": "x"}}}}\n{CALL_CLOSE}'
    named = {"type": "function", "function": {"name": "find"}}
    for choice in ("required", named):
        fields = {"tools": [FIND], "tool_choice": choice, "parallel_tool_calls": parallel}
        assert accepts("\n".join([call] * calls), **fields)
        assert not accepts("\n".join([call] * (calls + 1)), **fields)
        assert not accepts("", **fields)


@pytest.mark.parametrize(
    "text",
    [
        'root ::= start\nstart ::= "yes" | "no"',
        'start ::= "yes" | no  # start\nroot ::= start\nno ::= "no" | "start" | [start]',
        '?start: answer\n?answer: "yes" | "no"',
        '  start : "yes" | "no"',
    ],
)
def test_a_rule_called_start_is_read_in_the_notation_it_is_written_in(text: str) -> None:
    outputs = {"grammar": text}
    assert accepts("yes", structured_outputs=outputs)
    assert not accepts("maybe", structured_outputs=outputs)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    ],
)
def test_a_schema_that_no_finite_value_fits_is_refused(schema: dict[str, Any]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "endless", "schema": schema}}
    with pytest.raises(InvalidRequest, match="can't be followed"):
        COMPILER.compile(grammar(response_format=form))
