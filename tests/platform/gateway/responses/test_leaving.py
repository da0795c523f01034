"""A client that leaves stops its response, and finds what there was of it."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import select
from starlette.types import Message
from tests.platform.gateway.responses.replaying import events_of

from roost_inference.testing.scripts import Hang, Say
from roost_platform.db import models
from roost_platform.gateway.exchange import Exchange
from roost_platform.testing.providers.gateway import GatewayServer


async def settled(gateway: GatewayServer) -> models.GatewayCall:
    async with asyncio.timeout(30):
        while True:
            async with gateway.database.read() as session:
                row: models.GatewayCall | None = await session.scalar(select(models.GatewayCall))
            if row is not None and row.outcome:
                return row
            await asyncio.sleep(0.02)


async def test_a_client_that_leaves_a_stream_finds_it_cancelled(gateway: GatewayServer) -> None:
    gateway.engine.when("wait", Say("a few words"), Hang())
    body = {"model": "fast", "input": "wait", "stream": True}
    headers = {"authorization": f"Bearer {gateway.secret}"}
    url = f"{gateway.url}/v1/responses"
    async with gateway.client.stream("POST", url, json=body, headers=headers) as answer:
        text = ""
        async for part in answer.aiter_text():
            text += part
            if "output_text.delta" in text:
                break
    row = await settled(gateway)
    assert (row.outcome, row.status) == ("cancelled", 499) and row.output_tokens > 0
    id = events_of(text)[0]["response"]["id"]
    async with asyncio.timeout(30):
        while (
            found := await gateway.client.get(f"{url}/{id}", headers=headers)
        ).status_code == 404:
            await asyncio.sleep(0.02)
    response: dict[str, Any] = found.json()
    assert response["status"] == "cancelled"
    assert response["output"][0]["content"][0]["text"] == "a few words"
    async with asyncio.timeout(30):
        while gateway.engine.running:
            await asyncio.sleep(0.01)


async def test_openai_s_client_finds_lists_cancels_and_deletes(
    gateway: GatewayServer, client: openai.AsyncOpenAI
) -> None:
    gateway.engine.when("wait", Hang())
    made = await client.responses.create(model="fast", input="say this")
    assert await client.responses.retrieve(made.id) == made
    listed = await client.responses.input_items.list(made.id)
    assert [item.type async for item in listed] == ["message"]
    running = await client.responses.create(model="fast", input="wait", background=True)
    assert running.status == "queued"
    assert (await client.responses.cancel(running.id)).status == "cancelled"
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError, match="streamed"):
        await client.responses.retrieve(running.id, stream=True)


async def test_a_broken_store_is_told_rather_than_a_response_that_nobody_can_find(
    gateway: GatewayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("roost_platform.db.gateway.responses.GatewayResponses.add", full)
    answer = await gateway.post("/v1/responses", {"model": "fast", "input": "say"})
    assert answer.status_code == 500
    row = await settled(gateway)
    assert row.outcome == "failed" and row.output_tokens > 0


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_last_part_waits_for_what_it_tells(is_stream: bool) -> None:
    steps: list[str] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        steps.append(message["type"])

    async def keep() -> None:
        await asyncio.sleep(0)
        steps.append("stored")

    scope = {"type": "http", "path": "/", "method": "POST", "headers": []}
    exchange = Exchange(scope, receive, send)
    exchange.before_end = keep
    if is_stream:
        await exchange.begin_stream()
        await exchange.send_part(b"part")
        await exchange.end_stream(b"last")
        assert steps[1:] == ["http.response.body", "stored", "http.response.body"]
    else:
        await exchange.answer({})
        assert steps == ["stored", "http.response.start", "http.response.body"]
