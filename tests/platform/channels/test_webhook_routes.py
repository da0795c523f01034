"""The doors of the web port: whose knock is answered, and what is handed out."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from roost_channels.whatsapp.links import MediaLinks
from roost_platform.api.webhook_admission import (
    ADDRESSES_MAX,
    FAILURES_MAX,
    WINDOW_S,
    WebhookAdmission,
)
from roost_platform.api.webhooks import Webhooks
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.settings.config import load_settings
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.wiring.courier import build_channels
from roost_platform.wiring.storage import access_policies

PUBLIC = "https://roost.example.org"
NUMBER = "106540352242922"
CLOUD = f"/hooks/whatsapp-cloud/{NUMBER}"


@dataclass
class Port:
    client: httpx2.AsyncClient
    stores: Stores
    intake: PlatformIntake


@pytest.fixture
async def port(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Port]:
    settings = load_settings(
        {
            "public_base_url": PUBLIC,
            "twilio": {"account_sid": "AC1", "auth_token": "token", "from": "whatsapp:+1555"},
            "whatsapp_cloud": {
                "access_token": "a",
                "phone_number_id": NUMBER,
                "app_secret": "s3cr3t",
                "verify_token": "sesame",
                "access": "open",
            },
        },
        environ={},
    )
    policies = access_policies(settings)
    assert policies["whatsapp", NUMBER] == AccessPolicy("open")
    stores = open_stores(sqlite_url, policies=policies, files=tmp_path / "files")
    intake = PlatformIntake(stores, DoorbellLog())
    webhooks = Webhooks(settings, intake, stores.artifacts)
    app = Starlette(routes=webhooks.routes())
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=PUBLIC) as client:
        yield Port(client, stores, intake)
    channels = build_channels(settings, stores.artifacts)
    assert [(c.name, c.account) for c in channels[1:]] == [
        ("whatsapp", "whatsapp:+1555"),
        ("whatsapp", NUMBER),
    ]
    for channel in channels:
        await channel.close()
    await webhooks.close()
    await stores.close()


async def test_twilio_gets_a_file_by_its_link_and_nobody_gets_one_without(port: Port) -> None:
    ada = Person(port.stores, port.intake, DoorbellLog())
    await ada.gives(ada.message("/help"))
    await ada.gives(ada.message("draw me a house"))
    await port.stores.people.approve((await port.stores.people.list())[0].id, "olga")
    turn = await ada.turn()
    made = await port.stores.artifacts.add(
        turn.turn_id, "k", b"\x89PNG", kind="photo", name="house.png", mime_type="image/png"
    )
    links = MediaLinks(SecretStr("token"), PUBLIC)
    link = urlsplit(links.link(made.id, made.name, time.time()))
    answer = await port.client.get(f"{link.path}?{link.query}")
    assert (answer.status_code, answer.content) == (200, b"\x89PNG")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for path in (link.path, f"{link.path}?{link.query}0", f"{link.path}?expires=1&signature="):
        assert (await port.client.get(path)).status_code == 403
    gone = urlsplit(links.link("bcdfghjkmn", "x", time.time()))
    assert (await port.client.get(f"{gone.path}?{gone.query}")).status_code == 404


async def test_a_channel_that_is_not_configured_says_so_at_its_own_paths(port: Port) -> None:
    for method, path, status in (
        ("POST", "/hooks/telegram/42", 404),
        ("GET", "/hooks/telegram/42", 405),
        ("POST", "/hooks/elsewhere", 404),
    ):
        answer = await port.client.request(method, path, content=b"{}")
        assert answer.status_code == status
        is_told = (path, status) == ("/hooks/telegram/42", 404)
        assert ("not configured" in answer.text) is is_told


@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("page.html", "text/html"),
        ("x.js", "text/javascript"),
        ("drawing.svg", "image/svg+xml"),
        ("page.xhtml", "application/xhtml+xml"),
        ("feed.xml", "text/xml; charset=utf-8"),
        ('a"\r\nContent-Type: text/html\r\n\r\n<script>', "TEXT/HTML"),
    ],
)
async def test_a_link_never_gives_a_browser_anything_to_run(
    port: Port, name: str, claimed: str
) -> None:
    ada = Person(port.stores, port.intake, DoorbellLog())
    await ada.says("/help", "draw me a house")
    await port.stores.people.approve((await port.stores.people.list())[0].id, "olga")
    turn = await ada.turn()
    made = await port.stores.artifacts.add(
        turn.turn_id, "k", b"<script>", kind="document", name=name, mime_type=claimed
    )
    link = urlsplit(MediaLinks(SecretStr("token"), PUBLIC).link(made.id, made.name, time.time()))
    answer = await port.client.get(f"{link.path}?{link.query}")
    assert (answer.status_code, answer.content) == (200, b"<script>")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_meta_is_answered_at_the_address_of_our_number_alone(port: Port) -> None:
    asked = {"hub.mode": "subscribe", "hub.verify_token": "sesame", "hub.challenge": "42"}
    assert (await port.client.get(CLOUD, params=asked)).text == "42"
    assert (await port.client.get("/hooks/whatsapp-cloud/9", params=asked)).status_code == 404
    text = {"from": "15551112222", "id": "wamid.1", "type": "text", "text": {"body": "hello"}}
    value = {"metadata": {"phone_number_id": NUMBER}, "messages": [text]}
    entry = {"changes": [{"field": "messages", "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    assert (await port.client.post(CLOUD, content=body)).status_code == 403
    digest = hmac.new(b"s3cr3t", body, hashlib.sha256).hexdigest()
    signed = {"X-Hub-Signature-256": f"sha256={digest}"}
    for _ in range(2):
        assert (await port.client.post(CLOUD, content=body, headers=signed)).status_code == 200
    key = f"whatsapp:{NUMBER}:whatsapp:+15551112222"
    conversation = await port.stores.queries.conversation_id(key)
    assert conversation is not None
    turn = await port.stores.turns.begin(conversation)
    assert turn is not None


def signed(body: bytes) -> dict[str, str]:
    proof = hmac.new(b"s3cr3t", body, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={proof}"}


async def unread() -> AsyncIterator[bytes]:
    raise AssertionError("the body was read")
    yield b""


async def test_an_address_that_fails_its_proof_often_is_refused_unread(port: Port) -> None:
    wrong = signed(b"something else")
    for _ in range(FAILURES_MAX):
        assert (await port.client.post(CLOUD, content=b"{}", headers=wrong)).status_code == 403
    answer = await port.client.post(CLOUD, content=unread(), headers=wrong)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= WINDOW_S


async def test_an_address_with_a_good_proof_is_never_refused(port: Port) -> None:
    wrong = signed(b"something else")
    assert (await port.client.post(CLOUD, content=b"{}", headers=signed(b"{}"))).status_code == 200
    for _ in range(2 * FAILURES_MAX):
        assert (await port.client.post(CLOUD, content=b"{}", headers=wrong)).status_code == 403
    assert (await port.client.post(CLOUD, content=b"{}", headers=signed(b"{}"))).status_code == 200


def test_refused_addresses_are_taken_again_and_what_is_kept_is_bounded() -> None:
    now = 1000.0
    admission = WebhookAdmission(lambda: now)
    for _ in range(FAILURES_MAX):
        assert admission.wait_s("2001:db8::1") == 0
        admission.note("2001:db8::1", 401)
        admission.note("192.0.2.1", 400)  # not about a proof
    assert admission.wait_s("2001:db8::2") == WINDOW_S  # a client owns its network
    assert admission.wait_s("2001:db8:0:1::1") == admission.wait_s("192.0.2.1") == 0
    now += WINDOW_S
    assert admission.wait_s("2001:db8::1") == 0
    admission.note("2001:db8::1", 401)
    assert admission.wait_s("2001:db8::1") == 0
    for number in range(2 * ADDRESSES_MAX):
        admission.note(f"10.0.{number // 256}.{number % 256}", 403 if number % 2 else 200)
    assert len(admission._failures) <= ADDRESSES_MAX and len(admission._proven) <= ADDRESSES_MAX
