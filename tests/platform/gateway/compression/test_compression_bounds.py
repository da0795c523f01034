"""What compression never does: lose a prompt, break a cached prefix, pass a budget."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from roost_inference.errors import PromptTooLong
from roost_inference.testing.scripts import Call, Fail, Hang, Say, text_of
from roost_platform.gateway.compression import compression
from roost_platform.gateway.compression.sent_rows import WARM_S
from roost_platform.gateway.keys.estimates import PromptEstimates
from roost_platform.testing.providers.gateway import GatewayServer
from roost_platform.testing.providers.long_prompts import (
    NEEDLES,
    answer_by,
    compressing,
    conversation,
    request,
    results,
    retrieves_all,
    rows_of,
    stubs,
)

CHAT = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    async with compressing(tmp_path) as server:
        yield server


async def test_whatever_fails_the_prompt_goes_out_as_it_came(
    gateway: GatewayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(compression, "plan", broken)
    response = await gateway.post(CHAT, request())
    assert response.status_code == 200
    assert gateway.engine.requests[-1]["messages"] == conversation()
    (row,) = await rows_of(gateway)
    assert (row.outcome, row.saved_tokens) == ("ok", 0)


async def test_a_model_that_refuses_the_tool_gets_the_prompt_as_it_came(
    gateway: GatewayServer,
) -> None:
    answer_by(gateway, lambda body: [Fail(400)] if body.get("tools") else [Say("Well.")])
    response = await gateway.post(CHAT, request())
    assert response.json()["choices"][0]["message"]["content"] == "Well."
    assert gateway.engine.requests[-1]["messages"] == conversation()
    (row,) = await rows_of(gateway)
    assert (row.outcome, row.saved_tokens) == ("ok", 0)


async def test_a_prompt_that_the_provider_calls_too_long_is_compressed_below_the_threshold(
    gateway: GatewayServer,
) -> None:
    assert gateway.app.serving.compression is not None
    gateway.app.serving.compression.above_tokens = 10**6

    def script(body: Mapping[str, Any]) -> Sequence[Any]:
        if not stubs(body):
            raise PromptTooLong("The prompt has 9000 tokens, the context 4000")
        return [Say("It fits.")]

    answer_by(gateway, script)
    response = await gateway.post(CHAT, request())
    assert response.json()["choices"][0]["message"]["content"] == "It fits."
    before = [{"role": "user", "content": "recall " * 3000}]
    response = await gateway.post(CHAT, request(messages=before))
    assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_what_a_client_leaves_in_the_second_round_is_billed_for_both(
    gateway: GatewayServer,
) -> None:
    def script(body: Mapping[str, Any]) -> Sequence[Any]:
        if results(body):
            return [Say("word " * 5), Hang()]
        return [Call("retrieve", json.dumps({"reference": stubs(body)[0]}))]

    answer_by(gateway, script)
    url, headers = gateway.url + CHAT, {"authorization": f"Bearer {gateway.secret}"}
    body = request(stream=True)
    async with gateway.client.stream("POST", url, json=body, headers=headers) as response:
        async for line in response.aiter_lines():
            if "word" in line:
                break
    async with asyncio.timeout(20):
        while not (rows := await rows_of(gateway)) or not rows[0].outcome or gateway.engine.running:
            await asyncio.sleep(0.05)
    assert rows[0].outcome == "cancelled"
    first, second = gateway.engine.requests
    words = sum(len(text_of(message).split()) for message in first["messages"])
    assert rows[0].input_tokens > words + len(json.dumps(second["messages"])) // 6


async def test_a_prompt_that_can_not_be_made_to_fit_is_too_long(tmp_path: Path) -> None:
    async with compressing(tmp_path, context_tokens=300) as gateway:
        rows = [{"role": "user", "content": "word " * 4000}]
        response = await gateway.post(CHAT, request(messages=rows))
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"
        assert gateway.engine.requests == []


async def test_a_prompt_above_the_model_s_context_is_compressed_even_if_it_was_just_sent(
    tmp_path: Path,
) -> None:
    async with compressing(tmp_path, context_tokens=1500) as gateway:
        short, rows = conversation()[:3], conversation()
        await gateway.post(CHAT, request(messages=short))
        assert stubs(gateway.engine.requests[-1]) == []
        await gateway.post(CHAT, request(messages=rows))
        assert len(stubs(gateway.engine.requests[-1])) == 3


async def test_a_turn_after_turn_the_prefix_stays_the_same_until_it_is_cold(
    gateway: GatewayServer,
) -> None:
    now = 1000.0
    assert gateway.app.serving.compression is not None
    gateway.app.serving.compression.clock = lambda: now
    rows = conversation()
    await gateway.post(CHAT, request(messages=rows))
    for number in range(3):
        now += WARM_S if number else 1.0
        before = gateway.engine.requests[-1]
        rows += [
            {"role": "assistant", "content": f"Answer {number}."},
            {"role": "user", "content": f"{NEEDLES['date']}? " + "filler " * 600},
        ]
        await gateway.post(CHAT, request(messages=rows))
        after = gateway.engine.requests[-1]
        same = len(before["messages"])
        assert json.dumps(after["messages"][:same]) == json.dumps(before["messages"])
        assert after["tools"] == before["tools"]
    now += 2 * WARM_S
    before = gateway.engine.requests[-1]
    await gateway.post(CHAT, request(messages=rows))
    after = gateway.engine.requests[-1]
    assert stubs(after) == stubs(before)
    assert after["messages"] != before["messages"]


async def test_a_budget_holds_for_two_readings_and_no_more_are_made(gateway: GatewayServer) -> None:
    _, secret = await gateway.new_key("tight", budget_tokens=30_000)
    rows = conversation()
    # The question itself is long, so that nearly all of the prompt stays.
    rows[-1] = {"role": "user", "content": "recall " * 4000}

    def script(body: Mapping[str, Any]) -> Sequence[Any]:
        return [
            Call("retrieve", json.dumps({"reference": stubs(body)[0], "start": len(results(body))}))
        ]

    answer_by(gateway, script)
    response = await gateway.post(CHAT, request(messages=rows, max_tokens=50), secret)
    assert response.status_code == 200, response.text
    assert 2 <= len(gateway.engine.requests) <= 3
    (row,) = [row for row in await rows_of(gateway) if row.outcome == "ok"]
    assert row.input_tokens + row.output_tokens <= row.held_tokens


async def test_two_rounds_share_the_bound_of_the_answer(gateway: GatewayServer) -> None:
    def script(body: Mapping[str, Any]) -> Sequence[Any]:
        if len(results(body)) == 2:
            return [Say("Found.")]
        reference = stubs(body)[len(results(body))]
        return [Say("one two three"), Call("retrieve", json.dumps({"reference": reference}))]

    answer_by(gateway, script)
    response = await gateway.post(CHAT, request(max_tokens=50))
    assert response.status_code == 200
    first, second, third = (body["max_tokens"] for body in gateway.engine.requests)
    assert first == 50
    assert first - second == second - third >= 3


async def test_nothing_is_learnt_of_prompts_that_were_read_in_rounds(
    gateway: GatewayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[int] = []
    monkeypatch.setattr(
        PromptEstimates, "learn", lambda self, target, size, tokens: learnt.append(tokens)
    )
    retrieves_all(gateway)
    assert (await gateway.post(CHAT, request())).status_code == 200
    assert learnt == []
    assert (await gateway.post(CHAT, request(model="plain"))).status_code == 200
    assert len(learnt) == 1


async def test_a_budget_holds_for_a_target_that_has_few_tokens_for_its_bytes(
    gateway: GatewayServer,
) -> None:
    _, secret = await gateway.new_key("tight", budget_tokens=30_000)
    rows = conversation()
    rows[-1] = {"role": "user", "content": "unquestionably " * 2000}
    # The scripted engine has a token for each word, so fewer are held from now on.
    await gateway.post(CHAT, request(messages=rows, model="plain", max_tokens=50), secret)

    def script(body: Mapping[str, Any]) -> Sequence[Any]:
        return [
            Call("retrieve", json.dumps({"reference": stubs(body)[0], "start": len(results(body))}))
        ]

    answer_by(gateway, script)
    response = await gateway.post(CHAT, request(messages=rows, max_tokens=50), secret)
    assert response.status_code == 200, response.text
    assert len(gateway.engine.requests) > 2
    for row in await rows_of(gateway):
        assert row.input_tokens + row.output_tokens <= row.held_tokens
