"""Models that refuse a parameter by name are asked without it, or under its newer name."""

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roost_inference.client.dialects.parameters import MODELS_MAX
from roost_inference.client.engine_client import ChatRequest, EngineClient
from roost_inference.errors import InvalidRequest
from roost_inference.http.listener import listening

USER = {"role": "user", "content": "hi"}
ASK = ChatRequest(messages=[USER], max_tokens=50, temperature=0.7, seed=3, model="new")
ANSWER = 'data: {"choices":[{"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\n'


def refused(name: str, code: str = "unsupported_parameter") -> dict[str, Any]:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return {"error": {"message": message, "param": name, "code": code}}


async def test_a_refused_parameter_is_renamed_or_left_out_from_then_on() -> None:
    bodies: list[dict[str, Any]] = []

    async def answer(request: Request) -> Response:
        body = await request.json()
        bodies.append(body)
        for name in ("max_tokens", "temperature") if body["model"] == "new" else ():
            if name in body:
                return JSONResponse(refused(name), 400)
        return Response(ANSWER, media_type="text/event-stream")

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    async with listening(app) as url:
        client = EngineClient(url)
        for _ in range(2):
            assert (await client.complete(ASK)).text == "ok"
        older = ChatRequest(messages=[USER], max_tokens=50, model="old")
        await client.complete(older)
        await client.close()
    assert len(bodies) == 5
    for body in bodies[2:4]:
        assert (body["max_completion_tokens"], body["seed"]) == (50, 3)
        assert not {"max_tokens", "temperature"} & set(body)
    assert bodies[4]["max_tokens"] == 50


@pytest.mark.parametrize(
    "error",
    [
        {"message": "temperature unsupported_parameter", "code": "unsupported_parameter"},
        {"message": "no", "param": "messages", "code": "unsupported_value"},
        {"message": "no", "param": "temperature", "code": "invalid_value"},
    ],
)
async def test_words_and_other_errors_change_no_parameter(error: dict[str, Any]) -> None:
    asked = 0

    async def answer(request: Request) -> Response:
        nonlocal asked
        asked += 1
        return JSONResponse({"error": error}, 400)

    app = Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])
    async with listening(app) as url:
        client = EngineClient(url)
        with pytest.raises(InvalidRequest):
            await client.complete(ASK)
        await client.close()
    assert asked == 1


async def test_what_models_refuse_is_remembered_of_a_bounded_number() -> None:
    client = EngineClient("http://127.0.0.1:9")
    for number in range(MODELS_MAX + 5):
        client._learn(f"m{number}", {"temperature"})
    assert len(client._refused_parameters) == MODELS_MAX
    assert json.dumps(sorted(client._refused_parameters["m1000"])) == '["temperature"]'
    await client.close()
