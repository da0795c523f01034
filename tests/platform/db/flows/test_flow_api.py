"""Flows from outside a chat: started by the API, listed, shown with their journals, by role."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from roost import Agent, FlowContext, flow, tool
from roost_channels.message import Address
from roost_platform.db import models
from roost_platform.testing.api_server import ApiServer, api_server
from roost_platform.testing.flow_world import FlowWorld
from roost_platform.views.workflows.flows import flow_view
from roost_workflows.agents import AgentRegistry


@tool(effect="pure")
async def look(city: str) -> str:
    """Look."""
    return f"{city} is fine"


@flow
async def report(ctx: FlowContext, city: str, days: int = 2) -> str:
    """Report on a city."""
    first, _ = await ctx.gather(ctx.call(look, city=city), ctx.sleep(days * 86400))
    return str(first)


@flow
async def echo(ctx: FlowContext, message: str) -> str:
    """Say it again."""
    return message


concierge = Agent("concierge", "Answer.")


@pytest.fixture
async def api(world: FlowWorld, tmp_path: Path) -> AsyncIterator[ApiServer]:
    world.installs(report, echo, concierge)
    registry = AgentRegistry.of(concierge, report, echo)
    async with api_server(world.stores, tmp_path, registry=registry) as server:
        yield server


async def ask(
    api: ApiServer, method: str, path: str, role: str = "operator", body: object = None
) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=api.url, trust_env=False) as http:
        return await http.request(method, f"/api{path}", json=body, headers=api.as_(role))


async def test_a_flow_is_started_by_the_api_and_shows_its_journal(
    api: ApiServer, world: FlowWorld
) -> None:
    body = {"name": "report", "input": {"city": "Rome"}, "session": "weekly"}
    answer = await ask(api, "POST", "/flows", body=body)
    assert answer.status_code == 202, answer.text
    started = answer.json()
    assert started["key"] == "console:local:weekly"
    queued = (await ask(api, "GET", f"/flows/{started['id']}")).json()
    assert (queued["state"], queued["name"], queued["journal"]) == ("queued", "report", [])

    world.ada.address = Address("console", "local", "weekly")
    await world.goes_on()
    shown = (await ask(api, "GET", f"/flows/{started['id']}")).json()
    assert (shown["state"], shown["input"]) == ("waiting", '{"city": "Rome", "days": 2}')
    assert [(one["path"], one["op"], one["state"], one["wait"]) for one in shown["journal"]] == [
        ("0/0/0", "call", "ok", ""),
        ("0/1/0", "sleep", "waiting", "sleep"),
    ]
    assert shown["journal"][0]["result"] == "Rome is fine"
    assert (await ask(api, "GET", f"/flows/{shown['id']}")).json()["id"] == shown["id"]
    listed = (await ask(api, "GET", "/flows?state=waiting", "viewer")).json()
    assert listed["total"] == 1
    assert listed["flows"][0]["waits_for"] == ["sleep"]
    assert (await ask(api, "GET", "/flows?name=echo")).json()["total"] == 0

    world.clock.advance(2 * 86400 + 1)
    await world.sleeps_end()
    await world.goes_on()
    done = (await ask(api, "GET", f"/flows/{started['id']}")).json()
    assert (done["state"], done["answer"]) == ("done", "Rome is fine")
    async with world.stores.database.read() as session:
        actions = (await session.scalars(select(models.Audit.action))).all()
    assert "flow.start" in actions and "transcript.read" in actions


async def test_the_same_start_twice_is_one_flow(api: ApiServer) -> None:
    body = {"name": "echo", "input": {"message": "hi"}, "session": "s", "event_id": "e1"}
    first = (await ask(api, "POST", "/flows", body=body)).json()
    second = (await ask(api, "POST", "/flows", body=body)).json()
    assert second == {**first, "duplicate": True}


async def test_wrong_starts_are_refused_and_nothing_begins(
    api: ApiServer, world: FlowWorld
) -> None:
    cases: list[tuple[dict[str, object], int, str]] = [
        ({"name": "nosuch"}, 404, "Flows: echo, report"),
        ({"name": "concierge"}, 404, "no flow"),
        ({"name": "report", "input": {"city": 3}}, 422, "city"),
        ({"name": "report", "input": {"city": "Rome", "people": 3}}, 422, "people"),
        ({"name": "echo", "input": {"message": " "}}, 422, "empty"),
        ({"name": "report", "input": []}, 422, "input"),
    ]
    for body, status, words in cases:
        answer = await ask(api, "POST", "/flows", body=body)
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
    await ask(api, "POST", "/sessions/taken/messages", body={"text": "hi"})
    taken = {"name": "echo", "input": {"message": "hi"}, "session": "taken"}
    answer = await ask(api, "POST", "/flows", body=taken)
    assert answer.status_code == 409 and "concierge answers" in answer.text
    async with world.stores.database.read() as session:
        texts = (await session.scalars(select(models.Inbox.text))).all()
    assert texts == ["hi"]


async def test_roles_hold_for_flows(api: ApiServer, world: FlowWorld) -> None:
    body = {"name": "echo", "input": {"message": "hi"}}
    assert (await ask(api, "POST", "/flows", "viewer", body)).status_code == 403
    started = (await ask(api, "POST", "/flows", body=body)).json()
    assert (await ask(api, "GET", f"/flows/{started['id']}", "viewer")).status_code == 403
    assert (await ask(api, "GET", "/flows/nothing")).status_code == 404
    assert (await ask(api, "GET", "/flows?state=odd")).status_code == 422
    message = (await ask(api, "POST", "/sessions/plain/messages", body={"text": "x"})).json()
    assert (await ask(api, "GET", f"/flows/{message['inbox_id']}")).status_code == 404


async def test_viewers_see_the_timeline_without_texts(world: FlowWorld) -> None:
    @flow
    async def asks(ctx: FlowContext, message: str) -> str:
        await ctx.call(look, city="Rome")
        return str(await ctx.ask("Your secret?"))

    world.installs(asks)
    await world.says("my words")
    await world.goes_on()
    turn_id = (await world.turn()).id
    async with world.stores.database.read() as session:
        hidden = await flow_view(session, turn_id, world.clock.now, with_texts=False)
        shown = await flow_view(session, turn_id, world.clock.now)
    assert hidden is not None and shown is not None
    for text in ("secret", "my words", "Rome"):
        assert text not in str(hidden) and text in str(shown)
    question = shown.entries[1]
    assert question.approval_id and question.approval_state == "pending"
    assert question.words == "ask('Your secret?')"
    assert hidden.row.waits_for == ("question",)
