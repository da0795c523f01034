"""Secrets and people's words are nowhere but where they must be: a whole stack is searched."""

import asyncio
import base64
import functools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from roost_inference.http.listener import listening
from roost_inference.testing.scripted import ScriptedEngine
from roost_platform.settings.config import load_settings
from roost_platform.settings.rows import setting_rows
from roost_platform.testing import World, eventually, run_world
from roost_platform.testing.command_line import roost
from roost_platform.testing.phones import AUTH_TOKEN, TOKEN

ENGINE_KEY = "canary-of-the-engine-5b1e"
PASSWORD = "canary of the operator 77aa"
SECRETS = {
    "ROOST_ENGINE__API_KEY": ENGINE_KEY,
    "ROOST_TELEGRAM__TOKEN": TOKEN.partition(":")[2],
    "ROOST_TELEGRAM__WEBHOOK_SECRET": "canary-of-the-webhook-90fd",
    "ROOST_TWILIO__AUTH_TOKEN": AUTH_TOKEN,
    "ROOST_TWILIO__SHARED_KEYS": "canary-of-a-shared-key-31c2",
    "ROOST_WHATSAPP_CLOUD__ACCESS_TOKEN": "sandbox-access-token",
    "ROOST_WHATSAPP_CLOUD__APP_SECRET": "sandbox-app-secret",
    "ROOST_WHATSAPP_CLOUD__VERIFY_TOKEN": "canary-of-the-verification-8e44",
    "ROOST_DATABASE__URL": "canary-in-the-url-of-the-database-12ab",
    "ROOST_DATABASE__PASSWORD": "canary-of-the-database-66dd",
    "ROOST_ALERTS__WEBHOOK": "canary-in-the-address-of-alerts-7e7e",
    "ROOST_METRICS__TOKEN": "canary-of-the-figures-0b0b",
    "ROOST_TELEMETRY__OTLP_HEADERS": "canary-of-the-collector-5d5d",
}
# Addresses with a password in them; those of the stack itself and of one that can't start.
IN_URLS = {
    "ROOST_TELEGRAM__API_BASE": "canary-in-the-url-of-telegram-4f4f",
    "ROOST_ENGINE__URL": "canary-in-the-url-of-the-engine-2c2c",
    "ROOST_TWILIO__API_BASE": "canary-in-the-url-of-twilio-9d9d",
}
# Only the owner reads these files, and each must hold what it holds: see SECURITY.md.
PRIVATE = ("run/", "api-token", "engine-key", "audit-key", "setup-link", "sandbox-secret")
# Of people and models, each in its own place.
WORDS = {
    "text": "canarywords",
    "name": "canaryname",
    "file": "canaryfile",
    "content": "canarycontent",
    "argument": "canaryargument",
    "note": "canarynote",
    "answer": "canaryanswer",
}


class Gate:
    """The engine's port, which can refuse everything and then repeats the key, as some do."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine
        self.refuses = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.refuses:
            await self.engine.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"authorization", b"").decode()
        said = {"error": {"message": f"Incorrect API key: {given}", "code": "invalid_api_key"}}
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 401, "headers": head})
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})


@dataclass
class Searched:
    """The stack, its engine, and what was found so far, by the place."""

    world: World
    gate: Gate
    found: dict[str, str]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    ready, end = threading.Event(), threading.Event()
    gate, urls = Gate(ScriptedEngine(api_key=ENGINE_KEY)), []

    async def serve() -> None:
        async with listening(gate) as url:
            urls.append(url)
            ready.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(30)
    folder = tmp_path_factory.mktemp("canaries")
    settings = {
        "ROOST_ENGINE__URL": urls[0],
        "ROOST_ENGINE__MODEL_NAME": "scripted",
        "ROOST_ENGINE__API_KEY": ENGINE_KEY,
        "ROOST_LOG__LEVEL": "debug",
    }
    keys = {"AC" + "1" * 32: SECRETS["ROOST_TWILIO__SHARED_KEYS"]}
    more = {
        "ROOST_TELEGRAM__WEBHOOK_SECRET": SECRETS["ROOST_TELEGRAM__WEBHOOK_SECRET"],
        "ROOST_WHATSAPP_CLOUD__VERIFY_TOKEN": SECRETS["ROOST_WHATSAPP_CLOUD__VERIFY_TOKEN"],
        "ROOST_TWILIO__SHARED_KEYS": json.dumps(keys),
        # Nobody listens at these addresses: what is sent there fails, and is told in logs.
        "ROOST_ALERTS__WEBHOOK": f"http://127.0.0.1:9/{SECRETS['ROOST_ALERTS__WEBHOOK']}",
        "ROOST_METRICS__TOKEN": SECRETS["ROOST_METRICS__TOKEN"],
        "ROOST_TELEMETRY__OTLP_ENDPOINT": "http://127.0.0.1:9",
        "ROOST_TELEMETRY__OTLP_HEADERS": json.dumps(
            {"authorization": SECRETS["ROOST_TELEMETRY__OTLP_HEADERS"]}
        ),
    }
    try:
        for world in run_world(folder, settings, more):
            yield Searched(world, gate, {})
    finally:
        end.set()
        thread.join()


def test_s10_every_secret_setting_has_a_canary_here() -> None:
    rows = setting_rows(load_settings({}, environ={}))
    assert {row.variable for row in rows if row.kind == "secret"} == set(SECRETS)


def use_it(world: World, gate: Gate) -> None:
    """Let it work, and let everything fail that talks to somebody else."""
    phone, chat = world.phones.telegram, 8801
    note = json.dumps({"text": WORDS["note"]})
    argument = json.dumps({"expression": f"1/0 + {WORDS['argument']}"})
    said = f"{WORDS['text']} [[tool:remember {note}]][[tool:calculator {argument}]]"
    phone.answer(chat, phone.say(chat, said, first_name=WORDS["name"]))
    phone.answer(chat, phone.say(chat, "[[tool:notes_list]]"))
    phone.answer(chat, phone.say(chat, f"[[say:{WORDS['answer']}]]"))
    data = base64.b64encode(WORDS["content"].encode()).decode()
    name = f"{WORDS['file']}.txt"
    media = {"kind": "document", "data": data, "name": name, "content_type": "text/plain"}
    phone.answer(chat, phone.say(chat, "read", media=media))
    gate.refuses = True
    phone.answer(chat, phone.say(chat, "are you there?"))
    gate.refuses = False
    for kind in ("unauthorized", "drop_after", "http_500"):
        fault = {"kind": kind, "method": "sendMessage"}
        phone.http.post("/sim/faults", json=fault)
        phone.say(chat, f"[[say:{WORDS['answer']} {kind}]]")
    eventually("the faults", lambda: not phone.http.get("/sim/faults").json()["open"])
    for user in ("whatsapp:+15550007001",):
        world.phones.whatsapp.say(user, f"[[say:{WORDS['answer']}]]")
        eventually("an answer", functools.partial(world.phones.whatsapp.bot_messages, user))


def search(at: Searched) -> None:
    """Read everything that anybody may see, and every file of the data folder."""
    stack, found = at.world.stack, at.found
    for command in (
        *(["settings", "--json"], ["doctor"], ["status"], ["deliveries"], ["sessions"]),
    ):
        done = stack.cli(*command)
        found[f"roost {' '.join(command)}"] = done.stdout + done.stderr
    made = roost("admin", "create", "ada", "--password-stdin", data=stack.data, stdin=PASSWORD)
    assert made.returncode == 0, made.stderr
    headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
    with httpx2.Client(base_url=stack.url, headers=headers, timeout=30) as http:
        assert http.post("/login", data={"name": "ada", "password": PASSWORD}).status_code == 303
        wrong = http.post("/login", data={"name": "ada", "password": f"{PASSWORD}!"})
        found["page of a wrong login"] = wrong.text
        sessions = http.get("/sessions.json").json()["list"]["rows"]
        deliveries = http.get("/deliveries.json").json()["list"]["rows"]
        pages = ["/", "/overview.json", "/sessions", "/sessions.json", "/deliveries", "/channels"]
        pages += ["/deliveries.json", "/people", "/inference", "/inference.json", "/operators"]
        pages += ["/tokens", "/audit", "/account", "/nothing/here", "/sandbox"]
        pages += [f"/sessions/{row['id']}{end}" for row in sessions for end in ("", ".json")]
        pages += [f"/deliveries/{row['id']}{end}" for row in deliveries for end in ("", ".json")]
        for path in pages:
            found[f"page {path}"] = http.get(path).text
    token = (stack.data / "api-token").read_text().strip()
    for path in ("/api/health", "/metrics", "/api/status", "/api/sessions", "/api/deliveries"):
        for given in ({}, {"Authorization": f"Bearer {token}"}, {"Authorization": "Bearer x"}):
            found[f"{path} {len(given)}"] = httpx2.get(stack.url + path, headers=given).text
    for path in ("/api/people", "/api/agents", "/api/openapi.json", "/api/sessions/x/y"):
        bearer = {"Authorization": f"Bearer {token}"}
        found[path] = httpx2.get(stack.url + path, headers=bearer).text
    for path in ("/hooks/twilio/inbound", "/hooks/telegram/4242", "/hooks/whatsapp-cloud/1"):
        found[f"POST {path}"] = httpx2.post(stack.url + path, content=b"{}").text
    found["prompts"] = json.dumps([dict(one) for one in at.gate.engine.requests])
    for file in sorted(stack.data.rglob("*")):
        if file.is_file():
            name = str(file.relative_to(stack.data))
            found[f"file {name}"] = file.read_bytes().decode("latin-1")


def is_private(place: str) -> bool:
    return place.removeprefix("file ").startswith(PRIVATE)


def holds_words(place: str) -> bool:
    """Whether people's words belong there: the database, stored files, pages, prompts and lists."""
    if place.startswith("file "):
        return place.startswith(("file roost.db", "file files/"))
    return place.startswith(("page /", "prompts", "/api/", "roost sessions", "roost deliveries"))


@pytest.mark.timeout(240)
def test_s10_no_secret_and_no_words_are_where_they_must_not_be(searched: Searched) -> None:
    use_it(searched.world, searched.gate)
    search(searched)
    found = searched.found
    for kind in ("file temporal-", "file logs/", "file roost.db", "file run/", "page /audit"):
        assert any(place.startswith(kind) for place in found), kind
    assert any(TOKEN in text for place, text in found.items() if is_private(place))
    secrets = {**SECRETS, "the password": PASSWORD}
    leaks = [
        (place, name)
        for place, text in found.items()
        for name, secret in secrets.items()
        if secret in text and not (is_private(place) and place.startswith("file "))
    ]
    assert leaks == []
    for place in (one for one in found if is_private(one) and one.startswith("file ")):
        mode = (searched.world.stack.data / place.removeprefix("file ")).stat().st_mode
        assert mode & 0o077 == 0, place
    words = [
        (place, name)
        for place, text in found.items()
        for name, word in WORDS.items()
        if word in text and not holds_words(place)
    ]
    assert words == []
    everywhere = "".join(text for place, text in found.items() if place.startswith("page "))
    assert [name for name, word in WORDS.items() if word not in everywhere] == []


def test_s10_a_password_in_an_address_is_told_by_no_command(tmp_path: Path) -> None:
    down = "127.0.0.1:9"
    env = {
        "ROOST_DATABASE__URL": f"postgresql://op:{SECRETS['ROOST_DATABASE__URL']}@{down}/none",
        "ROOST_ENGINE__URL": f"http://op:{IN_URLS['ROOST_ENGINE__URL']}@{down}",
        "ROOST_TELEGRAM__API_BASE": f"http://op:{IN_URLS['ROOST_TELEGRAM__API_BASE']}@{down}",
        "ROOST_TELEGRAM__TOKEN": TOKEN,
        "ROOST_TWILIO__API_BASE": f"http://op:{IN_URLS['ROOST_TWILIO__API_BASE']}@{down}",
        "ROOST_TWILIO__ACCOUNT_SID": "AC" + "0" * 32,
        "ROOST_TWILIO__AUTH_TOKEN": AUTH_TOKEN,
        "ROOST_TWILIO__FROM": "whatsapp:+15550001000",
    }
    said = ""
    for command in (["settings", "--json"], ["doctor"], ["admin", "reset-token"]):
        done = roost(*command, data=tmp_path / "data", **env)
        said += done.stdout + done.stderr
    password = {"ROOST_DATABASE__PASSWORD": SECRETS["ROOST_DATABASE__PASSWORD"]}
    url = {"ROOST_DATABASE__URL": f"postgresql://op@{down}/none"}
    for command in (["settings", "--json"], ["backup", str(tmp_path / "b.roost")]):
        done = roost(*command, data=tmp_path / "other", **{**env, **url, **password})
        said += done.stdout + done.stderr
    hidden = [*SECRETS.values(), *IN_URLS.values()]
    assert [one for one in hidden if one in said] == []
    assert "***@" in said and "ROOST_TELEGRAM__TOKEN" in said
