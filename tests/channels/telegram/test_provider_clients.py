"""aiogram and twilio over our HTTP: what leaves, what comes back, and what they cost to import."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from roost_channels.channel import Outgoing
from roost_channels.errors import Ambiguous, AuthBroken, DeliveryError, NotSent, Rejected
from roost_channels.http.bodies import ANSWER_BYTES_MAX
from roost_channels.kinds import ChatCommand
from roost_channels.message import Address, Media, ReplyTarget
from roost_channels.rendering.parts import Entity, RenderedPart
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.client import IDENTIFY_AGAIN_S, TelegramClient
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.registration import register_commands
from roost_channels.testing.memory.files import MemoryFiles
from roost_channels.whatsapp.client import TwilioClient
from roost_channels.whatsapp.config import TwilioConfig

COMMANDS = (ChatCommand("new", "Start anew"),)
TELEGRAM = TelegramConfig.model_validate({"token": "42:SECRET"})
SID = "AC" + "0" * 32
TWILIO = TwilioConfig(account_sid=SID, auth_token=SecretStr("secret"), from_="whatsapp:+15550001")
CLOUD = {"access_token": "t", "phone_number_id": "1", "app_secret": "s", "verify_token": "v"}
CHAT, HELLO = Address("telegram", "42", "7"), RenderedPart("hello")
FORM = {"To": "whatsapp:+15550002", "From": "whatsapp:+15550001", "Body": "hello"}
TOO_LONG = b'{"ok": true, "result": "' + b"x" * ANSWER_BYTES_MAX + b'"}'


class Wire:
    """Answers requests as `answer` says, and keeps them."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.requests: list[httpx2.Request] = []
        self._answer = answer
        self.transport = httpx2.MockTransport(self._take)

    def _take(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self._answer(request)

    def channel(self) -> TelegramChannel:
        return TelegramChannel(TELEGRAM, client=TelegramClient(TELEGRAM, transport=self.transport))

    def twilio(self) -> TwilioClient:
        return TwilioClient(TWILIO, transport=self.transport)


def always(*args: Any, **fields: Any) -> Wire:
    return Wire(lambda request: httpx2.Response(*args, **fields))


@pytest.mark.parametrize(
    "message",
    [
        {"message_id": 5},
        {"message_id": 5, "date": "soon", "chat": ["of another shape"], "later": {"than": "us"}},
        {"message_id": "5", "entities": 7},
    ],
)
async def test_an_answer_that_aiogram_refuses_proves_the_send(message: Any) -> None:
    wire = always(200, json={"ok": True, "result": message, "new_envelope": 1})
    assert (await wire.channel().send(Outgoing(CHAT, HELLO))).message_id == "5"


@pytest.mark.parametrize("result", [True, None, [], {}, {"date": 1}])
async def test_a_success_without_a_message_id_is_ambiguous(result: Any) -> None:
    with pytest.raises(Ambiguous):
        await always(200, json={"ok": True, "result": result}).channel().send(Outgoing(CHAT, HELLO))


async def test_a_clock_that_is_set_back_does_not_keep_the_bots_name_unknown() -> None:
    class Clock:
        def __init__(self) -> None:
            self.wall = self.passed = 100_000.0

        def time(self) -> float:
            return self.wall

        def steady(self) -> float:
            return self.passed

        async def sleep(self, seconds: float) -> None:
            raise AssertionError

    me = {"id": 42, "is_bot": True, "first_name": "Roost", "username": "roost_bot"}
    answers = iter([httpx2.Response(502), httpx2.Response(200, json={"ok": True, "result": me})])
    clock, wire = Clock(), Wire(lambda request: next(answers))
    client = TelegramClient(TELEGRAM, clock, transport=wire.transport)
    assert await client.username() == ""
    clock.wall -= 900.0
    clock.passed += IDENTIFY_AGAIN_S / 2
    assert await client.username() == "" and len(wire.requests) == 1
    clock.passed += IDENTIFY_AGAIN_S
    assert await client.username() == "roost_bot"


async def test_a_file_goes_with_its_name_and_type_and_the_rest_as_fields() -> None:
    wire = always(200, json={"ok": True, "result": {"message_id": 5}})
    files = MemoryFiles()
    files.data["A1"] = b"the bytes"
    client = TelegramClient(TELEGRAM, transport=wire.transport)
    channel = TelegramChannel(TELEGRAM, client=client, files=files)
    photo = Media("A1", "photo", "sunset.png", "image/png", 9)
    entity = Entity("bold", 0, 5)
    caption = RenderedPart("hello", entities=(entity,), media=photo)
    await channel.send(Outgoing(CHAT, caption, reply_to=ReplyTarget("3"), silent=True))
    body = wire.requests[0].content.decode()
    assert 'filename="sunset.png"\r\nContent-Type: image/png\r\n\r\nthe bytes' in body
    fields = dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', body))
    assert fields.pop("photo").startswith("attach://")
    assert {name: json.loads(value) for name, value in fields.items() if name != "caption"} == {
        "chat_id": 7,
        "caption_entities": [{"type": "bold", "offset": 0, "length": 5}],
        "disable_notification": True,
        "reply_parameters": {"message_id": 3, "allow_sending_without_reply": True},
    }


@pytest.mark.parametrize("told", [[{}], True, 5, {"commands": []}, "none", None])
async def test_commands_of_another_shape_are_registered_anew(told: object) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        is_question = request.url.path.endswith("/getMyCommands")
        return httpx2.Response(200, json={"ok": True, "result": told if is_question else False})

    wire = Wire(answer)
    await register_commands(TelegramClient(TELEGRAM, transport=wire.transport), COMMANDS)
    assert [r.url.path.rpartition("/")[2] for r in wire.requests] == [
        "getMyCommands",
        "setMyCommands",
    ]


@pytest.mark.parametrize(
    ("status", "send", "edit"),
    [(302, Ambiguous, NotSent), (502, Ambiguous, NotSent), (413, Rejected, Rejected)],
)
async def test_telegrams_token_follows_no_redirect_and_pages_are_no_answers(
    status: int, send: type[DeliveryError], edit: type[DeliveryError]
) -> None:
    wire = always(status, headers={"location": "https://elsewhere.example/x"}, content=b"<html>")
    with pytest.raises(send):
        await wire.channel().send(Outgoing(CHAT, HELLO))
    with pytest.raises(edit):
        await wire.channel().edit("3", Outgoing(CHAT, HELLO))
    assert {request.url.host for request in wire.requests} == {"api.telegram.org"}


@pytest.mark.parametrize("status", [200, 500])
async def test_answers_are_read_no_further_than_their_bound(status: int) -> None:
    with pytest.raises(Ambiguous):
        await always(status, content=TOO_LONG).channel().send(Outgoing(CHAT, HELLO))
    with pytest.raises(Ambiguous):
        await always(status, content=TOO_LONG).twilio().create_message(FORM)


async def test_a_download_ends_at_its_bound_and_redirects_nowhere() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/getFile"):
            return httpx2.Response(200, json={"ok": True, "result": {"file_path": "photos/1"}})
        return httpx2.Response(200, content=b"12345")

    client = TelegramClient(TELEGRAM, transport=Wire(answer).transport)
    assert await client.download("f", 5) == b"12345"
    with pytest.raises(Rejected):
        await client.download("f", 4)
    moved = always(302, headers={"location": "https://elsewhere.example/x"})
    with pytest.raises(DeliveryError):
        await TelegramClient(TELEGRAM, transport=moved.transport).download("f", 5)
    assert len(moved.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"sid": "SM1", "date_created": 20261129, "price": {}, "error_code": "none"},
        {"sid": "SM1", "date_sent": "Thu, 45 Brumaire 2026 99:00:00 +0000"},
    ],
)
async def test_an_answer_that_twilios_classes_refuse_proves_the_send(answer: Any) -> None:
    wire = always(201, json=answer)
    assert (await wire.twilio().create_message(FORM))["sid"] == "SM1"
    [request] = wire.requests
    assert request.headers["x-twilio-client"].startswith("python-")


@pytest.mark.parametrize(
    ("status", "content", "create", "fetch"),
    [
        (201, b"<html>", Ambiguous, NotSent),
        (201, b"[]", Ambiguous, NotSent),
        (500, b"", Ambiguous, NotSent),
        (307, b"", Rejected, Rejected),
        (401, b"{}", AuthBroken, AuthBroken),
    ],
)
async def test_what_twilio_says_otherwise_has_its_kind(
    status: int, content: bytes, create: type[DeliveryError], fetch: type[DeliveryError]
) -> None:
    wire = always(status, headers={"location": "https://elsewhere.example/x"}, content=content)
    with pytest.raises(create):
        await wire.twilio().create_message(FORM)
    with pytest.raises(fetch):
        await wire.twilio().fetch_message("SM1")
    assert {request.url.host for request in wire.requests} == {"api.twilio.com"}


async def test_twilios_credentials_reach_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_EDGE", "elsewhere")
    monkeypatch.setenv("TWILIO_REGION", "elsewhere")

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.host == "cdn.example":
            return httpx2.Response(200, content=b"a photo")
        if request.url.path.endswith("/Media/ME1"):
            return httpx2.Response(307, headers={"location": "https://cdn.example/photo"})
        following = "https://elsewhere.example/v1/Content?PageToken=two"
        is_first = "PageToken" not in request.url.params
        meta = {"meta": {"next_page_url": following if is_first else None}}
        return httpx2.Response(200, json={"contents": [], "next_page_uri": following, **meta})

    wire = Wire(answer)
    client = wire.twilio()
    url = f"https://elsewhere.example/2010-04-01/Accounts/{SID}/Messages/MM1/Media/ME1"
    assert await client.fetch_media(url, 100) == b"a photo"
    await client.contents_named("roost_", 10, 3)
    await client.page_of_messages({"To": "x"})
    await client.page_of_messages({}, "https://elsewhere.example/2010?PageToken=two")
    asked = {request.url.host: "authorization" in request.headers for request in wire.requests}
    assert asked == {"api.twilio.com": True, "content.twilio.com": True, "cdn.example": False}


async def test_calls_have_time_limits() -> None:
    seen: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.extensions["timeout"]["read"])
        return httpx2.Response(200, json={"ok": True, "result": {"message_id": 1}, "sid": "SM1"})

    wire = Wire(answer)
    await wire.channel().send(Outgoing(CHAT, HELLO))
    await wire.channel().indicate(CHAT)
    await wire.twilio().create_message(FORM)
    await wire.twilio().indicate_typing("SM0")
    await wire.twilio().fetch_message("SM0", timeout_s=3)
    assert seen == [30, 5, 20, 5, 3]


def in_a_process_of_its_own(code: str) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("settings", "loaded"),
    [
        ({}, "[]"),
        ({"telegram": {"token": "42:x"}}, "['aiogram']"),
        ({"twilio": {"account_sid": SID, "auth_token": "t", "from_": "whatsapp:+1"}}, "['twilio']"),
        ({"whatsapp_cloud": CLOUD}, "[]"),
    ],
)
def test_a_provider_is_imported_where_its_channel_is_configured(
    settings: dict[str, Any], loaded: str
) -> None:
    code = f"""
import sys
import roost_channels.telegram, roost_channels.whatsapp
from roost_platform.settings.config import settings_model
from roost_platform.wiring.courier import build_channels
build_channels(settings_model().model_validate({settings!r}))
print([name for name in ("aiogram", "twilio") if name in sys.modules])
"""
    assert in_a_process_of_its_own(code) == loaded


def test_aiograms_types_are_built_when_they_are_first_used() -> None:
    code = """
from pydantic import BaseModel
before = vars(BaseModel)["model_rebuild"], dict(BaseModel.model_config)
import roost_channels.telegram.channel
assert (vars(BaseModel)["model_rebuild"], dict(BaseModel.model_config)) == before
from aiogram import methods, types
models = [vars(types)[name] for name in types.__all__] + [vars(methods)[n] for n in methods.__all__]
models = [one for one in models if isinstance(one, type) and issubclass(one, BaseModel)]
print(len(models) > 400, sum(one.__pydantic_complete__ for one in models) < 20)
# Whoever else uses aiogram in this process finds it whole.
chat = {"id": 7, "type": "private"}
update = types.Update.model_validate(
    {"update_id": 1, "message": {"message_id": 2, "date": 3, "chat": chat}}
)
print(update.message.chat.id, methods.SendPoll(chat_id=7, question="?", options=["a"]).question)
"""
    assert in_a_process_of_its_own(code) == "True True\n7 ?"
