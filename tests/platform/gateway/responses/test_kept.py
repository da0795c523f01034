"""Stored responses: found, listed, continued and deleted by the key that made them alone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select, update
from tests.platform.gateway.responses.replaying import events_of

from roost_inference.testing.scripts import Say
from roost_platform.db import models
from roost_platform.db.gateway import responses as module
from roost_platform.db.retention import Retention
from roost_platform.testing.gateway import GatewayServer, gateway_server

ONE = "/v1/responses"


@pytest.fixture
async def gateway(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayServer]:
    async with gateway_server(tmp_path, database_url=database_url) as server:
        yield server


async def ask(gateway: GatewayServer, text: str, **fields: Any) -> dict[str, Any]:
    answer = await gateway.post(ONE, {"model": "fast", "input": text, **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def get(
    gateway: GatewayServer, path: str, secret: str | None = None, method: str = "GET"
) -> httpx2.Response:
    headers = {"authorization": f"Bearer {secret or gateway.secret}"}
    return await gateway.client.request(method, f"{gateway.url}{ONE}/{path}", headers=headers)


async def test_a_response_is_found_by_its_own_key_only(gateway: GatewayServer) -> None:
    made = await ask(gateway, "first")
    assert (await get(gateway, made["id"])).json() == made
    _, other = await gateway.new_key("other")
    for method, path in [
        ("GET", made["id"]),
        ("DELETE", made["id"]),
        ("GET", f"{made['id']}/input_items"),
        ("POST", f"{made['id']}/cancel"),
    ]:
        answer = await get(gateway, path, other, method)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
    body = {"model": "fast", "input": "go on", "previous_response_id": made["id"]}
    answer = await gateway.post(ONE, body, other)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "previous_response_not_found"
    item = {"type": "item_reference", "id": made["output"][0]["id"]}
    answer = await gateway.post(ONE, {"model": "fast", "input": [item]}, other)
    assert answer.status_code == 404
    assert (await get(gateway, made["id"])).status_code == 200


async def test_a_conversation_goes_on_from_what_is_stored(gateway: GatewayServer) -> None:
    gateway.engine.when("first", Say("one"))
    gateway.engine.when("second", Say("two"))
    first = await ask(gateway, "first", instructions="Count.")
    second = await ask(gateway, "second", previous_response_id=first["id"])
    third = await ask(gateway, "third", previous_response_id=second["id"])
    assert third["previous_response_id"] == second["id"]
    said = [(m["role"], m["content"]) for m in gateway.engine.requests[-1]["messages"]]
    assert said == [
        ("user", "first"),
        ("assistant", "one"),
        ("user", "second"),
        ("assistant", "two"),
        ("user", "third"),
    ]


async def test_an_item_that_is_named_is_the_item(gateway: GatewayServer) -> None:
    gateway.engine.when("first", Say("one"))
    first = await ask(gateway, "first")
    (asked,) = (await get(gateway, f"{first['id']}/input_items")).json()["data"]
    items = [
        {"type": "item_reference", "id": asked["id"]},
        {"id": first["output"][0]["id"]},
        {"role": "user", "content": "and now"},
    ]
    await ask(gateway, items, store=False)  # type: ignore[arg-type]
    said = [m["content"] for m in gateway.engine.requests[-1]["messages"]]
    assert said == ["first", "one", "and now"]


async def test_items_of_an_input_come_in_pages(gateway: GatewayServer) -> None:
    items = [{"role": "user", "content": f"number {number}"} for number in range(5)]
    made = await ask(gateway, items)  # type: ignore[arg-type]
    path = f"{made['id']}/input_items"
    first = (await get(gateway, f"{path}?limit=2&order=asc")).json()
    assert [item["content"][0]["text"] for item in first["data"]] == ["number 0", "number 1"]
    assert first["has_more"] and first["last_id"] == first["data"][1]["id"]
    rest = (await get(gateway, f"{path}?limit=9&order=asc&after={first['last_id']}")).json()
    assert (len(rest["data"]), rest["has_more"]) == (3, False)
    newest = (await get(gateway, path)).json()["data"]
    assert newest[0]["content"][0]["text"] == "number 4"
    for query in ("limit=0", "limit=101", "limit=x", "order=up", "after=msg_x"):
        assert (await get(gateway, f"{path}?{query}")).status_code == 400


async def test_what_is_deleted_is_gone_and_its_conversation_says_so(
    gateway: GatewayServer,
) -> None:
    first = await ask(gateway, "first")
    second = await ask(gateway, "second", previous_response_id=first["id"])
    answer = await get(gateway, first["id"], method="DELETE")
    assert answer.json() == {"id": first["id"], "object": "response", "deleted": True}
    assert (await get(gateway, first["id"])).status_code == 404
    assert (await get(gateway, first["id"], method="DELETE")).status_code == 404
    assert (await get(gateway, second["id"])).json() == second
    body = {"model": "fast", "input": "go on", "previous_response_id": second["id"]}
    answer = await gateway.post(ONE, body)
    assert answer.status_code == 404
    assert "deleted" in answer.json()["error"]["message"]


async def test_without_store_nothing_is_stored(gateway: GatewayServer) -> None:
    made = await ask(gateway, "first", store=False)
    assert made["store"] is False
    assert (await get(gateway, made["id"])).status_code == 404
    async with gateway.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(models.GatewayResponse)) == 0


async def test_a_stored_response_can_t_be_streamed(gateway: GatewayServer) -> None:
    made = await ask(gateway, "first")
    answer = await get(gateway, f"{made['id']}?stream=true")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")
    answer = await get(gateway, f"{made['id']}/cancel", method="POST")
    assert answer.status_code == 400
    for id in ("nothing", "resp_%00", "resp_" + "0" * 32):
        assert (await get(gateway, id)).status_code == 404


async def test_responses_expire_unless_their_conversation_goes_on(gateway: GatewayServer) -> None:
    first, alone = await ask(gateway, "first"), await ask(gateway, "alone")
    row = models.GatewayResponse
    now = gateway.database.now()
    async with gateway.database.write() as session:
        await session.execute(update(row).values(expires_at=now + 60))
    second = await ask(gateway, "second", previous_response_id=first["id"])
    async with gateway.database.write() as session:
        await session.execute(
            update(row).where(row.expires_at < now + 3600).values(expires_at=now - 1)
        )
    assert (await get(gateway, alone["id"])).status_code == 404
    await Retention(gateway.database, None).sweep()
    async with gateway.database.read() as session:
        assert set(await session.scalars(select(row.id))) == {first["id"], second["id"]}


async def test_a_response_is_stored_before_its_client_is_told_the_end(
    gateway: GatewayServer,
) -> None:
    body = {"model": "fast", "input": "first", "stream": True}
    headers = {"authorization": f"Bearer {gateway.secret}"}
    url = f"{gateway.url}{ONE}"
    async with gateway.client.stream("POST", url, json=body, headers=headers) as answer:
        text = ""
        async for part in answer.aiter_text():
            text += part
            if "response.completed" in text:
                break
    end = events_of(text)[-1]["response"]
    assert (await get(gateway, end["id"])).json() == end


@pytest.mark.parametrize(
    ("bound", "most"), [("HISTORY_RESPONSES_MAX", 1), ("HISTORY_BYTES_MAX", 100)]
)
async def test_a_conversation_is_bounded(
    gateway: GatewayServer, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    first = await ask(gateway, "first")
    second = await ask(gateway, "second", previous_response_id=first["id"])
    monkeypatch.setattr(module, bound, most)
    body = {"model": "fast", "input": "third", "previous_response_id": second["id"]}
    error = (await gateway.post(ONE, body)).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "previous_response_id")
