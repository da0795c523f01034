"""The Cloud API adapter: Meta's payloads as documented, and conversations with its fake."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from roost_channels.channel import Outgoing
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.courier import Courier
from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    DeliveryError,
    NotSent,
    Rejected,
    RenderRejected,
    Throttled,
    Unreachable,
    WindowClosed,
)
from roost_channels.intake import Refusal
from roost_channels.message import Address, Button, InboundMessage, Media, Quote, ReplyTarget
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing import FakeCloud, PairLimit, StatusPlan, VirtualClock
from roost_channels.testing.memory.files import MemoryFiles
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.testing.memory.receipts import MemoryReceipts
from roost_channels.whatsapp.window import INVITATION
from roost_channels.whatsapp_cloud.channel import WhatsAppCloudChannel
from roost_channels.whatsapp_cloud.config import WhatsAppCloudConfig
from roost_channels.whatsapp_cloud.errors import by_code
from roost_channels.whatsapp_cloud.inbound import BODY_BYTES_MAX, CloudWebhooks

NUMBER = "106540352242922"
USER = "whatsapp:+16505551234"
ADDRESS = Address("whatsapp", NUMBER, USER)
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, reconcile_s=0.2)
INSTANT = StatusPlan(0.0, 0.0, 0.0)


def settings(**fields: Any) -> WhatsAppCloudConfig:
    known = {
        "access_token": "test-access-token",
        "phone_number_id": NUMBER,
        "app_secret": "test-app-secret",
        "verify_token": "open sesame",
    }
    return WhatsAppCloudConfig.model_validate(known | fields)


class Site:
    """The web port as Meta reaches it."""

    def __init__(self) -> None:
        self.intake = MemoryIntake()
        self.hooks = CloudWebhooks(settings(window_template="ready"), self.intake)
        self.statuses: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        reply = await self.hooks.receive(request.headers, await request.read())
        self.statuses.append(reply.status)
        return web.Response(status=reply.status, body=reply.body)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    app = web.Application()
    app.router.add_post("/hook", found.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield found
    await runner.cleanup()


@pytest.fixture
async def cloud(site: Site) -> AsyncIterator[FakeCloud]:
    ready = {"ready": "Your result is ready, reply to view."}
    async with FakeCloud(webhook_url=site.url, status_plan=INSTANT, templates=ready) as server:
        yield server


@pytest.fixture
async def channel(cloud: FakeCloud) -> AsyncIterator[WhatsAppCloudChannel]:
    config = settings(api_base=cloud.base_url, window_template="ready")
    found = WhatsAppCloudChannel(config, clock=VirtualClockThatRuns())
    yield found
    await found.close()


class VirtualClockThatRuns(VirtualClock):
    """Sleeps take no real time."""

    async def sleep(self, seconds: float) -> None:
        self._now += seconds


def newest(intake: MemoryIntake) -> InboundMessage:
    return list(intake.messages.values())[-1]


# Webhooks as Meta documents them ------------------------------------------------------------------

TEXT = {
    "from": "16505551234",
    "id": "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA=",
    "timestamp": "1749416383",
    "type": "text",
    "text": {"body": "Does it come in another color?"},
}
CONTACT = {"profile": {"name": "Sheena Nelson"}, "wa_id": "16505551234"}


def payload(*messages: dict[str, Any], number: str = NUMBER, **value: Any) -> bytes:
    inner = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": number},
        "contacts": [CONTACT],
        "messages": list(messages),
        **value,
    }
    changes = [{"value": inner, "field": "messages"}]
    whole = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "102290129340398", "changes": changes}],
    }
    return json.dumps(whole).encode()


def signed(body: bytes, secret: str = "test-app-secret") -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}"}


async def take(*messages: dict[str, Any], **value: Any) -> MemoryIntake:
    """What the intake has after one signed webhook."""
    intake = MemoryIntake()
    body = payload(*messages, **value)
    reply = await CloudWebhooks(settings(window_template="ready"), intake).receive(
        signed(body), body
    )
    assert reply.status == 200
    return intake


async def test_the_documented_text_message_is_read_whole() -> None:
    found = newest(await take(TEXT))
    assert found.address == ADDRESS and found.text == "Does it come in another color?"
    assert found.event_id == found.message_id == TEXT["id"]
    assert (found.sender.address, found.sender.display_name) == (USER, "Sheena Nelson")
    assert found.sent_at == 1749416383.0 and found.raw == TEXT and found.quote is None


@pytest.mark.parametrize(
    ("content", "text", "kind", "attachments"),
    [
        (
            {"type": "image", "image": {"id": "1", "mime_type": "image/jpeg", "caption": "this"}},
            "this",
            "message",
            [("photo", "1")],
        ),
        ({"type": "audio", "audio": {"id": "2", "voice": True}}, "", "message", [("voice", "2")]),
        ({"type": "audio", "audio": {"id": "2"}}, "", "message", [("audio", "2")]),
        (
            {"type": "document", "document": {"id": "3", "filename": "a.pdf"}},
            "",
            "message",
            [("document", "3")],
        ),
        ({"type": "sticker", "sticker": {"id": "4"}}, "", "message", [("sticker", "4")]),
        (
            {"type": "location", "location": {"latitude": 1.5, "longitude": 2, "name": "Here"}},
            "",
            "message",
            [("location", "")],
        ),
        (
            {"type": "contacts", "contacts": [{"name": {"formatted_name": "Ben"}}]},
            "",
            "message",
            [("contact", "")],
        ),
        (
            {
                "type": "interactive",
                "interactive": {
                    "type": "button_reply",
                    "button_reply": {"id": "y", "title": "Yes"},
                },
            },
            "Yes",
            "message",
            [],
        ),
        (
            {
                "type": "interactive",
                "interactive": {"type": "list_reply", "list_reply": {"id": "a", "title": "First"}},
            },
            "First",
            "message",
            [],
        ),
        (
            {
                "type": "interactive",
                "interactive": {
                    "type": "button_reply",
                    "button_reply": {"id": "stop:t1", "title": "Stop"},
                },
            },
            "stop:t1",
            "callback",
            [],
        ),
        ({"type": "button", "button": {"text": "No", "payload": "n"}}, "No", "message", []),
        ({"type": "reaction", "reaction": {"message_id": "w", "emoji": "👍"}}, "", "other", []),
        (
            {
                "type": "edit",
                "edit": {
                    "original_message_id": "wamid.old",
                    "message": {"type": "text", "text": {"body": "now so"}},
                },
            },
            "now so",
            "edited",
            [],
        ),
        ({"type": "revoke", "revoke": {"original_message_id": "wamid.old"}}, "", "other", []),
        ({"type": "system", "system": {"body": "changed number"}}, "", "other", []),
        (
            {"type": "unsupported", "errors": [{"code": 131051, "title": "Unsupported"}]},
            "",
            "message",
            [("unsupported", "")],
        ),
        ({"type": "hologram", "hologram": {}}, "", "message", [("hologram", "")]),
        ({}, "", "message", [("message", "")]),
    ],
)
async def test_every_type_of_message_is_taken(
    content: dict[str, Any], text: str, kind: str, attachments: list[tuple[str, str]]
) -> None:
    base = {"from": "16505551234", "id": "wamid.1", "timestamp": "1749416383"}
    found = newest(await take(base | content))
    assert (found.text, found.kind) == (text, kind)
    assert [(a.kind, a.provider_id) for a in found.attachments] == attachments
    assert found.message_id == ("wamid.old" if kind == "edited" else "wamid.1")
    assert found.event_id == "wamid.1"


async def test_people_without_a_phone_number_are_known_by_their_business_scoped_id() -> None:
    anonymous = {k: v for k, v in TEXT.items() if k != "from"} | {"from_user_id": "US.1349"}
    contact = {"profile": {"name": "S", "username": "@sheena"}, "user_id": "US.1349"}
    found = newest(await take(anonymous, contacts=[contact]))
    assert found.address.chat == found.sender.address == "whatsapp:US.1349"
    assert (found.sender.username, found.sender.aliases) == ("@sheena", ())
    both = newest(await take(TEXT, contacts=[CONTACT | {"user_id": "US.1349"}]))
    assert both.sender.address == USER and both.sender.aliases == ("whatsapp:US.1349",)


async def test_receipts_carry_our_part_and_what_a_failure_means() -> None:
    def status(name: str, *codes: int) -> dict[str, Any]:
        errors = [{"code": c, "title": "T", "error_data": {"details": "D"}} for c in codes]
        return {
            "id": "wamid.out",
            "status": name,
            "recipient_id": "16505551234",
            "biz_opaque_callback_data": "part-1",
            **({"errors": errors} if errors else {}),
        }

    statuses = [status("sent"), *(status("failed", c) for c in (131047, 131056, 131053, 131026))]
    intake = await take(statuses=statuses)
    assert [(r.part_id, r.message_id, r.status) for r in intake.receipts] == [
        ("part-1", "wamid.out", name) for name in ("sent", *["failed"] * 4)
    ]
    assert [r.refusal for r in intake.receipts] == [
        None,
        Refusal(held=True, invitation=INVITATION),
        Refusal(retry_after_s=60.0),
        Refusal(of_content=True),
        None,
    ]


async def test_what_is_not_for_this_number_or_not_readable_changes_nothing() -> None:
    assert not (await take(TEXT, number="999")).messages
    assert not (await take({"type": "text"}, contacts="x", statuses=[{"status": "sent"}])).messages
    intake = await take(errors=[{"code": 130429, "title": "Rate limit hit"}])
    assert intake.states == [("degraded", "Rate limit hit")]
    hooks = CloudWebhooks(settings(), intake)
    for body in (b"[]", b"{", b"\xff"):
        assert (await hooks.receive(signed(body), body)).status == 400
    assert (await hooks.receive({}, b"x" * (BODY_BYTES_MAX + 1))).status == 413


# From Meta's own description of the header: computed once by another program (openssl dgst).
VECTOR = (
    b'{"object":"whatsapp_business_account","entry":[]}',
    "sha256=db780e74b7152a02fc0b09479909f9711f095199be060883718889797fa8638d",
)


async def test_the_signature_is_the_one_that_openssl_computes() -> None:
    body, header = VECTOR
    hooks = CloudWebhooks(settings(app_secret="s3cr3t"), MemoryIntake())
    assert (await hooks.receive({"x-hub-signature-256": header}, body)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": "sha256=ünïcode"},
        signed(payload(TEXT), "another secret"),
        signed(payload(TEXT) + b" "),
        {"X-Hub-Signature": signed(payload(TEXT))["X-Hub-Signature-256"]},
        {"X-Hub-Signature-256": signed(payload(TEXT))["X-Hub-Signature-256"][7:]},
    ],
)
async def test_a_wrong_signature_is_refused_and_stores_nothing(headers: dict[str, str]) -> None:
    intake = MemoryIntake()
    reply = await CloudWebhooks(settings(), intake).receive(headers, payload(TEXT))
    assert reply.status == 403 and not intake.messages


def test_metas_question_is_answered_only_with_our_word() -> None:
    hooks = CloudWebhooks(settings(), MemoryIntake())
    asked = {"hub.mode": "subscribe", "hub.verify_token": "open sesame", "hub.challenge": "1158"}
    assert (hooks.verify(asked).status, hooks.verify(asked).body) == (200, b"1158")
    for wrong in ({"hub.verify_token": "ünïcode"}, {"hub.mode": "x"}, {"hub.verify_token": ""}):
        assert hooks.verify(asked | wrong).status == 403


# With the fake ----------------------------------------------------------------------------------


async def test_a_batch_is_acknowledged_once_all_of_it_is_stored(
    cloud: FakeCloud, site: Site
) -> None:
    site.intake.faults.append(RuntimeError("database is locked"))
    async with cloud.batch():
        await cloud.user_says(USER, "one")
        await cloud.user_says("whatsapp:+15550002222", "two")
    assert site.statuses == [500, 200]
    assert [m.text for m in site.intake.messages.values()] == ["one", "two"]
    cloud.fault("duplicate_update", "inbound")
    await cloud.user_says(USER, "three")
    assert len(site.intake.messages) == 3


async def test_quotes_are_resolved_from_storage_or_marked(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "hi")
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("part two")))
    whole = Quote(sent.message_id, "bot", "part one part two", "part two", 9)
    site.intake.quotes[USER, sent.message_id] = whole
    await cloud.user_says(USER, "why?", reply_to=sent.message_id)
    assert newest(site.intake).quote == whole
    await cloud.user_says(USER, "and this?", reply_to="wamid.unknown")
    assert newest(site.intake).quote == Quote("wamid.unknown", "other", "", "", resolved=False)
    await cloud.user_says(USER, "look", forwarded=True)
    assert newest(site.intake).quote is None


async def test_an_answer_quotes_natively_carries_its_part_and_shows_typing(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    asked = await cloud.user_says(USER, "how?")
    await channel.indicate(ADDRESS, inbound_message_id=asked)
    assert cloud.typing(USER) and cloud.messages[asked].is_read
    reply = ReplyTarget(asked, author="Ada", excerpt="how?", is_latest=False)
    await channel.send(Outgoing(ADDRESS, RenderedPart("*so*"), reply_to=reply, part_id="part/1 ü"))
    await cloud.settled()
    shown = cloud.visible(USER)[-1]
    assert (shown.body, shown.reply_to, shown.status) == ("*so*", (asked, "how?"), "read")
    assert not cloud.typing(USER)
    await cloud.until(lambda: len(site.intake.receipts) == 3)
    assert {r.part_id for r in site.intake.receipts} == {"part/1 ü"}
    foreign = ReplyTarget("SM1", author="Ada", excerpt="how?", is_latest=False)
    await channel.send(Outgoing(ADDRESS, RenderedPart("again"), reply_to=foreign))
    assert "context" not in cloud.calls_of("messages")[-1].parameters


async def test_buttons_become_replies_or_a_list_and_come_back_when_pressed(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "hi")
    few = [Button("Stop what you are doing now", "stop:t1"), Button("Go on", "go")]
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("Well?"), buttons=few))
    await cloud.settled()
    await cloud.press(USER, sent.message_id, "stop:t1")
    assert (newest(site.intake).kind, newest(site.intake).text) == ("callback", "stop:t1")
    assert newest(site.intake).answered_in_chat
    many = [Button(f"Choice number {n}, rather long", f"c{n}") for n in range(12)]
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("Which?"), buttons=many))
    await cloud.settled()
    assert len(cloud.visible(USER)[-1].buttons) == 10
    await cloud.press(USER, sent.message_id, "c9")
    assert newest(site.intake).text == "Choice number 9, rather "
    assert newest(site.intake).quote is not None


async def test_an_anonymous_person_is_answered_by_their_id(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    cloud.add_user(user_id="US.1349")
    await cloud.user_says("whatsapp:US.1349", "hi")
    address = newest(site.intake).address
    await channel.send(Outgoing(address, RenderedPart("hello")))
    await cloud.settled()
    assert cloud.bot_texts("whatsapp:US.1349") == ["hello"]
    assert cloud.calls_of("messages")[-1].parameters["recipient"] == "US.1349"


async def test_files_are_fetched_with_the_token_and_within_bounds(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "look", media=[(b"x" * 1000, "image/png")])
    [photo] = newest(site.intake).attachments
    assert (photo.kind, photo.mime_type, photo.is_file) == ("photo", "image/png", True)
    assert await channel.download(photo, 1000) == b"x" * 1000
    with pytest.raises(Rejected):
        await channel.download(photo, 999)
    for fault, kind in (("http_502", NotSent), ("drop_before", NotSent), ("garbage", NotSent)):
        cloud.fault(fault, "media.info")  # type: ignore[arg-type]
        with pytest.raises(kind):
            await channel.download(photo, 1000)
    cloud.core.media.clear()
    with pytest.raises(Rejected):
        await channel.download(photo, 1000)


@pytest.mark.parametrize(
    ("kind", "mime_type", "size", "caption", "sent_as"),
    [
        ("photo", "image/png", 4, "", "image"),
        ("photo", "image/png", 6 * 1024 * 1024, "", "document"),
        ("photo", "image/webp", 4, "", "document"),
        ("video", "video/mp4", 4, "a film", "video"),
        ("voice", "audio/ogg; codecs=opus", 4, "", "audio"),
        ("voice", "audio/ogg", 4, "(may be a repeat)", "document"),
        ("document", "", 4, "", "document"),
    ],
)
async def test_files_are_uploaded_and_shown_as_what_whatsapp_can_show(
    cloud: FakeCloud, kind: Any, mime_type: str, size: int, caption: str, sent_as: str
) -> None:
    files = MemoryFiles({"bcd": b"\x00\xff" * 2})
    channel = WhatsAppCloudChannel(settings(api_base=cloud.base_url), files=files)
    await cloud.user_says(USER, "send it")
    part = RenderedPart(caption, (), 0, 0, Media("bcd", kind, "a file", mime_type, size))
    sent = await channel.send(Outgoing(ADDRESS, part))
    message = cloud.messages[sent.message_id]
    assert (message.type, message.body) == (sent_as, caption)
    kept = cloud.core.media[message.media[0]]
    assert (kept.data, kept.filename) == (b"\x00\xff" * 2, "a file")
    named = cloud.calls_of("messages")[-1].parameters[sent_as].get("filename")
    assert named == ("a file" if sent_as == "document" else None)
    cloud.fault("http_500", "media.upload")
    with pytest.raises(NotSent):
        await channel.send(Outgoing(ADDRESS, part))
    files.data.clear()
    with pytest.raises(Rejected):
        await channel.send(Outgoing(ADDRESS, part))
    await channel.close()


async def test_the_template_reaches_people_outside_the_window(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "hi")
    cloud.close_window(USER)
    await channel.send(Outgoing(ADDRESS, RenderedPart("late"), part_id="p1"))
    await cloud.settled()
    await cloud.until(lambda: site.intake.receipts)
    assert site.intake.receipts[-1].refusal == Refusal(held=True, invitation=INVITATION)
    await channel.invite(ADDRESS, part_id="p2")
    await cloud.settled()
    assert cloud.bot_texts(USER) == ["Your result is ready, reply to view."]


async def test_a_reaction_that_is_set_shows_under_the_persons_message(cloud: FakeCloud) -> None:
    asked = await cloud.user_says(USER, "how?")
    channel = WhatsAppCloudChannel(settings(api_base=cloud.base_url, reaction="👀"))
    assert channel.capabilities.reaction == "👀"
    await channel.react(ADDRESS, asked)
    [shown] = cloud.visible(USER)
    assert shown.reactions == ("👀",)
    with pytest.raises(DeliveryError):
        await channel.react(ADDRESS, "wamid.unknown")
    await channel.close()


async def test_the_account_tells_whether_its_token_works(cloud: FakeCloud) -> None:
    for token, state in (("test-access-token", "up"), ("wrong", "auth_error")):
        config = settings(api_base=cloud.base_url, access_token=token)
        channel, intake = WhatsAppCloudChannel(config), MemoryIntake()
        await channel.ingest(intake)
        assert intake.states[-1][0] == state
        await channel.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("drop_before", Ambiguous),
        ("drop_after", Ambiguous),
        ("http_502", Ambiguous),
        ("http_500", Ambiguous),
        ("garbage", Ambiguous),
        ("rate_limit", Throttled),
        ("unauthorized", AuthBroken),
    ],
)
async def test_every_failure_of_a_send_has_its_kind(
    cloud: FakeCloud, channel: WhatsAppCloudChannel, fault: Any, kind: type[DeliveryError]
) -> None:
    cloud.fault(fault, "messages", value=3)
    with pytest.raises(DeliveryError) as caught:
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    assert type(caught.value) is kind
    if isinstance(caught.value, Throttled):
        assert caught.value.retry_after_s == 3.0 and caught.value.is_account_wide


async def test_refusals_say_what_can_be_done(
    cloud: FakeCloud, channel: WhatsAppCloudChannel
) -> None:
    too_long = RenderedPart("x" * 4097)
    with pytest.raises(RenderRejected) as without_reply:
        await channel.send(Outgoing(ADDRESS, too_long, reply_to=ReplyTarget("wamid.1")))
    assert without_reply.value.code == "reply"
    with pytest.raises(Rejected) as for_good:
        await channel.send(Outgoing(ADDRESS, too_long))
    assert for_good.value.code == "131009" and "4096" in str(for_good.value)
    cloud.settings.templates.clear()
    with pytest.raises(Rejected):
        await channel.invite(ADDRESS, part_id="p")
    cloud.settings.pair_limit = PairLimit(1, 6.0)
    await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    with pytest.raises(Throttled) as limited:
        await channel.send(Outgoing(ADDRESS, RenderedPart("y")))
    assert (limited.value.code, limited.value.retry_after_s) == ("131056", 6.0)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (131047, WindowClosed),
        ("131056", Throttled),
        (130429, Throttled),
        (131026, Unreachable),
        (190, AuthBroken),
        (200, AuthBroken),
        (368, AuthBroken),
        (131009, Rejected),
        (None, Rejected),
    ],
)
def test_codes_have_meanings(code: Any, kind: type[DeliveryError]) -> None:
    assert type(by_code(code, "words")) is kind


@pytest.mark.parametrize(
    ("code", "of_the_account"), [(130429, True), (80007, True), (131056, False)]
)
def test_a_limit_of_the_number_holds_every_chat_and_one_of_a_pair_only_its_own(
    code: int, of_the_account: bool
) -> None:
    error = by_code(code, "words")
    assert isinstance(error, Throttled) and error.is_account_wide is of_the_account


async def test_a_refused_connection_proves_that_nothing_was_sent(cloud: FakeCloud) -> None:
    channel = WhatsAppCloudChannel(settings(api_base=cloud.base_url))
    await cloud.stop()
    with pytest.raises(NotSent):
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    await channel.close()


async def test_the_courier_needs_nothing_else_a_long_answer_comes_in_order(
    cloud: FakeCloud, site: Site
) -> None:
    asked = await cloud.user_says(USER, "tell me")
    outbox = MemoryOutbox()
    config = settings(api_base=cloud.base_url)
    channel = WhatsAppCloudChannel(config, receipts=MemoryReceipts(outbox, site.intake))
    text = " ".join(f"word{n}" for n in range(1500))
    entry = outbox.add(ADDRESS, text, reply_to=ReplyTarget(asked, author="Ada", excerpt="tell me"))
    courier = Courier([channel], outbox, "c", config=QUICK)
    async with asyncio.timeout(30):
        while not outbox.parts[entry.id] or set(outbox.states(entry)) != {"sent"}:
            await courier.drain()
            await asyncio.sleep(0.01)
    await cloud.settled()
    assert " ".join(cloud.bot_texts(USER)).split() == text.split()
    quoting = [shown.reply_to for shown in cloud.visible(USER) if shown.sender == "bot"]
    assert quoting[0] == (asked, "tell me") and not any(quoting[1:])
    await channel.close()
