"""Search, bulk stop, export and deletion by the API, and by the command line over it."""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from roost_channels.message import Address, Sender
from roost_platform.cli.api_client import ApiClient
from roost_platform.db.stores import Stores
from roost_platform.errors import ApiRefused
from roost_platform.intake import PlatformIntake
from roost_platform.testing.api_server import ApiServer, api_server
from roost_platform.testing.chats import DoorbellLog, Person


@pytest.fixture
async def server(sqlite_stores: Stores, tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(sqlite_stores, tmp_path) as opened:
        yield opened


def client(server: ApiServer, role: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=server.url, headers=server.as_(role), trust_env=False, timeout=60
    )


def ada(server: ApiServer) -> Person:
    bell = DoorbellLog()
    address = Address("telegram", "42", "900")
    intake = PlatformIntake(server.stores, bell)
    return Person(server.stores, intake, bell, address, Sender("900", "Ada", "ada"))


async def test_a_search_answers_with_excerpts_and_is_for_operators(server: ApiServer) -> None:
    await ada(server).says("the harbour is closed")
    async with client(server, "operator") as http:
        found = (await http.get("/api/search", params={"q": "HARBOUR"})).json()
        assert [one["excerpt"] for one in found["messages"]] == ["the harbour is closed"]
        assert found["messages"][0]["key"] == "telegram:42:900" and found["older"] == ""
        assert (await http.get("/api/search", params={"q": "x"})).status_code == 422
    async with client(server, "viewer") as http:
        assert (await http.get("/api/search", params={"q": "harbour"})).status_code == 403
    actions = [entry.action for entry in await server.stores.audit.list()]
    assert actions.count("transcript.search") == 1


async def test_a_bulk_stop_needs_its_confirmation(server: ApiServer) -> None:
    async with client(server, "operator") as http:
        for name in ("one", "two"):
            said = await http.post(f"/api/sessions/{name}/messages", json={"text": "hello"})
            await server.stores.turns.begin(said.json()["conversation_id"])
        for body in ({}, {"confirm": False}, {"confirm": True, "other": 1}):
            assert (await http.post("/api/stop", json=body)).status_code == 422
        nothing = await http.post("/api/stop", json={"confirm": True, "channel": "telegram"})
        assert nothing.json() == {"stopped": 0, "left": 0}
        done = await http.post("/api/stop", json={"confirm": True, "agent": "concierge"})
        assert done.json() == {"stopped": 2, "left": 0}
        again = await http.post("/api/stop", json={"confirm": True})
        assert again.json() == {"stopped": 0, "left": 0}


async def test_the_command_line_exports_and_deletes_a_person(
    server: ApiServer, tmp_path: Path
) -> None:
    await ada(server).says("remember the harbour")
    (person,) = await server.stores.people.list()
    file = tmp_path / "ada.zip"

    def work(role: str) -> dict[str, object]:
        with ApiClient(server.url, server.tokens[role]) as api:
            api.download(f"/api/people/{person.id}/export", file)
            done: dict[str, object] = api.post(f"/api/people/{person.id}/delete", {"confirm": True})
            return done

    with pytest.raises(ApiRefused, match="admin"):
        await asyncio.to_thread(work, "operator")
    assert not file.exists()
    done = await asyncio.to_thread(work, "admin")
    assert (done["messages"], done["written_over"]) == (1, True)
    with zipfile.ZipFile(file) as archive:
        assert b"remember the harbour" in archive.read("tables/inbox.jsonl")
    assert await server.stores.people.list() == []
    with pytest.raises(ApiRefused, match="no such person"):
        await asyncio.to_thread(work, "admin")
