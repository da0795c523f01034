"""Long prompts go out compressed; what was left out is read without the client's notice."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, update

from roost_inference.testing.scripts import Call, Say, text_of
from roost_platform.db import models
from roost_platform.gateway.compression.compression import ROUNDS_MAX
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


def streamed(response: httpx2.Response) -> tuple[str, list[Any], str, Any]:
    """The text, the calls, the reason of the end and the usage of a stream."""
    events = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(event) for event in events]
    deltas = [c["choices"][0] for c in chunks if c["choices"]]
    text = "".join(one["delta"].get("content") or "" for one in deltas)
    calls = [call for one in deltas for call in one["delta"].get("tool_calls") or ()]
    return text, calls, deltas[-1]["finish_reason"], chunks[-1].get("usage")


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_ids_in_old_turns_are_recalled_and_the_client_sees_no_call_of_it(
    gateway: GatewayServer, is_streamed: bool
) -> None:
    retrieves_all(gateway)
    options = {"stream": True, "stream_options": {"include_usage": True}} if is_streamed else {}
    response = await gateway.post(CHAT, request(**options))
    assert response.status_code == 200, response.text
    if is_streamed:
        text, calls, reason, usage = streamed(response)
    else:
        choice, usage = response.json()["choices"][0], response.json()["usage"]
        text, reason = choice["message"]["content"], choice["finish_reason"]
        calls = choice["message"].get("tool_calls") or []
    assert text == "Found " + ", ".join(NEEDLES.values())
    assert (calls, reason) == ([], "stop")

    first, second = gateway.engine.requests
    assert len(stubs(first)) == 3
    assert [tool["function"]["name"] for tool in first["tools"]] == ["retrieve"]
    assert second["messages"][: len(first["messages"])] == first["messages"]
    (row,) = await rows_of(gateway)
    assert (row.outcome, row.target) == ("ok", "roost/scripted")
    words = [
        sum(len(text_of(message).split()) for message in body["messages"])
        for body in (first, second)
    ]
    assert row.input_tokens == usage["prompt_tokens"] == sum(words)
    assert row.saved_tokens > 2000


async def test_it_is_off_unless_the_model_or_the_key_has_it_on(gateway: GatewayServer) -> None:
    await gateway.post(CHAT, request(model="plain"))
    assert gateway.engine.requests[-1]["messages"] == conversation()
    assert "tools" not in gateway.engine.requests[-1]
    _, secret = await gateway.new_key("thrifty", compress=True)
    await gateway.post(CHAT, request(model="plain"), secret)
    assert len(stubs(gateway.engine.requests[-1])) == 3
    assert [row.saved_tokens > 0 for row in await rows_of(gateway)].count(True) == 1


async def test_prompts_with_functions_of_the_older_api_are_compressed_as_well(
    gateway: GatewayServer,
) -> None:
    retrieves_all(gateway)
    response = await gateway.post(CHAT, request(functions=[TOOL["function"]]))
    first, _ = gateway.engine.requests
    assert [tool["function"]["name"] for tool in first["tools"]] == ["f", "retrieve"]
    message = response.json()["choices"][0]["message"]
    assert message["content"] == "Found " + ", ".join(NEEDLES.values())
    assert "function_call" not in message


async def test_a_short_prompt_is_not_touched(gateway: GatewayServer) -> None:
    short = [{"role": "user", "content": "say Hello there"}]
    await gateway.post(CHAT, request(messages=short))
    assert gateway.engine.requests[-1]["messages"] == short
    assert "tools" not in gateway.engine.requests[-1]


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"tool_choice": "none", "tools": [TOOL]},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": [TOOL]},
    ],
)
async def test_where_the_model_can_not_retrieve_nothing_is_left_out(
    gateway: GatewayServer, fields: dict[str, Any]
) -> None:
    await gateway.post(CHAT, request(**fields))
    for body in gateway.engine.requests:
        assert stubs(body) == []


async def test_a_client_s_own_tool_of_that_name_stays_its_own(gateway: GatewayServer) -> None:
    own = {"type": "function", "function": {"name": "retrieve", "parameters": {"type": "object"}}}
    answer_by(gateway, lambda body: [Call("retrieve", '{"reference": "r-0000000000000000"}')])
    response = await gateway.post(CHAT, request(tools=[own]))
    names = [tool["function"]["name"] for tool in gateway.engine.requests[-1]["tools"]]
    assert names == ["retrieve", "retrieve_2"]
    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "retrieve"
    assert len(gateway.engine.requests) == 1


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_calls_beside_a_retrieval_come_again_once_it_is_answered(
    gateway: GatewayServer, is_streamed: bool
) -> None:
    def script(body: Mapping[str, Any]) -> Sequence[Any]:
        own = Call("write", '{"to": "file"}')
        if results(body):
            return [Say("Writing."), own]
        wanted = Call("retrieve", json.dumps({"reference": stubs(body)[0]}))
        return [Say("Let me look."), own, wanted]

    answer_by(gateway, script)
    write = {"type": "function", "function": {"name": "write", "parameters": {"type": "object"}}}
    response = await gateway.post(CHAT, request(tools=[write], stream=is_streamed))
    if is_streamed:
        text, calls, reason, _ = streamed(response)
    else:
        choice = response.json()["choices"][0]
        text, reason = choice["message"]["content"], choice["finish_reason"]
        calls = choice["message"]["tool_calls"]
    assert text == "Let me look.\n\nWriting."
    assert (len(calls), reason) == (1, "tool_calls")
    assert calls[0]["function"]["name"] == "write"
    assert calls[0]["function"]["arguments"] == '{"to": "file"}'
    again = gateway.engine.requests[-1]["messages"]
    assert [call["function"]["name"] for call in again[-2]["tool_calls"]] == ["retrieve"]


async def test_a_model_that_only_retrieves_is_ended_after_a_bounded_number_of_rounds(
    gateway: GatewayServer,
) -> None:
    wanted = ("r-0000000000000000", "nothing", "")
    answer_by(
        gateway, lambda body: [Call("retrieve", json.dumps({"reference": w})) for w in wanted]
    )
    response = await gateway.post(CHAT, request())
    assert len(gateway.engine.requests) == ROUNDS_MAX + 1
    message = response.json()["choices"][0]
    assert message["finish_reason"] == "stop" and not message["message"].get("tool_calls")
    told = results(gateway.engine.requests[-1])
    assert "There is no text of the reference r-0000000000000000." in told
    assert "No more texts" in told[-1]


async def test_a_long_original_is_read_in_parts(gateway: GatewayServer) -> None:
    rows = conversation()
    rows[2]["content"] = f"{'x' * 50_000}{NEEDLES['invoice']}"

    def script(body: Mapping[str, Any]) -> Sequence[Any]:
        told = results(body)
        if told and NEEDLES["invoice"] in told[-1]:
            return [Say("found")]
        start = int(told[-1].split("with start ")[1].split(" ")[0]) if told else 0
        asked = {"reference": stubs(body)[0], "start": start}
        return [Call("retrieve", json.dumps(asked))]

    answer_by(gateway, script)
    response = await gateway.post(CHAT, request(messages=rows))
    assert response.json()["choices"][0]["message"]["content"] == "found"
    assert len(gateway.engine.requests) == 3


async def test_originals_are_kept_for_their_key_alone(gateway: GatewayServer) -> None:
    await gateway.post(CHAT, request())
    reference = stubs(gateway.engine.requests[-1])[0]
    async with gateway.database.read() as session:
        kept = list(await session.scalars(select(models.GatewayOriginal)))
    assert {row.key_id for row in kept} == {gateway.key_id} and len(kept) == 3
    assert any(NEEDLES["invoice"] in row.text for row in kept)

    def script(body: Mapping[str, Any]) -> Sequence[Any]:
        told = results(body)
        asked = Call("retrieve", json.dumps({"reference": reference}))
        return [Say(told[-1][:40])] if told else [asked]

    answer_by(gateway, script)
    other = [*conversation()]
    other[2] = {**other[2], "content": other[2]["content"].replace("INV", "BILL")}
    _, stranger = await gateway.new_key("stranger")
    for secret, says in ((None, "invoice line 0"), (stranger, "There is no text of")):
        response = await gateway.post(CHAT, request(messages=other), secret)
        assert response.json()["choices"][0]["message"]["content"].startswith(says)


async def test_expired_originals_are_deleted(gateway: GatewayServer) -> None:
    await gateway.post(CHAT, request())
    row = models.GatewayOriginal
    async with gateway.database.write() as session:
        await session.execute(update(row).values(expires_at=1.0))
    other = [*conversation()]
    other[2] = {**other[2], "content": other[2]["content"] + "more"}
    await gateway.post(CHAT, request(messages=other))
    async with gateway.database.read() as session:
        kept = list(await session.scalars(select(row)))
    assert len(kept) == 1 and kept[0].expires_at > 1.0
