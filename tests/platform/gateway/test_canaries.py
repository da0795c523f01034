"""Keys of providers and of the gateway are nowhere but where they must be."""

import json
import logging
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from roost_inference.http.listener import listening
from roost_platform.db import models
from roost_platform.db.gateway.key_admin import KeyAdmin
from roost_platform.db.stores import Stores
from roost_platform.settings.config import load_settings
from roost_platform.settings.rows import setting_rows
from roost_platform.testing.api_server import api_server
from roost_platform.testing.providers.gateway import gateway_server

PROVIDER_KEY = "canary-of-a-provider-93ac"


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """A provider that refuses the key and repeats it, as some do."""
    given = dict(scope["headers"]).get(b"authorization", b"").decode()
    said = {"error": {"message": f"Incorrect API key: {given}", "code": "invalid_api_key"}}
    head = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 401, "headers": head})
    await send({"type": "http.response.body", "body": json.dumps(said).encode()})


async def test_neither_key_is_in_errors_rows_logs_settings_or_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with listening(refusing) as url:
        given = {
            "providers": {"cloud": {"base_url": f"{url}/v1", "api_key": PROVIDER_KEY}},
            "models": {"far": {"targets": ["cloud/m"]}},
        }
        async with gateway_server(tmp_path, overrides=given) as gateway:
            body = {"model": "far", "messages": [{"role": "user", "content": "hi"}]}
            answers = [await gateway.post("/v1/chat/completions", body)]
            answers.append(await gateway.post("/v1/chat/completions", {**body, "stream": True}))
            wrong = f"{gateway.secret}x"
            answers.append(await gateway.post("/v1/chat/completions", body, wrong))
            found = {
                "answers": " ".join(one.text + str(one.headers) for one in answers),
                "settings": str(setting_rows(gateway.settings)) + repr(gateway.settings),
                "key": repr(await gateway.app.serving.keys.find(gateway.secret)),
                "logs": caplog.text,
            }
            assert [one.status_code for one in answers][2] == 401
            for file in tmp_path.rglob("*"):
                if file.is_file():
                    found[file.name] = file.read_bytes().decode("latin-1")
            for place, text in found.items():
                for secret in (PROVIDER_KEY, gateway.secret, wrong):
                    assert secret not in text, place


def test_settings_show_no_key_of_a_provider() -> None:
    environ = {
        "ROOST_PROVIDERS__CLOUD__BASE_URL": "https://api.example.com/v1",
        "ROOST_PROVIDERS__CLOUD__API_KEY": PROVIDER_KEY,
    }
    settings = load_settings({}, environ=environ)
    assert settings.providers["cloud"].api_key.get_secret_value() == PROVIDER_KEY
    assert PROVIDER_KEY not in str(setting_rows(settings)) + repr(settings)


async def test_the_api_and_the_audit_trail_never_repeat_a_secret(
    stores: Stores, tmp_path: Path
) -> None:
    async with api_server(stores, tmp_path) as server, httpx2.AsyncClient() as client:
        headers = server.as_("admin")
        made = await client.post(f"{server.url}/api/keys", json={"name": "k"}, headers=headers)
        turned = await client.post(
            f"{server.url}/api/keys/k/rotate", json={"grace_s": 60}, headers=headers
        )
        listed = await client.get(f"{server.url}/api/keys", headers=headers)
        pages = [await client.get(f"{server.url}{path}", headers=headers) for path in ("/audit",)]
    async with stores.database.read() as session:
        for name in ("audit", "gateway_keys"):
            found = (await session.execute(select(models.Base.metadata.tables[name]))).all()
            pages_text = str(found) + listed.text + "".join(page.text for page in pages)
            for answer in (made, turned):
                assert answer.json()["key"] not in pages_text
    assert len(await KeyAdmin(stores.database).rows()) == 1
