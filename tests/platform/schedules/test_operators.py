"""Schedules for operators: the API, the command line over it, and what pages read."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import httpx2
import pytest

from roost_platform.cli import schedules as commands
from roost_platform.cli.api_client import ApiClient
from roost_platform.errors import ApiRefused, NotFound
from roost_platform.testing.api_server import ApiServer, api_server
from roost_platform.testing.scheduling import Reminded
from roost_platform.views.workflows import schedules as view


@pytest.fixture
async def server(ada: Reminded, tmp_path: Path) -> AsyncIterator[ApiServer]:
    async with api_server(ada.person.stores, tmp_path) as opened:
        yield opened


def client(server: ApiServer, role: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=server.url, headers=server.as_(role), trust_env=False, timeout=60
    )


async def test_the_api_lists_runs_pauses_resumes_and_deletes(
    ada: Reminded, server: ApiServer
) -> None:
    await ada.says("/remind every day 9:00 pills")
    async with client(server, "operator") as http:
        (listed,) = (await http.get("/api/schedules")).json()["schedules"]
        assert (listed["kind"], listed["text"], listed["owner"]) == ("reminder", "pills", "Ada")
        assert (listed["times"], listed["zone"]) == ("cron 0 9 * * *", "Europe/Rome")
        at = f"/api/schedules/{listed['id']}"
        assert (await http.post(f"{at}/pause")).json() == {"id": listed["id"], "state": "paused"}
        assert (await http.post(f"{at}/resume")).json()["state"] == "active"
        assert (await http.post(f"{at}/run")).json()["state"] == "active"
        detail = (await http.get(at)).json()
        assert len(detail["next_times"]) == 5
        assert [one["state"] for one in detail["history"]] == ["fired"]
        assert (await http.delete(at)).json()["state"] == "deleted"
        assert (await http.post(f"{at}/run")).status_code == 409
        assert (await http.get("/api/schedules")).json() == {"total": 0, "schedules": []}
        assert (await http.get("/api/schedules", params={"state": "deleted"})).json()["total"] == 1
        assert (await http.get("/api/schedules", params={"state": "odd"})).status_code == 422
        assert (await http.get("/api/schedules/none")).status_code == 404
        assert (await http.delete("/api/schedules/none")).status_code == 404
    assert [text for _, text in await ada.person.outbox()][-1] == "⏰ pills"
    actions = [entry.action for entry in await ada.person.stores.audit.list()]
    assert [one for one in actions if one.startswith("schedule.")] == [
        *("schedule.delete", "schedule.run", "schedule.resume", "schedule.pause"),
    ]


async def test_a_viewer_may_not_read_or_change_them(ada: Reminded, server: ApiServer) -> None:
    await ada.says("/remind every day 9:00 pills")
    (kept,) = await ada.schedules()
    async with client(server, "viewer") as http:
        assert (await http.get("/api/schedules")).status_code == 403
        for path in ("run", "pause", "resume"):
            answer = await http.post(f"/api/schedules/{kept.id}/{path}")
            assert answer.status_code == 403
        assert (await http.delete(f"/api/schedules/{kept.id}")).status_code == 403
    async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
        assert (await http.get("/api/schedules")).status_code == 401


async def test_the_command_line_does_the_same(
    ada: Reminded,
    server: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await ada.says("/remind every day 9:00 pills")
    (kept,) = await ada.schedules()

    def connect(_: object) -> ApiClient:
        return ApiClient(server.url, server.tokens["operator"])

    monkeypatch.setattr(commands, "connect", connect)
    await asyncio.to_thread(commands.list_schedules, None, True, 1, None)
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == [kept.id]
    await asyncio.to_thread(commands.pause, kept.id)
    await asyncio.to_thread(commands.resume, kept.id)
    await asyncio.to_thread(commands.run, kept.id)
    await asyncio.to_thread(commands.delete, kept.id, None, True)
    out = capsys.readouterr().out
    assert out.splitlines()[:3] == [
        *(f"{kept.id} is paused", f"{kept.id} is active", f"{kept.id} is active"),
    ]
    with pytest.raises(ApiRefused, match="over or deleted"):
        await asyncio.to_thread(commands.run, kept.id)


async def test_a_task_that_an_operator_runs_rings_its_chat(
    ada: Reminded, server: ApiServer
) -> None:
    await ada.keeps("task", "Tell the weather.")
    (kept,) = await ada.schedules()
    rung = await ada.person.stores.schedules.act(kept.id, "run", "op")
    assert rung == [await ada.person.conversation_id()]
    async with ada.person.stores.database.read() as session:
        found = await view.schedule(session, kept.id, ada.clock.now)
    assert (found.history[0].turn_state, found.row.state) == ("", "active")
    assert found.history[0].key == ada.person.address.key


async def test_the_calendar_shows_each_local_day_from_now_on(ada: Reminded) -> None:
    await ada.says("/remind every monday and thursday at 9:00 train")
    await ada.says("/remind on 1 Dec at 8:00 rent")
    await ada.says("/remind every hour drink")
    async with ada.person.stores.database.read() as session:
        days = await view.calendar(session, date(2026, 12, 1), date(2026, 12, 31), ada.clock.now)
        shown = {
            day.day: [(one.text, *one.times) for one in entries if one.text != "drink"]
            for day, entries in days.items()
        }
        assert shown[1] == [("rent", "08:00")] and shown[3] == [("train", "09:00")]
        assert shown[2] == [] and shown[31] == [("train", "09:00")]
        (drinks,) = [one for one in days[date(2026, 12, 1)] if one.text == "drink"]
        assert len(drinks.times) == 24
        november = await view.calendar(
            session, date(2026, 10, 26), date(2026, 12, 6), ada.clock.now
        )
        assert sorted(november)[0] == date(2026, 11, 29) and len(november) == 8
        past = await view.calendar(session, date(2026, 10, 1), date(2026, 10, 31), ada.clock.now)
        assert past == {}
        with pytest.raises(NotFound):
            await view.schedule(session, "none", 0.0)
