"""Every field of a request is obeyed, refused, or named in the answer's warnings."""

import json
from typing import Any

import httpx2
import pytest

from roost_inference.testing.puppet import PuppetEngine
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.completion_call import CompletionFields
from roost_inference.wire.fields import REFUSED, WARNED, WARNINGS_MAX, names_on_the_wire

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "hi"}
BODY: dict[str, Any] = {"messages": [USER]}
FOREIGN = {"type": "custom", "custom": {"name": "shell"}}


async def warned(http: httpx2.AsyncClient, **fields: Any) -> list[tuple[str, str]]:
    """The codes and fields of the warnings of a whole answer."""
    answer = await http.post(CHAT, json={**BODY, **fields})
    assert answer.status_code == 200, answer.text
    return [(each["code"], each["field"]) for each in answer.json().get("warnings", ())]


@pytest.fixture(autouse=True)
def answering(puppet: PuppetEngine) -> None:
    puppet.answer = "Hello"


def test_no_field_is_both_obeyed_and_not() -> None:
    obeyed = names_on_the_wire(ChatCall)
    assert not obeyed & (REFUSED.keys() | WARNED.keys())
    assert not REFUSED.keys() & WARNED.keys()
    assert not names_on_the_wire(CompletionFields) & WARNED.keys()


@pytest.mark.parametrize("name", sorted(REFUSED))
async def test_a_field_that_would_constrain_the_answer_is_refused(
    http: httpx2.AsyncClient, puppet: PuppetEngine, name: str
) -> None:
    for value in ({"a": 1}, "x", 7, True, ["a", "b"]):
        reply = await http.post(CHAT, json={**BODY, name: value})
        error = reply.json()["error"]
        assert (reply.status_code, error["param"]) == (400, name)
        assert error["code"] == "unsupported_field"
        assert len(error["message"]) > len(f"{name} is not supported: ")
    assert not puppet.requests
    for value in (None, *REFUSED[name].asks_nothing):
        assert not await warned(http, **{name: value})


@pytest.mark.parametrize("name", sorted(name for name in WARNED if "." not in name))
async def test_a_known_field_that_is_not_obeyed_is_named(
    http: httpx2.AsyncClient, name: str
) -> None:
    assert await warned(http, **{name: {"a": 1}}) == [("unsupported_field", name)]
    for value in (None, *WARNED[name].asks_nothing):
        assert not await warned(http, **{name: value})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temprature": 0.5}, "temprature"),
        ({"messages": [USER, {**USER, "weight": 1}]}, "messages[].weight"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}]},
            "messages[].content[].x",
        ),
        ({"tools": [{"function": {"name": "f", "defer": True}}]}, "tools[].function.defer"),
        ({"tools": [{"function": {"name": "f"}, "cache": {"a": 1}}]}, "tools[].cache"),
        ({"response_format": {"type": "text", "style": 1}}, "response_format.style"),
        ({"kv_transfer_params": {"max_load": 1}}, "kv_transfer_params.max_load"),
    ],
)
async def test_an_unknown_field_is_named_wherever_it_stands(
    http: httpx2.AsyncClient, fields: dict[str, Any], field: str
) -> None:
    assert await warned(http, **fields) == [("unknown_field", field)]


async def test_schemas_are_the_clients_own(http: httpx2.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "default": None}}, "x-a": 1}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
    assert not await warned(http, tools=tools)
    assert not await warned(http, response_format=form)


async def test_tools_of_other_types_are_named(http: httpx2.AsyncClient) -> None:
    assert await warned(http, tools=[FOREIGN, FOREIGN]) == [("unsupported_field", "tools")]


async def test_a_name_is_named_where_the_template_shows_none(http: httpx2.AsyncClient) -> None:
    named = [{**USER, "name": "Zoe"}]
    assert await warned(http, messages=named) == [("unsupported_field", "messages[].name")]


async def test_formats_that_calls_are_not_held_to_are_named(http: httpx2.AsyncClient) -> None:
    properties = {
        "at": {"type": "string", "format": "date-time"},
        "color": {"anyOf": [{"type": "string", "format": "color"}, {"type": "null"}]},
    }
    parameters = {"type": "object", "properties": properties}
    paint = {"type": "function", "function": {"name": "paint", "parameters": parameters}}
    heard = await warned(http, tools=[paint])
    assert heard == [("unsupported_field", "tools[].function.parameters")]
    assert await warned(http, tools=[paint], tool_choice="none") == []


async def test_of_many_fields_the_last_warning_tells_how_many(http: httpx2.AsyncClient) -> None:
    fields = {f"field_{number}": 1 for number in range(100)}
    answer = (await http.post(CHAT, json={**BODY, **fields})).json()
    assert len(answer["warnings"]) == WARNINGS_MAX
    assert f"{100 - WARNINGS_MAX + 1} more" in answer["warnings"][-1]["message"]


async def test_a_long_or_odd_name_is_shown_short_and_plain(http: httpx2.AsyncClient) -> None:
    ((_, shown), (_, odd)) = await warned(http, **{"x" * 5000: 1, "a\x1b[31m\n": 1})
    assert shown == "x" * 80
    assert odd.isprintable()


@pytest.mark.parametrize("with_usage", [False, True])
async def test_a_stream_tells_them_once_in_its_last_chunk(
    http: httpx2.AsyncClient, with_usage: bool
) -> None:
    body = {
        **BODY,
        "stream": True,
        "colour": "red",
        "stream_options": {"include_usage": with_usage},
    }
    lines = (await http.post(CHAT, json=body)).text.split("\n\n")
    chunks = [
        json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")
    ]
    assert ["warnings" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["warnings"][0]["field"] == "colour"
    assert (chunks[-1]["choices"] == []) is with_usage


async def test_an_answer_without_warnings_has_no_such_key(http: httpx2.AsyncClient) -> None:
    answer = (await http.post(CHAT, json=BODY)).json()
    assert "warnings" not in answer
    assert answer["system_fingerprint"].startswith("fp_")


@pytest.mark.parametrize("name", sorted(names_on_the_wire(ChatCall) - {"messages"}))
async def test_null_is_as_good_as_absent(http: httpx2.AsyncClient, name: str) -> None:
    assert not await warned(http, **{name: None})


async def test_null_is_absent_in_inner_objects_too(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    function = {"name": "f", "description": None, "parameters": None, "strict": None}
    fields: dict[str, Any] = {
        "tools": [{"function": function, "type": None}],
        "response_format": {"type": "text", "json_schema": None},
        "stream_options": {"include_usage": None},
        "stream": True,
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": None, "refusal": None},
            {**USER, "name": None, "tool_calls": None, "tool_call_id": None, "function_call": None},
        ],
    }
    assert (await http.post(CHAT, json=fields)).status_code == 200
    empty = {"type": "object", "properties": None, "required": None}
    tools = [{"function": {"name": "f", "parameters": empty}}]
    assert not await warned(http, tools=tools)
    assert puppet.last.grammar is not None


@pytest.mark.parametrize(
    "bias",
    [
        '{"5": 1e999}',
        '{"5": -1e999}',
        '{"5": Infinity}',
        '{"5": NaN}',
        '{"5": %s}' % ("9" * 5000),
        '{"5": %s}' % ("9" * 4000),
        '{"%s": 1}' % ("9" * 5000),
        '{"1": 1, "01": 2}',
        '{"00": 1}',
        '{"+1": 1}',
        '{"1.0": 1}',
        '{"-1": 1}',
        '{" 1": 1}',
        '{"\\u0661": 1}',
        '{"": 1}',
        '{"1": true}',
        '{"1": "2"}',
        '{"1": null}',
        "[1]",
    ],
)
async def test_a_bias_that_is_none_is_refused(
    http: httpx2.AsyncClient, puppet: PuppetEngine, bias: str
) -> None:
    body = json.dumps({**BODY, "logit_bias": "@"}).replace('"@"', bias)
    reply = await http.post(CHAT, content=body)
    assert reply.status_code == 400, reply.text
    assert not puppet.requests


async def test_tokens_have_one_name_each(http: httpx2.AsyncClient, puppet: PuppetEngine) -> None:
    bias = {"0": 1, "10": -100, "200": 100}
    assert (await http.post(CHAT, json={**BODY, "logit_bias": bias})).status_code == 200
    assert puppet.last.sampling.logit_bias == {0: 1, 10: -100, 200: 100}


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"type": "text", "json_schema": {"schema": {"type": "integer"}}}, "json_schema"),
        ({"type": "text", "schema": {"type": "integer"}}, "schema"),
        ({"type": "json_object", "json_schema": {"schema": {}}}, "json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": {}}, "schema": {}}, "schema"),
        ({"type": "json_object", "triggers": ["<f"]}, "triggers"),
    ],
)
async def test_a_field_of_another_type_of_form_is_refused(
    http: httpx2.AsyncClient, form: dict[str, Any], field: str
) -> None:
    reply = await http.post(CHAT, json={**BODY, "response_format": form})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == f"response_format.{field}"


async def test_an_error_names_the_field_and_no_branch_of_its_type(
    http: httpx2.AsyncClient,
) -> None:
    reply = await http.post(CHAT, json={**BODY, "structured_outputs": {"json": True}})
    assert reply.json()["error"]["param"] == "structured_outputs.json"


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ({"type": "function", "name": "f"}, "tool_choice.function"),
        ({"type": "function", "function": {}}, "tool_choice.function.name"),
        ({"type": "allowed_tools", "mode": "auto"}, "tool_choice.allowed_tools"),
        ({"type": "any"}, "tool_choice"),
        ("any", "tool_choice"),
    ],
)
async def test_a_wrong_choice_of_tools_is_told_by_the_form_it_has(
    http: httpx2.AsyncClient, choice: Any, param: str
) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    reply = await http.post(CHAT, json={**BODY, "tools": [tool], "tool_choice": choice})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
