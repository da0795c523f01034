"""What programs do and read through the API is in the audit trail, and ends with their token."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from roost_platform.db.stores import Stores
from roost_platform.identity.passwords import token_hash
from roost_platform.identity.tokens import KEY_LENGTH
from roost_platform.testing.api_server import ApiServer, api_server

ENDS_WITHIN_S = 30  # far above the seconds it takes, for a busy machine


@pytest.fixture
async def server(sqlite_stores: Stores, tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(sqlite_stores, tmp_path) as opened:
        yield opened


@pytest.fixture
async def http(server: ApiServer) -> AsyncIterator[httpx2.AsyncClient]:
    headers = server.as_("operator")
    async with httpx2.AsyncClient(
        base_url=server.url, headers=headers, trust_env=False, timeout=60
    ) as client:
        yield client


async def said(http: httpx2.AsyncClient) -> str:
    answer = await http.post("/api/sessions/one/messages", json={"text": "hello"})
    return str(answer.json()["conversation_id"])


async def test_s20_every_action_and_read_of_texts_by_api_leaves_who_what_and_how(
    server: ApiServer, http: httpx2.AsyncClient
) -> None:
    id = await said(http)
    await http.post("/api/sessions/one/stop")
    await http.post("/api/sessions/one/reply", json={"text": "I am here."})
    await http.get("/api/sessions/one")
    async with http.stream("GET", "/api/sessions/one/events"):
        pass
    rows = [*reversed(await server.stores.audit.list())]
    assert [(row.actor, row.action, row.object) for row in rows] == [
        ("operator", "conversation.say", id),
        ("operator", "conversation.stop", id),
        ("operator", "conversation.reply", id),
        ("operator", "transcript.read", "console:local:one"),
        ("operator", "transcript.read", "console:local:one"),
    ]
    key = token_hash(server.tokens["operator"])[:KEY_LENGTH]
    assert {row.detail["via"] for row in rows} == {f"api token:{key}"}
    assert {row.ip for row in rows} == {"127.0.0.1"}
    assert rows[1].detail["dropped"] == 1
    assert await server.stores.audit.verify() is None


async def test_a_redelivered_message_is_one_action(
    server: ApiServer, http: httpx2.AsyncClient
) -> None:
    for _ in range(2):
        body = {"text": "hello", "event_id": "e1"}
        await http.post("/api/sessions/one/messages", json=body)
    assert len(await server.stores.audit.list()) == 1


async def test_a_revoked_token_ends_its_stream_within_seconds(
    server: ApiServer, http: httpx2.AsyncClient
) -> None:
    await said(http)
    async with http.stream("GET", "/api/sessions/one/events") as stream:
        assert stream.status_code == 200
        await server.store.revoke(token_hash(server.tokens["operator"])[:KEY_LENGTH])
        async with asyncio.timeout(ENDS_WITHIN_S):
            async for line in stream.aiter_lines():
                assert not line.startswith("event:")
    assert (await http.get("/api/sessions/one")).status_code == 401


async def test_a_stream_of_a_good_token_goes_on(
    server: ApiServer, http: httpx2.AsyncClient
) -> None:
    await said(http)
    began = time.monotonic()
    async with http.stream("GET", "/api/sessions/one/events") as stream:
        lines = stream.aiter_lines()
        while time.monotonic() - began < 4:  # two looks at the token
            await anext(lines)
        await http.post("/api/sessions/one/reply", json={"text": "Still here."})
        async for line in lines:
            if line.startswith("data:"):
                assert json.loads(line[5:])["text"] == "Still here."
                break
