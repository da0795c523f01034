"""The grammar lets through free text and valid calls, and nothing else."""

import json
import random
from functools import partial
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer
from pydantic import BaseModel, ConfigDict, TypeAdapter

from roost_inference.engine import Engine
from roost_inference.errors import BadGrammar
from roost_inference.http.answer.engine_generation import EngineGeneration
from roost_inference.http.chat_service import EngineChatService
from roost_inference.http.generation import Finished, TextPiece
from roost_inference.http.preparation import PreparationLanes
from roost_inference.prompt.call_markup import ParsedCall
from roost_inference.prompt.schemas import definite
from roost_inference.prompt.tool_calls import ToolCallParser
from roost_inference.prompt.tools import (
    CALL_CLOSE,
    CALL_OPEN,
    PARALLEL_CALLS_MAX,
    Markers,
    build_grammar,
)
from roost_inference.testing.toy import ToyVocabulary
from roost_inference.wire.parsing import parse_chat_call

BYTES: LLTokenizer = ToyVocabulary().grammar_tokenizer()


def tool(name: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    parameters = {"properties": properties, "required": list(properties), **more}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


ADD = tool(
    "add",
    {"a": {"$ref": "#/$defs/N"}, "b": {"$ref": "#/$defs/N"}},
    **{"$defs": {"N": {"type": "integer"}}},
)
CLOCK = tool("clock", {"zone": {"enum": ["UTC", "CET"]}})
USER = [{"role": "user", "content": "hi"}]


def call(name: str, arguments: str) -> str:
    return f'{CALL_OPEN}\n{{"name": "{name}", "arguments": {arguments}}}\n{CALL_CLOSE}'


def accepts(text: str, **fields: Any) -> bool:
    """Whether the grammar lets `text` through to the end."""
    fields.setdefault("tools", [ADD, CLOCK])
    grammar = build_grammar(parse_chat_call({"messages": USER, **fields}), Markers())
    assert grammar is not None
    matcher = LLMatcher(BYTES, grammar)
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and bool(matcher.is_accepting())


def test_free_text_and_valid_calls_pass() -> None:
    assert accepts("Just words, even <tool and </tool_call> and {json}.")
    assert accepts(call("add", '{"a": 1, "b": -2}'))
    assert accepts("I will look.\n" + call("clock", '{"zone": "UTC"}'))
    assert accepts(call("clock", '{"zone": "UTC"}') + "\n" + call("add", '{"a": 1, "b": 2}'))


@pytest.mark.parametrize(
    "text",
    [
        f"{CALL_OPEN} just words",
        call("sub", '{"a": 1, "b": 2}'),
        call("add", '{"a": 1}'),
        call("add", '{"a": 1, "b": "2"}'),
        call("add", '{"a": 1, "b": 2, "c": 3}'),
        call("clock", '{"zone": "PST"}'),
        call("clock", '{"zone": "UTC"}')[:-1],
        call("clock", '{"zone": "UTC"}') + " and words after it",
    ],
)
def test_what_is_no_valid_call_does_not(text: str) -> None:
    assert not accepts(text)


def test_required_and_named_choices_force_a_call() -> None:
    clock, add = call("clock", '{"zone": "CET"}'), call("add", '{"a": 1, "b": 2}')
    assert accepts(clock, tool_choice="required")
    assert not accepts("words", tool_choice="required")
    assert not accepts("words " + clock, tool_choice="required")
    named = {"type": "function", "function": {"name": "add"}}
    assert accepts(add, tool_choice=named)
    assert not accepts(clock, tool_choice=named)


def test_choice_none_leaves_words_only() -> None:
    assert accepts("words <tool_box>", tool_choice="none")
    assert not accepts(call("clock", '{"zone": "CET"}'), tool_choice="none")


def test_the_number_of_calls_is_bounded() -> None:
    one = call("clock", '{"zone": "CET"}')
    assert accepts("\n".join([one] * PARALLEL_CALLS_MAX))
    assert not accepts("\n".join([one] * (PARALLEL_CALLS_MAX + 1)))
    assert not accepts("\n".join([one] * 2), parallel_tool_calls=False)


def test_a_response_format_and_tools_go_together() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    form = {"type": "json_schema", "json_schema": {"name": "r", "strict": True, "schema": schema}}
    assert accepts('{"x": 1}', response_format=form)
    assert accepts(call("clock", '{"zone": "CET"}'), response_format=form)
    assert not accepts("words", response_format=form)
    assert not accepts('{"x": 1, "y": 2}', response_format=form, tools=[])
    assert accepts('{"any": [1, null]}', response_format={"type": "json_object"}, tools=[])


def test_without_tools_and_format_anything_goes() -> None:
    assert build_grammar(parse_chat_call({"messages": USER}), Markers()) is None
    unknown = parse_chat_call({"messages": USER, "tools": [{"type": "web_search"}]})
    assert build_grammar(unknown, Markers()) is None


def test_vocabularies_with_tokens_for_the_tags_use_them() -> None:
    call = parse_chat_call({"messages": USER, "tools": [CLOCK]})
    grammar = build_grammar(call, Markers(256, 255))
    assert grammar is not None
    assert "TEXT <[256]>" in grammar and "<[255]>" in grammar
    assert not LLMatcher(BYTES, grammar).is_error()


def test_a_schema_that_cannot_be_followed_names_its_tool() -> None:
    bad = tool("weird", {"a": {"type": "string", "pattern": "(?=x)"}})
    with pytest.raises(BadGrammar, match="tool 'weird'") as raised:
        build_grammar(parse_chat_call({"messages": USER, "tools": [CLOCK, bad]}), Markers())
    assert raised.value.param == "tools"


def test_unknown_formats_are_annotations_and_objects_are_closed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "format": {"type": "string", "format": "color"},
            "free": {"type": "object", "additionalProperties": True, "properties": {}},
            "either": {"anyOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
        },
    }
    closed = definite(schema)
    assert closed["additionalProperties"] is False
    assert closed["properties"]["format"] == {"type": "string"}
    assert closed["properties"]["free"]["additionalProperties"] is True
    assert closed["properties"]["either"]["anyOf"][0]["additionalProperties"] is False


def test_a_format_that_is_no_text_is_left_out() -> None:
    odd = tool("paint", {"color": {"type": "string", "format": ["rgb"]}})
    assert build_grammar(parse_chat_call({"messages": USER, "tools": [odd]}), Markers())


def test_the_parser_gives_the_same_whatever_the_pieces() -> None:
    first, second = '{"a": 1, "b": 2}', '{"zone": "</tool_call>"}'
    text = f"Look: {call('add', first)}\n{call('clock', second)}"
    seen = set()
    for seed in range(50):
        chance = random.Random(seed)
        parser, found, rest = ToolCallParser(), [], text
        while rest:
            size = chance.randint(1, 9)
            found += list(parser.feed(rest[:size]))
            rest = rest[size:]
        found += parser.finish(cut_off=False)
        words = "".join(f for f in found if isinstance(f, str))
        calls = tuple((f.name, f.arguments) for f in found if isinstance(f, ParsedCall))
        seen.add((words, calls))
    assert seen == {("Look:", (("add", first), ("clock", second)))}


def test_a_call_in_brackets_without_end_is_no_call_and_no_failure() -> None:
    for deep in ("[" * 20_000 + "]" * 20_000, '{"a":' * 20_000 + "1" + "}" * 20_000):
        text = call("add", f'{{"x": {deep}}}')
        parser = ToolCallParser()
        assert list(parser.feed(text)) == []
        assert parser.finish(cut_off=True) == [] and parser.truncated
        parser = ToolCallParser()
        assert list(parser.feed(text)) == []
        assert parser.finish(cut_off=False) == [text] and not parser.truncated


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Clock(_Strict):
    zone: str


class Point(_Strict):
    x: int
    y: float


class Draw(_Strict):
    points: list[Point]
    closed: bool
    label: str | None = None


MODELS: dict[str, type[BaseModel]] = {"clock": Clock, "draw": Draw}


def declared() -> list[dict[str, Any]]:
    """The tools as pydantic describes them, with bounds so that short runs end."""
    schemas = {name: model.model_json_schema() for name, model in MODELS.items()}
    schemas["clock"]["properties"]["zone"]["maxLength"] = 12
    schemas["draw"]["properties"]["points"]["maxItems"] = 2
    schemas["draw"]["properties"]["label"] = {"type": ["string", "null"], "maxLength": 8}
    schemas["draw"]["$defs"]["Point"]["properties"]["x"].update(minimum=-99, maximum=99)
    schemas["draw"]["$defs"]["Point"]["properties"]["y"].update(minimum=0, maximum=1)
    return [
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in schemas.items()
    ]


async def test_calls_sampled_hot_from_the_real_model_always_validate(real_engine: Engine) -> None:
    service = EngineChatService(real_engine)
    running: list[EngineGeneration] = []
    lanes = PreparationLanes()
    for seed in range(16):
        body = {
            "messages": [{"role": "user", "content": f"Do something, number {seed}."}],
            "tools": declared(),
            "tool_choice": "required",
            "parallel_tool_calls": seed % 2 == 0,
            "temperature": 1.5,
            "seed": seed,
            "max_tokens": 64,
        }
        preparation = lanes.open(0)
        prepare = partial(service.prepare, parse_chat_call(body), body, preparation)
        running.append(await preparation.run(prepare))
    complete = 0
    for generation in running:
        pieces = [piece async for batch in generation.pieces() for piece in batch]
        end = pieces[-1]
        assert isinstance(end, Finished)
        assert not "".join(p.text for p in pieces if isinstance(p, TextPiece)).strip()
        calls = [piece for piece in pieces if isinstance(piece, ParsedCall)]
        assert calls or end.reason == "length"
        complete += bool(calls)
        for found in calls:
            TypeAdapter(MODELS[found.name]).validate_json(found.arguments)
            assert json.loads(found.arguments) is not None
    assert complete > 3
