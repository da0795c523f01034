"""What a client sends is read in every form, or refused with the name of the field."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.platform.gateway.responses.provider import Chunks, FakeProvider, Refusal, said

from roost_inference.http.listener import listening
from roost_platform.gateway.routing import truncation
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

ONE = "/v1/responses"
USER = {"role": "user", "content": "go"}
CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "seen"}
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}
HELP = {"type": "function", "name": "help"}


@pytest.fixture
async def provider() -> FakeProvider:
    return FakeProvider(lambda body: said("Yes."))


@pytest.fixture
async def gateway(
    tmp_path: Path, sqlite_url: str, provider: FakeProvider
) -> AsyncIterator[GatewayServer]:
    async with listening(provider) as url:
        overrides = {
            "providers": {"fake": {"base_url": url}},
            "models": {"any": {"targets": ["fake/any"]}},
        }
        async with gateway_server(tmp_path, database_url=sqlite_url, overrides=overrides) as server:
            yield server


async def ask(gateway: GatewayServer, given: Any, **fields: Any) -> dict[str, Any]:
    answer = await gateway.post(ONE, {"model": "any", "input": given, **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_items_become_messages_in_the_order_that_chat_takes(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
    await ask(
        gateway,
        [
            {"role": "developer", "content": "Be brief."},
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [{"type": "input_text", "text": "see"}, picture]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            CALL,
            {**CALL, "call_id": "c2"},
            {"role": "user", "content": "hurry"},
            {**RESULT, "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
            RESULT,
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ],
        instructions="Be true.",
        tools=[LOOK],
    )
    function = {"name": "look", "arguments": "{}"}
    assert provider.requests[-1]["messages"] == [
        {"role": "system", "content": "Be true.\n\nBe brief.\n\nBe kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "see"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"},
                },
            ],
        },
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": id, "type": "function", "function": function} for id in ("c1", "c2")
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "user", "content": "hurry"},
    ]


@pytest.mark.parametrize(
    ("choice", "tools", "sent"),
    [
        ("required", ["look", "help"], "required"),
        ("none", ["look", "help"], "none"),
        ({"type": "function", "name": "look"}, ["look", "help"], "look"),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"name": "help"}]},
            ["help"],
            "required",
        ),
    ],
)
async def test_the_choice_of_a_tool_has_every_form(
    gateway: GatewayServer, provider: FakeProvider, choice: Any, tools: list[str], sent: str
) -> None:
    given = [LOOK, HELP, {"type": "web_search"}, {"type": "of_tomorrow", "x": 1}]
    response = await ask(gateway, "go", tools=given, tool_choice=choice)
    body = provider.requests[-1]
    assert [tool["function"]["name"] for tool in body["tools"]] == tools
    named = body["tool_choice"]
    assert sent == (named["function"]["name"] if isinstance(named, dict) else named)
    assert response["tool_choice"] == choice
    assert [tool["name"] for tool in response["tools"]] == ["look", "help"]


async def test_a_tool_that_no_engine_has_may_be_offered_and_not_demanded(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    offered = {"model": "fast", "input": "go", "tools": [LOOK, {"type": "web_search"}]}
    response = await gateway.post(
        "/v1/responses", {**offered, "tool_choice": {"type": "web_search"}}
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tool_choice")
    assert provider.requests == []


async def test_settings_go_to_the_provider_and_come_back(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    settings = {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 50,
        "reasoning": {"effort": "high"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "top_logprobs": 2,
        "metadata": {"a": "b"},
        "safety_identifier": "ada",
        "prompt_cache_key": "chat-1",
    }
    response = await ask(gateway, "go", **settings)
    body = provider.requests[-1]
    assert (body["max_tokens"], body["reasoning_effort"]) == (50, "high")
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert body["response_format"] == {"type": "json_object"} and body["verbosity"] == "low"
    assert not {"metadata", "safety_identifier", "prompt_cache_key", "store"} & set(body)
    for name, value in settings.items():
        if name != "reasoning":
            assert response[name] == value
    assert response["reasoning"] == {"effort": "high", "summary": None}


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_cut_off_is_incomplete(
    gateway: GatewayServer, provider: FakeProvider, finish: str, reason: str, stream: bool
) -> None:
    provider.answer = lambda body: said("Half of", finish)
    answer = await gateway.post(ONE, {"model": "any", "input": "go", "stream": stream})
    if stream:
        assert "event: response.incomplete" in answer.text
        assert f'"incomplete_details":{{"reason":"{reason}"}}' in answer.text
        return
    response = answer.json()
    assert response["status"] == response["output"][0]["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": reason}
    assert response["completed_at"] is None


async def test_logprobs_have_the_form_that_responses_demand(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    entry = {"token": "é", "logprob": -0.1, "top_logprobs": [{"token": "e", "logprob": -2.0}]}

    def answer(body: Mapping[str, Any]) -> Chunks:
        first, *rest = said("é")
        first["choices"][0]["logprobs"] = {"content": [entry]}
        return [first, *rest]

    provider.answer = answer
    response = await ask(gateway, "go", include=["message.output_text.logprobs"])
    assert response["output"][0]["content"][0]["logprobs"] == [
        {
            "token": "é",
            "bytes": [195, 169],
            "logprob": -0.1,
            "top_logprobs": [{"token": "e", "bytes": [101], "logprob": -2.0}],
        }
    ]


def fits(words: int) -> Any:
    """A provider that takes prompts of so many characters."""

    def answer(body: Mapping[str, Any]) -> Chunks | Refusal:
        size = sum(len(str(message.get("content") or "")) for message in body["messages"])
        if size <= words:
            return said("It fits.")
        error = {"message": "too long", "code": "context_length_exceeded"}
        return 400, {"error": {**error, "type": "invalid_request_error", "param": "messages"}}

    return answer


async def test_truncation_drops_the_oldest_turns_and_no_half_of_one(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    provider.answer = fits(700)
    turns = [
        item
        for number in range(8)
        for item in (
            {"role": "user", "content": f"{number} " + "x" * 200},
            {**CALL, "call_id": f"c{number}"},
            {**RESULT, "call_id": f"c{number}", "output": "y" * 20},
            {"role": "assistant", "content": "done"},
        )
    ]
    given = [{"role": "system", "content": "Rules."}, *turns, {"role": "user", "content": "last"}]
    refused = await gateway.post(ONE, {"model": "any", "input": given})
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    response = await ask(gateway, given, truncation="auto")
    assert response["truncation"] == "auto" and response["status"] == "completed"
    roles = [message["role"] for message in provider.requests[-1]["messages"]]
    assert roles[:2] == ["system", "user"] and roles[-1] == "user"
    assert roles[1:-1] == ["user", "assistant", "tool", "assistant"] * (len(roles[1:-1]) // 4)
    alone = await gateway.post(ONE, {"model": "any", "input": "z" * 900, "truncation": "auto"})
    assert alone.json()["error"]["code"] == "context_length_exceeded"


async def test_truncation_gives_up_after_its_rounds(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    provider.answer = fits(0)
    given = [{"role": role, "content": "x"} for _ in range(2000) for role in ("user", "assistant")]
    body = {"model": "any", "input": [*given, USER], "truncation": "auto"}
    answer = await gateway.post(ONE, body)
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert len(provider.requests) == truncation.ROUNDS_MAX


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [7]}, "input[0]"),
        ({"input": [{"type": "dance"}]}, "input[0].type"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0].type"),
        ({"input": [USER, {**CALL, "arguments": 1}]}, "input[1].arguments"),
        ({"input": [USER, CALL]}, "input"),
        ({"input": [USER, RESULT]}, "input"),
        ({"input": [USER, {"type": "compaction", "encrypted_content": "gAAA"}]}, "input"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [LOOK], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"tool_choice": 4}, "tool_choice"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"truncation": "some"}, "truncation"),
        ({"stream": "yes"}, "stream"),
        ({"background": True, "store": False}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"previous_response_id": 4}, "previous_response_id"),
    ],
)
async def test_a_bad_field_is_named(
    gateway: GatewayServer, fields: dict[str, Any], param: str
) -> None:
    answer = await gateway.post(ONE, {"model": "any", "input": "go", **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["type"] == "invalid_request_error" and error["message"]
