"""No body makes a webhook fail: strangers are refused unread, networks get 2xx or 4xx."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from roost_platform.api.webhooks import Webhooks
from roost_platform.db.stores import Stores
from roost_platform.intake import PlatformIntake
from roost_platform.settings.config import load_settings
from roost_platform.testing.chats import DoorbellLog

PUBLIC = "https://roost.example.org"
NUMBER = "106540352242922"
TELEGRAM, META = "/hooks/telegram/42", f"/hooks/whatsapp-cloud/{NUMBER}"
TWILIO = ("/hooks/twilio/inbound", "/hooks/twilio/status")
DEEP = (b"[" * 100_000, b'{"a":' * 100_000, b"[" * 300 + b"]" * 300, b"\x00", b"", b"\xff")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "message", "chat", "from", "id", "text", "date", "entry", "changes", "value",
                    "messages", "metadata", "phone_number_id", "statuses", "type", "photo",
                    "callback_query", "entities", "reply_to_message", "contacts", "errors", "body",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.fixture
async def http(sqlite_stores: Stores) -> AsyncIterator[httpx2.AsyncClient]:
    told = load_settings(
        {
            "public_base_url": PUBLIC,
            "telegram": {"token": "42:T", "mode": "webhook", "webhook_secret": "sesame"},
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
    webhooks = Webhooks(told, PlatformIntake(sqlite_stores, DoorbellLog()), sqlite_stores.artifacts)
    transport = httpx2.ASGITransport(app=Starlette(routes=webhooks.routes()))
    async with httpx2.AsyncClient(transport=transport, base_url=PUBLIC) as client:
        yield client
    await webhooks.close()


async def telegram(http: httpx2.AsyncClient, body: bytes) -> int:
    headers = {"X-Telegram-Bot-Api-Secret-Token": "sesame"}
    return (await http.post(TELEGRAM, content=body, headers=headers)).status_code


async def meta(http: httpx2.AsyncClient, body: bytes) -> int:
    digest = hmac.new(b"s3cr3t", body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={digest}"}
    return (await http.post(META, content=body, headers=headers)).status_code


async def twilio(http: httpx2.AsyncClient, path: str, form: dict[str, str]) -> int:
    signature = RequestValidator("token").compute_signature(PUBLIC + path, form)
    headers = {"X-Twilio-Signature": signature}
    return (await http.post(path, data=form, headers=headers)).status_code


@pytest.mark.parametrize("path", [TELEGRAM, META, *TWILIO])
@pytest.mark.parametrize("body", DEEP)
async def test_s1_s2_strangers_are_refused_before_their_body_is_read(
    http: httpx2.AsyncClient, path: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: object) -> None:
        raise AssertionError("the body was read")

    monkeypatch.setattr("roost_channels.http.bodies.json.loads", read)
    wrong = {"x-telegram-bot-api-secret-token": "no", "x-hub-signature-256": "sha256=00"}
    for headers in ({}, wrong):
        reply = await http.post(path, content=body, headers=headers)
        assert reply.status_code in (401, 403)


@pytest.mark.parametrize("body", DEEP)
async def test_s12_a_proven_body_that_is_too_deep_or_no_json_is_refused(
    http: httpx2.AsyncClient, body: bytes
) -> None:
    assert await telegram(http, body) == 400
    assert await meta(http, body) == 400


async def test_halves_of_characters_are_stored_as_replacements(
    http: httpx2.AsyncClient, sqlite_stores: Stores
) -> None:
    text = {"from": "1555", "id": "wamid.1", "type": "text", "text": {"body": "cut \ud83d"}}
    value = {"metadata": {"phone_number_id": NUMBER}, "messages": [text]}
    body = {"entry": [{"changes": [{"field": "messages", "value": value}]}]}
    assert await meta(http, json.dumps(body).encode()) == 200
    assert await sqlite_stores.queries.conversation_id(f"whatsapp:{NUMBER}:whatsapp:+1555")


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(value=JSON)
async def test_no_json_makes_a_webhook_fail(http: httpx2.AsyncClient, value: object) -> None:
    update = {"update_id": 1, "message": value}
    event = {"object": "whatsapp_business_account", "entry": [{"changes": [{"value": value}]}]}
    for body in (value, update, event):
        assert await telegram(http, json.dumps(body).encode()) in (200, 400)
        assert await meta(http, json.dumps(body).encode()) in (200, 400)


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    fields=st.dictionaries(
        st.sampled_from(
            ["Body", "From", "MessageSid", "NumMedia", "MediaUrl0", "Latitude", "WaId"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.just("²"),
    )
)
async def test_no_form_makes_a_webhook_fail(
    http: httpx2.AsyncClient, fields: dict[str, str]
) -> None:
    for path in TWILIO:
        assert await twilio(http, path, fields) in (200, 204, 400, 403)
