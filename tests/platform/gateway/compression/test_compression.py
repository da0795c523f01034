"""Long prompts go out compressed; what was left out is read without the client's notice."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, update

from roost_inference.errors import PromptTooLong
from roost_inference.testing.scripts import Call, Fail, Hang, Say, text_of
from roost_platform.db import models
from roost_platform.gateway.compression import compression
from roost_platform.gateway.compression.compression import ROUNDS_MAX
from roost_platform.gateway.compression.sent_rows import WARM_S
from roost_platform.testing.gateway import GatewayServer, gateway_server

CHAT = "/v1/chat/completions"
NEEDLES = {"invoice": "INV-20417", "date": "2026-03-14", "name": "Wilhelmina Okafor"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
Row = dict[str, Any]


@contextlib.asynccontextmanager
async def serving(folder: Path, **model: Any) -> AsyncIterator[GatewayServer]:
    overrides = {
        "gateway": {"compress_above_tokens": 1000},
        "models": {
            "fast": {"targets": ["roost/scripted"], "compress": True, **model},
            "plain": {"targets": ["roost/scripted"]},
        },
    }
    async with gateway_server(folder, overrides=overrides) as server:
        yield server


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    async with serving(tmp_path) as server:
        yield server


def conversation() -> list[Row]:
    """An old turn whose three results each hold a needle, and a question about something else."""
    rows: list[Row] = [{"role": "user", "content": "Read the three files."}]
    functions = [
        {"id": name, "type": "function", "function": {"name": "read", "arguments": "{}"}}
        for name in NEEDLES
    ]
    rows.append({"role": "assistant", "content": None, "tool_calls": functions})
    for name, needle in NEEDLES.items():
        filler = "\n".join(f"{name} line {number} of no interest" for number in range(200))
        rows.append({"role": "tool", "tool_call_id": name, "content": f"{filler}\n{needle}\n"})
    rows.append({"role": "assistant", "content": "I have read them."})
    rows.append({"role": "user", "content": "What do you recall?"})
    return rows


def request(**fields: Any) -> dict[str, Any]:
    return {"model": "fast", "messages": conversation(), **fields}


def stubs(body: Mapping[str, Any]) -> list[str]:
    """The references of the stubs in a request."""
    texts = [text_of(row) for row in body["messages"] if row["role"] == "tool"]
    return [text.split("reference ")[1][:18] for text in texts if text.startswith("[Left out")]


def results(body: Mapping[str, Any]) -> list[str]:
    """What was retrieved so far: the results after the last question."""
    rows = body["messages"]
    last = max(index for index, row in enumerate(rows) if row["role"] == "user")
    return [text_of(row) for row in rows[last:] if row["role"] == "tool"]


def retrieves_all(gateway: GatewayServer, *more: Call, text: str = "") -> None:
    """Let the model read every stub, and then say what it found."""

    def is_first(body: Mapping[str, Any]) -> bool:
        return bool(stubs(body)) and not results(body)

    def script(body: Mapping[str, Any]) -> Sequence[Any]:
        if is_first(body):
            said = [Say(text)] if text else []
            wanted = [Call("retrieve", json.dumps({"reference": r})) for r in stubs(body)]
            return [*said, *wanted, *more]
        found = [n for n in NEEDLES.values() if any(n in one for one in results(body))]
        return [Say("Found " + ", ".join(found))]

    answer_by(gateway, script)


def answer_by(gateway: GatewayServer, script: Callable[[Mapping[str, Any]], Sequence[Any]]) -> None:
    """Answer every request by this script."""
    gateway.engine.steps = script  # type: ignore[method-assign, assignment]


async def rows_of(gateway: GatewayServer) -> list[models.GatewayCall]:
    async with gateway.database.read() as session:
        return list(await session.scalars(select(models.GatewayCall)))


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


async def test_a_short_prompt_is_not_touched(gateway: GatewayServer) -> None:
    short = [{"role": "user", "content": "say Hello there"}]
    await gateway.post(CHAT, request(messages=short))
    assert gateway.engine.requests[-1]["messages"] == short
    assert "tools" not in gateway.engine.requests[-1]


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"tool_choice": "none"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": [TOOL]},
        {"functions": [{"name": "f", "parameters": {}}]},
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
    assert gateway.app._serving.compression is not None
    gateway.app._serving.compression.above_tokens = 10**6

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
        while not (rows := await rows_of(gateway)) or not rows[0].outcome:
            await asyncio.sleep(0.05)
    assert rows[0].outcome == "cancelled"
    first, second = gateway.engine.requests
    assert gateway.engine.running == 0
    words = sum(len(text_of(message).split()) for message in first["messages"])
    assert rows[0].input_tokens > words + len(json.dumps(second["messages"])) // 6


async def test_a_prompt_that_can_not_be_made_to_fit_is_too_long(tmp_path: Path) -> None:
    async with serving(tmp_path, context_tokens=300) as gateway:
        rows = [{"role": "user", "content": "word " * 4000}]
        response = await gateway.post(CHAT, request(messages=rows))
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"
        assert gateway.engine.requests == []


async def test_a_prompt_above_the_model_s_context_is_compressed_even_if_it_was_just_sent(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, context_tokens=1500) as gateway:
        short, rows = conversation()[:3], conversation()
        await gateway.post(CHAT, request(messages=short))
        assert stubs(gateway.engine.requests[-1]) == []
        await gateway.post(CHAT, request(messages=rows))
        assert len(stubs(gateway.engine.requests[-1])) == 3


async def test_a_turn_after_turn_the_prefix_stays_the_same_until_it_is_cold(
    gateway: GatewayServer,
) -> None:
    now = 1000.0
    assert gateway.app._serving.compression is not None
    gateway.app._serving.compression.clock = lambda: now
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
    retrieves_all(gateway, text="one two three")
    response = await gateway.post(CHAT, request(max_tokens=50))
    assert response.status_code == 200
    first, second = gateway.engine.requests
    assert first["max_tokens"] == 50
    assert second["max_tokens"] < 50
