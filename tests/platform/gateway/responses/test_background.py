"""Responses in the background: they run on alone, can be cancelled, and are never left open."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from tests.platform.gateway.responses.replaying import events_of, kinds

from roost_inference.testing.scripts import Drop, Fail, Hang, Say
from roost_platform.db import models
from roost_platform.gateway.responses import background
from roost_platform.testing.gateway import GatewayServer, gateway_server

ONE = "/v1/responses"


@pytest.fixture
async def gateway(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayServer]:
    async with gateway_server(tmp_path, database_url=database_url) as server:
        yield server


async def begin(gateway: GatewayServer, text: str) -> dict[str, Any]:
    answer = await gateway.post(ONE, {"model": "fast", "input": text, "background": True})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == "queued"
    return found


async def send(gateway: GatewayServer, method: str, path: str) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {gateway.secret}"}
    answer = await gateway.client.request(method, f"{gateway.url}{ONE}/{path}", headers=headers)
    found: dict[str, Any] = answer.json()
    return found


async def ended(gateway: GatewayServer, id: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            found = await send(gateway, "GET", id)
            if found["status"] not in ("queued", "in_progress"):
                return found
            await asyncio.sleep(0.05)


async def outcome(gateway: GatewayServer) -> str:
    async with asyncio.timeout(30):
        while True:
            async with gateway.database.read() as session:
                found = list(await session.scalars(select(models.GatewayCall.outcome)))
            if found and found[-1]:
                return str(found[-1])
            await asyncio.sleep(0.05)


async def test_a_response_runs_on_alone_and_is_found(gateway: GatewayServer) -> None:
    gateway.engine.when("Hello", Say("Hello to you", per_second=50))
    begun = await begin(gateway, "say Hello")
    found = await ended(gateway, begun["id"])
    assert found["output"][0]["content"][0]["text"] == "Hello to you"
    assert found["status"] == "completed" and found["background"] is True
    assert await outcome(gateway) == "ok"


async def test_a_cancelled_response_stops_its_engine_and_stays_cancelled(
    gateway: GatewayServer,
) -> None:
    gateway.engine.when("wait", Say("for a while"), Hang())
    begun = await begin(gateway, "wait")
    async with asyncio.timeout(30):
        while not gateway.engine.running:
            await asyncio.sleep(0.02)
    assert (await send(gateway, "POST", f"{begun['id']}/cancel"))["status"] == "cancelled"
    assert (await send(gateway, "POST", f"{begun['id']}/cancel"))["status"] == "cancelled"
    assert (await ended(gateway, begun["id"]))["status"] == "cancelled"
    async with asyncio.timeout(30):
        while not gateway.engine.aborted:
            await asyncio.sleep(0.02)
    assert await outcome(gateway) == "cancelled"


async def test_what_another_process_cancels_stops_here(gateway: GatewayServer) -> None:
    gateway.engine.when("wait", Hang())
    begun = await begin(gateway, "wait")
    row = models.GatewayResponse
    async with gateway.database.write() as session:
        found = await session.get_one(row, begun["id"])
        found.resource = {**found.resource, "status": "cancelled"}
    assert await outcome(gateway) == "cancelled"
    assert (await send(gateway, "GET", begun["id"]))["status"] == "cancelled"


async def test_a_deleted_response_stops_and_does_not_come_back(gateway: GatewayServer) -> None:
    gateway.engine.when("wait", Hang())
    begun = await begin(gateway, "wait")
    assert (await send(gateway, "DELETE", begun["id"]))["deleted"] is True
    assert await outcome(gateway) == "cancelled"
    assert "error" in await send(gateway, "GET", begun["id"])


@pytest.mark.parametrize("fault", [Fail(500), Drop()])
async def test_a_provider_s_fault_is_told_by_the_response(
    gateway: GatewayServer, fault: Fail | Drop
) -> None:
    gateway.engine.when("break", fault)
    begun = await begin(gateway, "break")
    found = await ended(gateway, begun["id"])
    assert found["status"] == "failed" and found["error"]["code"] == "server_error"
    assert await outcome(gateway) == "failed"


async def test_a_stream_in_the_background_survives_its_reader(gateway: GatewayServer) -> None:
    gateway.engine.when("Hello", Say("Hello to you all", per_second=5))
    body = {"model": "fast", "input": "say Hello", "background": True, "stream": True}
    headers = {"authorization": f"Bearer {gateway.secret}"}
    url = f"{gateway.url}{ONE}"
    async with gateway.client.stream("POST", url, json=body, headers=headers) as answer:
        text = ""
        async for part in answer.aiter_text():
            text += part
            if "output_text.delta" in text:
                break
    told = events_of(text[: text.rindex("\n\n")])
    assert kinds(told)[:3] == ["created", "queued", "in_progress"]
    found = await ended(gateway, told[0]["response"]["id"])
    assert found["output"][0]["content"][0]["text"] == "Hello to you all"


async def test_a_refused_response_leaves_nothing(gateway: GatewayServer) -> None:
    _, tight = await gateway.new_key("tight", budget_tokens=10)
    answer = await gateway.post(
        ONE, {"model": "fast", "input": "x" * 400, "background": True}, tight
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "budget_exhausted")
    async with gateway.database.read() as session:
        assert list(await session.scalars(select(models.GatewayResponse))) == []


async def test_responses_in_the_background_are_bounded(
    gateway: GatewayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "RUNS_MAX", 1)
    gateway.engine.when("wait", Hang())
    begun = await begin(gateway, "wait")
    answer = await gateway.post(ONE, {"model": "fast", "input": "x", "background": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    await send(gateway, "POST", f"{begun['id']}/cancel")
    assert (await ended(gateway, (await begin(gateway, "x"))["id"]))["status"] == "completed"


async def test_a_response_whose_process_died_has_failed(gateway: GatewayServer) -> None:
    made = await gateway.post(ONE, {"model": "fast", "input": "x"})
    id = made.json()["id"]
    row = models.GatewayResponse
    async with gateway.database.write() as session:
        open_one = {**made.json(), "status": "in_progress", "background": True}
        await session.execute(update(row).values(resource=open_one))
        await session.execute(update(models.GatewayCall).values(outcome=""))
    assert (await send(gateway, "GET", id))["status"] == "in_progress"
    async with gateway.database.write() as session:
        await session.execute(update(models.GatewayCall).values(outcome="lost"))
    found = await send(gateway, "GET", id)
    assert found["status"] == "failed" and "ended" in found["error"]["message"]


async def test_a_gateway_that_stops_leaves_no_response_open(gateway: GatewayServer) -> None:
    gateway.engine.when("wait", Hang())
    begun = await begin(gateway, "wait")
    await gateway.app.close()
    found = await send(gateway, "GET", begun["id"])
    assert found["status"] == "failed" and "stopped" in found["error"]["message"]


async def test_a_response_in_the_background_has_a_longest_time(
    gateway: GatewayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "RUN_S_MAX", 0.1)
    gateway.engine.when("wait", Hang())
    begun = await begin(gateway, "wait")
    found = await ended(gateway, begun["id"])
    assert found["status"] == "failed" and "longer than" in found["error"]["message"]
    assert await outcome(gateway) == "cancelled"
