"""FakeCloud does what Meta's documentation says, tested by plain HTTP."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from aiohttp import web

from roost_channels.testing import FakeCloud, PairLimit, StatusPlan, VirtualClock

USER = "whatsapp:+16505551234"
TEXT = {"messaging_product": "whatsapp", "to": "16505551234", "type": "text"}


class App:
    """The app's webhook: records requests and sends `answers` in order, then 200."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.signatures: list[str] = []
        self.answers: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.signatures.append(request.headers["X-Hub-Signature-256"])
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    def values(self) -> list[dict[str, Any]]:
        return [
            change["value"]
            for body in self.bodies
            for entry in json.loads(body)["entry"]
            for change in entry["changes"]
        ]

    def statuses(self) -> list[str]:
        return [status["status"] for value in self.values() for status in value.get("statuses", [])]


@pytest.fixture
async def app() -> AsyncIterator[App]:
    webhook = App()
    server = web.Application()
    server.router.add_post("/hook", webhook.handle)
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    webhook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield webhook
    await runner.cleanup()


@pytest.fixture
async def cloud(app: App) -> AsyncIterator[FakeCloud]:
    plan, ready = StatusPlan(0.0, 0.0, 0.0), {"ready": "Ready."}
    async with FakeCloud(webhook_url=app.url, status_plan=plan, templates=ready) as server:
        yield server


class Graph:
    """Plain HTTP calls to the Graph API."""

    def __init__(self, cloud: FakeCloud, http: httpx2.AsyncClient) -> None:
        self._cloud, self._http = cloud, http

    async def post(self, **body: Any) -> tuple[int, Any]:
        url = f"{self._cloud.base_url}/v25.0/{self._cloud.settings.phone_number_id}/messages"
        answer = await self._http.post(url, json={**TEXT, **body}, headers=self.token())
        return answer.status_code, answer.json()

    async def text(self, body: str = "hello", **more: Any) -> str:
        status, answer = await self.post(text={"body": body}, **more)
        assert status == 200, answer
        return str(answer["messages"][0]["id"])

    async def get(self, path: str, token: str = "test-access-token") -> httpx2.Response:
        url = path if path.startswith("http") else f"{self._cloud.base_url}{path}"
        return await self._http.get(url, headers=self.token(token))

    def token(self, token: str = "test-access-token") -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def graph(cloud: FakeCloud, http: httpx2.AsyncClient) -> Graph:
    return Graph(cloud, http)


async def test_webhooks_are_signed_over_the_bytes_that_are_sent(cloud: FakeCloud, app: App) -> None:
    await cloud.user_says(USER, "grüße 😀", profile_name="Ádá")
    [body], [signature] = app.bodies, app.signatures
    expected = hmac.new(b"test-app-secret", body, hashlib.sha256).hexdigest()
    assert signature == f"sha256={expected}" and body.isascii()
    [value] = app.values()
    assert value["metadata"]["phone_number_id"] == cloud.settings.phone_number_id
    assert value["contacts"] == [{"profile": {"name": "Ádá"}, "wa_id": "16505551234"}]
    [message] = value["messages"]
    assert message["text"] == {"body": "grüße 😀"} and message["from"] == "16505551234"
    assert message["id"].startswith("wamid.") and message["timestamp"].isdigit()


async def test_a_webhook_is_repeated_until_it_gets_a_200(cloud: FakeCloud, app: App) -> None:
    app.answers = [500, 204, 403]
    await cloud.user_says(USER, "hello")
    assert len(app.bodies) == 4 and len(set(app.bodies)) == 1


async def test_statuses_follow_their_plan_and_repeat_the_callback_data(
    cloud: FakeCloud, app: App, graph: Graph
) -> None:
    await cloud.user_says(USER, "hi")
    for plan, expected in (
        (StatusPlan(0.0, 0.0, 0.0), ["sent", "delivered", "read"]),
        (StatusPlan(0.0, 0.0, None, doubled=True), ["sent", "sent", "delivered", "delivered"]),
        (StatusPlan(0.0, 0.0, 0.0, shuffled=True), ["read", "delivered", "sent"]),
        (StatusPlan(0.0, 0.0, 0.0, silent=True), []),
        (StatusPlan(0.0, error_code=131026), ["failed"]),
    ):
        app.bodies.clear()
        cloud.plan_next(plan)
        wamid = await graph.text(biz_opaque_callback_data="part-1")
        await cloud.settled()
        assert app.statuses() == expected
        for value in app.values():
            [status] = value["statuses"]
            assert (status["id"], status["biz_opaque_callback_data"]) == (wamid, "part-1")
    [error] = app.values()[-1]["statuses"][0]["errors"]
    assert (error["code"], error["title"]) == (131026, "Message undeliverable")


async def test_free_text_outside_the_window_fails_later_and_a_template_does_not(
    cloud: FakeCloud, app: App, graph: Graph
) -> None:
    await cloud.user_says(USER, "hi")
    cloud.close_window(USER)
    await graph.text()
    await cloud.settled()
    assert app.values()[-1]["statuses"][0]["errors"][0]["code"] == 131047
    template = {"name": "ready", "language": {"code": "en_US"}}
    status, _ = await graph.post(type="template", template=template)
    await cloud.settled()
    assert status == 200 and cloud.bot_texts(USER) == ["Ready."]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"text": {"body": ""}}, 131008),
        ({"text": {"body": "x" * 4097}}, 131009),
        ({"text": {"body": "x"}, "to": "nobody"}, 131009),
        ({"text": {"body": "x"}, "to": ""}, 131008),
        ({"text": {"body": "x"}, "messaging_product": "sms"}, 100),
        ({"text": {"body": "x"}, "context": {"message_id": "SM1"}}, 131009),
        ({"text": {"body": "x"}, "biz_opaque_callback_data": "x" * 513}, 131009),
        ({"type": "poll", "poll": {}}, 131051),
        ({"type": "image", "image": {"id": "1"}}, 131009),
        ({"type": "template", "template": {"name": "none", "language": {"code": "en"}}}, 132001),
        ({"type": "interactive", "interactive": {"type": "button", "body": {"text": "x"}}}, 131008),
        ({"type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": "👍"}}, 131009),
        ({"status": "read", "message_id": "wamid.1"}, 100),
    ],
)
async def test_what_meta_refuses_is_refused_with_its_code(
    graph: Graph, body: dict[str, Any], code: int
) -> None:
    status, answer = await graph.post(**body)
    assert status >= 400 and answer["error"]["code"] == code
    assert answer["error"]["type"] == "OAuthException"


def _button(**reply: str) -> dict[str, Any]:
    return {"type": "reply", "reply": {"id": "a", "title": "A", **reply}}


@pytest.mark.parametrize(
    ("buttons", "is_good"),
    [
        ([_button()], True),
        ([_button(), _button(id="b")], False),
        ([_button(id=str(n), title=str(n)) for n in range(4)], False),
        ([_button(title="x" * 21)], False),
        ([_button(id="x" * 257)], False),
        ([], False),
    ],
)
async def test_buttons_are_held_to_their_bounds(
    graph: Graph, buttons: list[dict[str, Any]], is_good: bool
) -> None:
    shown = {"type": "button", "body": {"text": "x"}, "action": {"buttons": buttons}}
    status, _ = await graph.post(type="interactive", interactive=shown)
    assert (status == 200) is is_good


async def test_tokens_numbers_and_paths_are_checked(cloud: FakeCloud, graph: Graph) -> None:
    own = cloud.settings.phone_number_id
    assert (await graph.get(f"/v25.0/{own}")).json()["id"] == own
    assert (await graph.get(f"/v25.0/{own}", token="wrong")).json()["error"]["code"] == 190
    assert (await graph.get("/v25.0/1")).json()["error"]["code"] == 33
    assert (await graph.get("/nothing")).status_code == 400


async def test_media_is_described_and_handed_out_to_the_token_alone(
    cloud: FakeCloud, app: App, graph: Graph, http: httpx2.AsyncClient
) -> None:
    await cloud.user_says(USER, "look", media=[(b"\x89PNG", "image/png")])
    image = app.values()[-1]["messages"][0]["image"]
    assert image["caption"] == "look"
    known = (await graph.get(f"/v25.0/{image['id']}")).json()
    assert known["sha256"] == hashlib.sha256(b"\x89PNG").hexdigest()
    assert (known["file_size"], known["mime_type"]) == ("4", "image/png")
    assert (await graph.get(known["url"])).content == b"\x89PNG"
    assert (await http.get(known["url"])).status_code == 401


async def test_a_pair_has_a_burst_and_then_a_pace(app: App, http: httpx2.AsyncClient) -> None:
    clock = VirtualClock()
    async with FakeCloud(webhook_url=app.url, clock=clock, pair_limit=PairLimit(2, 6.0)) as cloud:
        graph = Graph(cloud, http)
        outcomes = [(await graph.post(text={"body": "x"}))[0] for _ in range(3)]
        assert outcomes == [200, 200, 400]
        await clock.advance(6.0)
        assert (await graph.post(text={"body": "x"}))[0] == 200


async def test_what_users_do_is_on_the_screen_and_in_the_webhooks(
    cloud: FakeCloud, app: App, graph: Graph
) -> None:
    message_id = await cloud.user_says(USER, "helo")
    await cloud.edits(USER, message_id, "hello")
    await cloud.reacts(USER, message_id, "👍")
    await cloud.deletes(USER, message_id)
    types = [message["type"] for value in app.values() for message in value["messages"]]
    assert types == ["text", "edit", "reaction", "revoke"]
    await graph.text("quoting", context={"message_id": message_id})
    await graph.post(type="reaction", reaction={"message_id": message_id, "emoji": "👀"})
    await cloud.settled()
    mine, ours = cloud.visible(USER)
    assert (mine.body, mine.reactions) == ("hello", ("👍", "👀"))
    assert ours.reply_to == (message_id, "hello")


async def test_the_sim_api_plays_a_user(
    cloud: FakeCloud, graph: Graph, http: httpx2.AsyncClient
) -> None:
    sim = f"{cloud.base_url}/sim"
    phone = f"{sim}/users/{USER}"
    sent = (await http.post(f"{phone}/messages", json={"text": "hi", "wait": True})).json()
    reply = {"id": "y", "title": "Yes"}
    shown = {"type": "button", "body": {"text": "?"}, "action": {"buttons": [_button(**reply)]}}
    _, answer = await graph.post(type="interactive", interactive=shown)
    await cloud.settled()
    pressed = {"sid": answer["messages"][0]["id"], "id": "y"}
    assert "sid" in (await http.post(f"{phone}/press", json=pressed)).json()
    screen = (await http.get(phone)).json()
    assert [m["body"] for m in screen["messages"]] == ["hi", "?", "Yes"]
    assert screen["messages"][0]["sid"] == sent["sid"] and screen["typing"] is False
    assert (await http.get(f"{sim}/users")).json() == {"users": [USER]}
    assert (await http.get(f"{sim}/calls")).json()["calls"][-1]["method"] == "messages"
    await http.post(f"{sim}/faults", json={"kind": "http_500", "method": "messages"})
    assert (await graph.post(text={"body": "x"}))[0] == 500
    await http.post(f"{sim}/config", json={"session_window_s": None, "webhook_url": ""})
    assert (await http.post(f"{sim}/config", json={"nothing": 1})).status_code == 400
    assert (await http.get(f"{sim}/nothing")).status_code == 404
    await http.post(f"{sim}/reset")
    assert cloud.visible(USER) == []
