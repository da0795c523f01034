"""The API: bearer tokens with roles, messages in, events out, and what operators may do."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

from roost_inference.client.engine_client import EngineClient
from roost_platform.api.app import ROUTERS
from roost_platform.api.auth import Require
from roost_platform.api.feed import Feed
from roost_platform.db.reasons import WORDS
from roost_platform.db.stores import Stores
from roost_platform.identity.roles import Role
from roost_platform.identity.tokens import Tokens
from roost_platform.intake import PlatformIntake
from roost_platform.settings.config import load_settings
from roost_platform.web.app import WebParts, build_app
from roost_workflows.agents import load_agents
from roost_workflows.ports import ModelCall, Snapshot, TurnRecord

OPEN_ROUTES = {"/health"}


class Doorbell:
    """Remembers who was rung."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.stopped: list[str] = []

    async def ring(self, conversation_id: str) -> None:
        self.rung.append(conversation_id)

    async def stop(self, conversation_id: str) -> None:
        self.stopped.append(conversation_id)


@dataclass
class Web:
    """The app in process, with a token of each role."""

    stores: Stores
    doorbell: Doorbell
    intake: PlatformIntake
    tokens: dict[str, str]
    client: httpx2.AsyncClient
    app: Any

    def as_(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    async def get(self, path: str, role: str = "operator", **params: Any) -> httpx2.Response:
        return await self.client.get(path, headers=self.as_(role), params=params)

    async def post(self, path: str, body: Any = None, role: str = "operator") -> httpx2.Response:
        return await self.client.post(path, headers=self.as_(role), json=body or {})

    async def say(self, text: str, session: str = "one") -> dict[str, Any]:
        answer = await self.post(f"/api/sessions/{session}/messages", {"text": text})
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def turn(self, conversation_id: str) -> str:
        """Begin the turn as a worker would; returns its id."""
        turn = await self.stores.turns.begin(conversation_id)
        assert isinstance(turn, TurnRecord)
        return turn.turn_id

    async def answer(self, turn_id: str, text: str) -> None:
        """Commit the answer as a worker would."""
        await self.stores.turns.commit_step(
            turn_id, 1, ModelCall("answer", text, model="m", started_at=time.time())
        )


@pytest.fixture
async def web(sqlite_stores: Stores, tmp_path: Path) -> AsyncIterator[Web]:
    settings = load_settings({"data_dir": tmp_path}, environ={})
    doorbell = Doorbell()
    intake = PlatformIntake(sqlite_stores, doorbell)
    engine = EngineClient("http://127.0.0.1:9")  # nothing listens there

    async def no_temporal() -> bool:
        return False

    parts = WebParts(
        settings, sqlite_stores, intake, engine, load_agents(), no_temporal, asyncio.Event()
    )
    app = build_app(parts)
    store = Tokens(sqlite_stores.database, time.time)
    tokens = {role.name: await store.create(role.name, role) for role in Role if role}
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield Web(sqlite_stores, doorbell, intake, tokens, client, app)
    await intake.close()
    await engine.close()


def api_routes(app: Any) -> list[APIRoute]:
    """The router's routes, and a check that the app has no others but its description."""
    mount = next(r for r in app.routes if isinstance(r, Mount) and r.path == "/api")
    plain = [route.path for route in mount.routes if isinstance(route, Route)]
    assert plain == ["/openapi.json"]
    routes = [route for one in ROUTERS for route in one.routes]
    return [route for route in routes if isinstance(route, APIRoute)]


async def test_s16_every_route_declares_the_role_it_needs(web: Web) -> None:
    routes = api_routes(web.app)
    assert len(routes) > 10
    for route in routes:
        roles = [d.call for d in route.dependant.dependencies if isinstance(d.call, Require)]
        assert (route.path in OPEN_ROUTES) != bool(roles), route.path
        if "POST" in (route.methods or ()):
            assert min(d.role for d in roles) >= Role.operator, route.path


async def test_without_a_token_nothing_is_told(web: Web) -> None:
    for route in api_routes(web.app):
        if route.path in OPEN_ROUTES:
            continue
        path = "/api" + route.path.replace("{name:path}", "x").replace("{", "").replace("}", "")
        method = next(iter(route.methods or ()))
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp4"}):
            answer = await web.client.request(method, path, headers=headers, json={})
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_viewer_looks_and_does_not_act(web: Web) -> None:
    assert (await web.get("/api/sessions", "viewer")).status_code == 200
    answer = await web.post("/api/sessions/one/messages", {"text": "hi"}, "viewer")
    assert answer.status_code == 403
    assert web.doorbell.rung == []


async def test_openapi_describes_every_route(web: Web) -> None:
    described = (await web.client.get("/api/openapi.json")).json()
    assert described["info"]["title"] == "Roost"
    assert "/sessions/{name}/messages" in described["paths"]
    assert described["security"] == [{"bearer": []}]
    assert described["paths"]["/health"]["get"]["security"] == []
    assert (await web.client.get("/api/docs")).status_code == 404


async def test_a_message_is_stored_and_its_session_is_rung(web: Web) -> None:
    said = await web.say("hello")
    await web.intake.drain()
    assert said["key"] == "console:local:one"
    assert web.doorbell.rung == [said["conversation_id"]]
    listed = (await web.get("/api/sessions")).json()
    assert [s["key"] for s in listed["sessions"]] == ["console:local:one"]


async def test_the_same_event_id_is_stored_once(web: Web) -> None:
    body = {"text": "hello", "event_id": "e1"}
    first = (await web.post("/api/sessions/one/messages", body)).json()
    second = (await web.post("/api/sessions/one/messages", body)).json()
    assert second["inbox_id"] == first["inbox_id"]
    assert (first["duplicate"], second["duplicate"]) == (False, True)


@pytest.mark.parametrize(
    "body",
    [
        {"text": ""},
        {"text": "x", "agnt": "y"},
        {"text": "x", "agent": "nobody"},
        {"text": "x", "cache_salt": "a guess", "session_id": "somebody", "priority": -9},
        {},
        {"text": 1},
    ],
)
async def test_a_bad_message_is_refused_and_nothing_is_stored(web: Web, body: Any) -> None:
    answer = await web.post("/api/sessions/one/messages", body)
    assert answer.status_code == 422
    assert (await web.get("/api/sessions")).json()["total"] == 0


async def test_a_body_that_is_too_large_is_refused(web: Web) -> None:
    answer = await web.post("/api/sessions/one/messages", {"text": "x" * 5_000_000})
    assert answer.status_code == 413


async def test_events_tell_the_text_as_it_grows_then_the_answer_then_the_end(web: Web) -> None:
    said = await web.say("hello")
    turn_id = await web.turn(said["conversation_id"])
    feed = Feed(web.stores.database, said["conversation_id"], inbox_id=said["inbox_id"])
    events = feed.events(asyncio.Event())
    await web.stores.turns.progress(turn_id, Snapshot("answering", "Good", ("Looking",)))
    first = await anext(events)
    second = await anext(events)
    await web.stores.turns.progress(turn_id, Snapshot("answering", "Good day", ("Looking",)))
    third = await anext(events)
    await web.stores.turns.progress(turn_id, Snapshot("answering", "Other"))
    fourth = await anext(events)
    await web.answer(turn_id, "Good day to you")
    rest = [event async for event in events]
    assert (first.name, first.data) == ("tool", {"line": "Looking"})
    assert (second.name, second.data) == ("delta", {"text": "Good", "reset": False})
    assert third.data == {"text": " day", "reset": False}
    assert fourth.data == {"text": "Other", "reset": True}
    assert [event.name for event in rest] == ["answer", "done"]
    assert rest[0].data["text"] == "Good day to you"
    assert rest[1].data == {"outcome": "answered"}


async def test_events_of_a_settled_message_tell_its_answer_again(web: Web) -> None:
    said = await web.say("hello")
    await web.answer(await web.turn(said["conversation_id"]), "Good day")
    later = await web.say("and now?")
    await web.answer(await web.turn(later["conversation_id"]), "Still good")
    answer = await web.get("/api/sessions/one/events", inbox=said["inbox_id"])
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert _events(answer.text) == [("answer", "Good day"), ("done", "")]


async def test_events_end_when_the_process_is_closing(web: Web) -> None:
    said = await web.say("hello")
    closing = asyncio.Event()
    closing.set()
    feed = Feed(web.stores.database, said["conversation_id"])
    assert [event async for event in feed.events(closing)] == []


async def test_a_command_is_answered_by_a_notice(web: Web) -> None:
    said = await web.say("/help")
    answer = await web.get("/api/sessions/one/events", inbox=said["inbox_id"])
    (kind, text), (last, _) = _events(answer.text)
    assert (kind, last) == ("notice", "done")
    assert "/stop" in text


async def test_stopping_in_words_is_answered_by_what_was_stopped(web: Web) -> None:
    said = await web.say("hello")
    turn_id = await web.turn(said["conversation_id"])
    stop = await web.say("/stop")
    feed = Feed(web.stores.database, said["conversation_id"], inbox_id=stop["inbox_id"])
    events = feed.events(asyncio.Event())
    first = asyncio.ensure_future(anext(events))
    assert not (await asyncio.wait({first}, timeout=0.2))[0]  # it waits for the turn to end
    await web.stores.turns.settle(turn_id, outcome="stopped", reason="asked")
    assert (await first).name == "notice"
    assert [(event.name, event.data) async for event in events] == [
        ("done", {"outcome": "stopped"})
    ]


async def test_a_message_that_no_turn_took_is_settled_by_a_code_and_words_beside_it(
    web: Web,
) -> None:
    dropped = await web.say("hello")
    await web.say("/stop")
    feed = Feed(web.stores.database, dropped["conversation_id"], inbox_id=dropped["inbox_id"])
    events = [event async for event in feed.events(asyncio.Event())]
    assert events[-1].data == {"outcome": "stopped", "reason": WORDS["stopped"]}


async def test_a_session_is_found_by_key_id_and_name(web: Web) -> None:
    said = await web.say("hello")
    await web.answer(await web.turn(said["conversation_id"]), "Good day")
    for name in ("one", "console:local:one", said["conversation_id"]):
        found = (await web.get(f"/api/sessions/{name}")).json()
        assert [m["role"] for m in found["transcript"]] == ["user", "assistant"]
        assert [t["state"] for t in found["turns"]] == ["done"]
    assert (await web.get("/api/sessions/none")).status_code == 404


async def test_names_with_slashes_and_unknown_scripts_work(web: Web) -> None:
    said = await web.say("hello", "a%2Fb%20%E2%98%83")
    assert said["key"] == "console:local:a/b ☃"
    assert (await web.get("/api/sessions/a%2Fb%20%E2%98%83")).status_code == 200


async def test_stop_is_recorded_and_pushed(web: Web) -> None:
    said = await web.say("hello")
    turn_id = await web.turn(said["conversation_id"])
    stopping = (await web.post("/api/sessions/one/stop")).json()
    await web.intake.drain()
    assert stopping == {"turn_id": turn_id, "dropped": 0}
    assert await web.stores.turns.stop_requested(turn_id)
    assert web.doorbell.stopped == [said["conversation_id"]]


async def test_status_tells_which_parts_are_down(web: Web) -> None:
    await web.stores.heartbeats.beat("worker")
    status = (await web.get("/api/status", "viewer")).json()
    up = {part["name"]: part["up"] for part in status["parts"]}
    assert up == {
        "temporal": False,
        "engine": False,
        "worker": True,
        "courier": False,
        "web": False,
    }
    assert status["ok"] is False
    assert status["counts"]["sessions"] == 0


async def test_a_delivery_that_did_not_fail_is_not_sent_again(web: Web) -> None:
    said = await web.say("hello")
    await web.answer(await web.turn(said["conversation_id"]), "Good day")
    (row,) = (await web.get("/api/deliveries")).json()["deliveries"]
    assert (row["key"], row["kind"]) == ("console:local:one", "answer")
    answer = await web.post(f"/api/deliveries/{row['id']}/redrive")
    assert answer.status_code == 409
    assert (await web.post("/api/deliveries/none/redrive")).status_code == 404


async def test_people_who_do_not_exist_are_not_let_in(web: Web) -> None:
    assert (await web.post("/api/people/NOSUCHCD/approve")).status_code == 404
    assert (await web.get("/api/people", access="pending")).json() == {"people": []}


async def test_a_wrong_filter_names_the_right_ones(web: Web) -> None:
    answer = await web.get("/api/deliveries", state="lost")
    assert answer.status_code == 422
    assert "failed" in answer.json()["detail"]


async def test_webhooks_of_channels_that_are_not_configured_answer_404(web: Web) -> None:
    for path in ("/hooks/telegram/42", "/hooks/twilio/inbound", "/hooks/twilio/status"):
        assert (await web.client.post(path, content=b"{}")).status_code == 404
    assert (await web.client.get("/hooks/twilio/inbound")).status_code == 405


async def test_s4_another_host_name_is_refused(web: Web) -> None:
    answer = await web.client.get("/api/health", headers={"host": "evil.example"})
    assert answer.status_code == 400


def _events(body: str) -> list[tuple[str, str]]:
    """(name, text) of each event of a stream."""
    found, name = [], ""
    for line in body.splitlines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            found.append((name, json.loads(line[6:]).get("text", "")))
    return found


@pytest.mark.parametrize("path", ["/api/health", "/api/status", "/login", "/v1/models", "/"])
async def test_a_rebound_name_reaches_nothing_on_the_web_port(web: Web, path: str) -> None:
    for host in ("rebound.example", "127.0.0.1.rebound.example", ""):
        assert (await web.client.get(path, headers={"host": host})).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/login",
        "/logout",
        "/api/sessions/s/messages",
        "/hooks/telegram/42",
        "/hooks/twilio/inbound",
    ],
)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://["])
async def test_a_simple_request_of_another_site_does_nothing(
    web: Web, path: str, origin: str
) -> None:
    headers = {"origin": origin, "content-type": "text/plain"}
    reply = await web.client.post(path, content='{"text": "hi"}', headers=headers)
    assert 400 <= reply.status_code < 500
