"""Functions of the older API, allowed tools, refusals, and the other forms of messages."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from roost_inference.engine import Engine
from roost_inference.testing.puppet import PuppetEngine

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "hi"}
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": None,
    "parameters": {
        "type": "object",
        "properties": {
            "place": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "maxLength": 12},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["city", "unit"],
            },
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
        },
        "required": ["place", "days"],
    },
}
CLOCK = {"name": "clock"}
CALL = '<tool_call>\n{"name": "clock", "arguments": {"zone": "UTC"}}\n</tool_call>'


@pytest.fixture
async def strict(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
async def real(real_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{real_url}/v1", api_key="x", max_retries=0) as client:
        yield client


def is_weather(arguments: str) -> bool:
    value = json.loads(arguments)
    place = value["place"]
    return (
        set(value) == {"place", "days"}
        and set(place) == {"city", "unit"}
        and isinstance(place["city"], str)
        and place["unit"] in ("celsius", "fahrenheit")
        and 1 <= value["days"] <= 7
    )


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "weather"}},
        {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "weather"}}],
            },
        },
    ],
)
async def test_nested_schemas_hold_whatever_forces_the_tool(
    real: openai.AsyncOpenAI, choice: Any
) -> None:
    for prompt in ("Tell me about cats.", "Weather in Oslo for 3 days?"):
        tools: Any = [{"type": "function", "function": WEATHER}]
        answer = await real.chat.completions.create(
            model="",
            messages=[{"role": "user", "content": prompt}],
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=False,
            max_tokens=120,
            seed=3,
        )
        calls = answer.choices[0].message.tool_calls
        assert calls is not None and len(calls) == 1
        call = calls[0]
        assert call.type == "function"
        assert call.function.name == "weather"
        assert is_weather(call.function.arguments)


async def test_a_forced_function_of_the_older_api_is_called_in_its_form(
    real: openai.AsyncOpenAI,
) -> None:
    functions: Any = [WEATHER, CLOCK]
    answer = await real.chat.completions.create(
        model="",
        messages=[{"role": "user", "content": "Weather in Oslo?"}],
        functions=functions,
        function_call={"name": "weather"},
        max_tokens=120,
        temperature=0,
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.tool_calls is None
    assert choice.message.function_call is not None
    assert choice.message.function_call.name == "weather"
    assert is_weather(choice.message.function_call.arguments)


async def test_streams_and_whole_answers_have_the_older_form(
    strict: openai.AsyncOpenAI, puppet: PuppetEngine
) -> None:
    puppet.answer = CALL
    functions: Any = [CLOCK]
    whole = await strict.chat.completions.create(
        model="", messages=[{"role": "user", "content": "hi"}], functions=functions
    )
    assert whole.choices[0].message.function_call is not None
    name, arguments, reason = "", "", None
    async for chunk in await strict.chat.completions.create(
        model="", messages=[{"role": "user", "content": "hi"}], functions=functions, stream=True
    ):
        delta = chunk.choices[0].delta
        assert delta.tool_calls is None
        if delta.function_call is not None:
            name += delta.function_call.name or ""
            arguments += delta.function_call.arguments or ""
        reason = chunk.choices[0].finish_reason or reason
    assert (name, reason) == ("clock", "function_call")
    assert arguments == whole.choices[0].message.function_call.arguments == '{"zone": "UTC"}'


async def test_the_older_history_gives_the_same_prompt_as_the_newer(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    function = {"name": "clock", "arguments": '{"zone": "UTC"}'}
    older = [
        USER,
        {"role": "assistant", "content": None, "function_call": function},
        {"role": "function", "name": "clock", "content": "12:00"},
    ]
    newer = [
        USER,
        {
            "role": "assistant",
            "tool_calls": [{"id": "a", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "12:00"},
    ]
    answer = await http.post(CHAT, json={"messages": older, "functions": [CLOCK]})
    assert answer.status_code == 200 and "warnings" not in answer.json()
    first = puppet.last.prompt_tokens
    await http.post(CHAT, json={"messages": newer, "tools": [{"function": CLOCK}]})
    assert puppet.last.prompt_tokens == first


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": "clock"}, "functions"),
        ({"functions": [CLOCK], "tools": [{"function": CLOCK}]}, "functions"),
        ({"functions": [CLOCK], "function_call": "clock"}, "function_call"),
        ({"functions": [CLOCK], "function_call": {"name": "other"}}, "tool_choice"),
        ({"functions": [7]}, "tools[0].function"),
        ({"function_call": {"name": "clock"}}, "function_call"),
        (
            {"messages": [USER, {"role": "function", "name": "f", "content": "1"}]},
            "messages[1].name",
        ),
        ({"messages": [{"role": "assistant", "function_call": "f"}]}, "messages[0].function_call"),
        ({"messages": [{"role": "function", "content": "1"}]}, "messages[0].name"),
        (
            {
                "tools": [{"function": CLOCK}],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"tools": [{"function": {"name": "other"}}]},
                },
            },
            "tool_choice",
        ),
        (
            {
                "tools": [{"function": CLOCK}],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}},
            },
            "tool_choice.allowed_tools.tools",
        ),
    ],
)
async def test_what_is_no_function_is_refused_by_its_name(
    http: httpx2.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    reply = await http.post(CHAT, json={"messages": [USER], **fields})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text


async def test_allowed_tools_narrow_the_calls_and_not_the_prompt(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    tools = [{"function": {"name": name}} for name in ("alpha", "beta", "gamma")]
    await http.post(CHAT, json={"messages": [USER], "tools": tools})
    every = puppet.last
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "beta"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    await http.post(CHAT, json={"messages": [USER], "tools": tools, "tool_choice": choice})
    narrow = puppet.last
    assert narrow.prompt_tokens == every.prompt_tokens
    assert every.grammar is not None and narrow.grammar is not None
    assert "alpha" in every.grammar and "beta" in narrow.grammar
    assert "alpha" not in narrow.grammar and "gamma" not in narrow.grammar


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "refusal": "I won't."},
        {"role": "assistant", "content": "", "refusal": "I won't."},
        {"role": "assistant", "refusal": "I won't."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "I won't."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I won't."}]},
        {"role": "assistant", "content": "I won't.", "refusal": None, "annotations": []},
    ],
)
async def test_a_refusal_in_the_history_is_what_the_assistant_said(
    http: httpx2.AsyncClient, puppet: PuppetEngine, message: dict[str, Any]
) -> None:
    puppet.answer = "ok"
    answer = await http.post(CHAT, json={"messages": [USER, message, USER]})
    assert answer.status_code == 200, answer.text
    assert "warnings" not in answer.json()
    assert "<|assistant|>I won't.<|end|>" in puppet.text_of(puppet.last.prompt_tokens)


@pytest.mark.parametrize("content", ["", [], [{"type": "text", "text": ""}]])
@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
async def test_empty_content_is_content(
    http: httpx2.AsyncClient, puppet: PuppetEngine, role: str, content: Any
) -> None:
    puppet.answer = "ok"
    messages = [{"role": role, "content": content}, USER]
    assert (await http.post(CHAT, json={"messages": messages})).status_code == 200


@pytest.mark.parametrize("message", [{"role": "assistant"}, {"role": "assistant", "content": None}])
async def test_an_assistant_may_have_said_nothing(
    http: httpx2.AsyncClient, puppet: PuppetEngine, message: dict[str, Any]
) -> None:
    puppet.answer = "ok"
    assert (await http.post(CHAT, json={"messages": [USER, message, USER]})).status_code == 200


@pytest.mark.parametrize("part", [{"type": "refusal"}, {"type": "text", "text": None}, {}, 7, None])
async def test_a_part_without_its_text_is_refused(http: httpx2.AsyncClient, part: Any) -> None:
    reply = await http.post(CHAT, json={"messages": [{"role": "user", "content": [part]}]})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "messages[0].content")


async def test_a_schema_of_many_properties_is_followed_or_refused_at_once(
    real: openai.AsyncOpenAI, real_engine: Engine
) -> None:
    for count in (400, 1000, 1900, 6000):
        properties: dict[str, Any] = {f"p{number}": {} for number in range(count)}
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        form: Any = {"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}
        try:
            answer = await real.chat.completions.create(
                model="",
                messages=[{"role": "user", "content": "Write JSON."}],
                response_format=form,
                max_tokens=12,
                temperature=0,
            )
        except openai.BadRequestError as refused:
            assert count > 1000
            assert (refused.code, refused.param) == ("invalid_schema", "response_format")
        else:
            assert (answer.choices[0].message.content or "").startswith("{")
    assert real_engine.failure is None
