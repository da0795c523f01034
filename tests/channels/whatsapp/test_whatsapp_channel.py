"""The WhatsApp adapter against Twilio's API on loopback: signatures, quotes, order, proof."""

import asyncio
import base64
import hmac
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web

from roost_channels.channel import Outgoing
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.limits import Limiter
from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    DeliveryError,
    NotSent,
    Rejected,
    Throttled,
    Unreachable,
    WindowClosed,
)
from roost_channels.message import Address, InboundMessage, Quote, Receipt, ReplyTarget
from roost_channels.rendering.parts import RenderedPart, utf16_length
from roost_channels.rendering.quote_line import QUOTE_PREFIX_MAX, quote_prefix
from roost_channels.testing import FakeTwilio
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.testing.memory.receipts import MemoryReceipts
from roost_channels.webhook import WebhookReply
from roost_channels.whatsapp.channel import ABSENT_AFTER_S, WhatsAppChannel, body_of
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.errors import by_code
from roost_channels.whatsapp.inbound import TwilioWebhooks

USER = "whatsapp:+15551112222"
SENDER = "whatsapp:+15550001000"
ADDRESS = Address("whatsapp", SENDER, USER)
BASE = "https://roost.example"
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, reconcile_s=0.2)


def settings(twilio: FakeTwilio, **fields: Any) -> TwilioConfig:
    return TwilioConfig.model_validate(
        {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "from": twilio.sender,
            "api_base": twilio.base_url,
            **fields,
        }
    )


class Site:
    """The web port as Twilio reaches it: our webhooks behind a real HTTP server."""

    def __init__(self) -> None:
        self.intake = MemoryIntake()
        self.hooks: TwilioWebhooks | None = None
        self.base_url = ""
        self.replies: list[WebhookReply] = []

    async def handle(self, request: web.Request) -> web.Response:
        assert self.hooks is not None
        answer = self.hooks.inbound if request.path.endswith("inbound") else self.hooks.status
        reply = await answer(request.path_qs, request.headers, await request.read())
        self.replies.append(reply)
        return web.Response(status=reply.status, body=reply.body)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    app = web.Application()
    app.router.add_post("/hooks/twilio/{which}", found.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    if found.hooks is not None:
        await found.hooks.close()
    await runner.cleanup()


@pytest.fixture
async def twilio(site: Site) -> AsyncIterator[FakeTwilio]:
    async with FakeTwilio(webhook_url=f"{site.base_url}/hooks/twilio/inbound") as server:
        site.hooks = TwilioWebhooks(settings(server), site.base_url, site.intake)
        yield server
        assert server.complaints == []


@pytest.fixture
async def channel(twilio: FakeTwilio, site: Site) -> AsyncIterator[WhatsAppChannel]:
    await twilio.user_says(USER, "hello")
    found = WhatsAppChannel(settings(twilio), public_base_url=site.base_url)
    yield found
    await found.close()


def newest(intake: MemoryIntake) -> InboundMessage:
    return list(intake.messages.values())[-1]


# Inbound ----------------------------------------------------------------------------------------


async def test_a_signed_message_is_stored_and_answered_with_empty_twiml(
    twilio: FakeTwilio, site: Site
) -> None:
    sid = await twilio.user_says(USER, "hello  ", profile_name="Ada")
    found = newest(site.intake)
    assert (found.text, found.event_id, found.message_id) == ("hello  ", sid, sid)
    assert found.address == ADDRESS and found.sender.display_name == "Ada"
    assert found.raw["MessageSid"] == sid
    assert site.replies[-1].status == 200 and b"<Response/>" in site.replies[-1].body


async def test_a_redelivery_carries_the_same_event_id(twilio: FakeTwilio, site: Site) -> None:
    twilio.fault("duplicate_update", "inbound")
    await twilio.user_says(USER, "once")
    assert len(site.replies) == 2 and len(site.intake.messages) == 1


def sign(url: str, form: Mapping[str, str], key: str, digest: str = "sha1") -> str:
    """Written from Twilio's documentation, apart from its library."""
    words = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.new(key.encode(), words.encode(), digest).digest()).decode()


FORM = {"AccountSid": "AC1", "MessageSid": "SM1", "From": USER, "To": SENDER, "Body": "a & b"}
PATH = "/hooks/twilio/inbound"
URL = BASE + PATH


def hooks(intake: MemoryIntake, **fields: Any) -> TwilioWebhooks:
    known = {"account_sid": "AC1", "auth_token": "token", "from": SENDER, **fields}
    return TwilioWebhooks(TwilioConfig.model_validate(known), BASE, intake)


async def test_both_signature_methods_are_accepted() -> None:
    intake = MemoryIntake()
    webhooks = hooks(intake, shared_keys={"key-1": "shared"})
    body = urlencode(FORM).encode()
    old = {"X-Twilio-Signature": sign(URL, FORM, "token")}
    assert (await webhooks.inbound(PATH, old, body)).status == 200
    new = {
        "x-twilio-signature": sign(URL, FORM, "shared", "sha256"),
        "X-Twilio-Webhooks-Signature-Settings": "key=key-1,algorithm=HMAC_SHA256",
    }
    assert (await webhooks.inbound(PATH, new, body)).status == 200
    assert newest(intake).text == "a & b"
    await webhooks.close()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Twilio-Signature": ""},
        {"X-Twilio-Signature": "bm9wZQ=="},
        {"X-Twilio-Signature": "ünïcode"},
        {"X-Twilio-Signature": sign(URL, FORM, "another token")},
        {"X-Twilio-Signature": sign(URL, {**FORM, "Body": "forged"}, "token")},
        {"X-Twilio-Signature": sign("https://attacker.example" + PATH, FORM, "token")},
        {"X-Twilio-Signature": sign(URL + "?x=1", FORM, "token")},
        # SHA-256 with the auth token, or with a key we don't know, is nobody's signature.
        {
            "X-Twilio-Signature": sign(URL, FORM, "token", "sha256"),
            "X-Twilio-Webhooks-Signature-Settings": "key=none,algorithm=HMAC_SHA256",
        },
        {
            "X-Twilio-Signature": sign(URL, FORM, "", "sha256"),
            "X-Twilio-Webhooks-Signature-Settings": "key=,algorithm=HMAC_SHA256",
        },
        {
            "X-Twilio-Signature": sign(URL, FORM, "shared", "md5"),
            "X-Twilio-Webhooks-Signature-Settings": "key=key-1,algorithm=HMAC_MD5",
        },
    ],
)
async def test_a_wrong_signature_is_refused_and_stores_nothing(headers: dict[str, str]) -> None:
    intake = MemoryIntake()
    webhooks = hooks(intake, shared_keys={"key-1": "shared"})
    host = {"Host": "attacker.example", "X-Forwarded-Host": "attacker.example"}
    reply = await webhooks.inbound(PATH, {**host, **headers}, urlencode(FORM).encode())
    assert reply.status == 403 and not intake.messages
    assert (await webhooks.status(PATH, headers, urlencode(FORM).encode())).status == 403
    assert not intake.receipts
    await webhooks.close()


async def test_another_accounts_messages_are_refused() -> None:
    intake = MemoryIntake()
    webhooks = hooks(intake)
    form = {**FORM, "AccountSid": "AC2"}
    headers = {"X-Twilio-Signature": sign(URL, form, "token")}
    assert (await webhooks.inbound(PATH, headers, urlencode(form).encode())).status == 403
    assert (await webhooks.inbound(PATH, headers, b"x" * 65_537)).status == 413
    assert (await webhooks.inbound(PATH, headers, b"\xff=\xff")).status in (400, 403)
    assert not intake.messages
    await webhooks.close()


async def test_r35_a_message_that_was_not_stored_is_not_acknowledged(
    twilio: FakeTwilio, site: Site
) -> None:
    site.intake.faults.append(RuntimeError("database is locked"))
    await twilio.user_says(USER, "precious")
    assert site.replies[0].status == 500 and not site.intake.messages


async def test_r18_a_quoted_message_of_ours_is_resolved_from_storage(
    twilio: FakeTwilio, site: Site, channel: WhatsAppChannel
) -> None:
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("part two")))
    await twilio.settled()
    whole = Quote(sent.message_id, "bot", "part one part two", "part two", 9)
    site.intake.quotes[USER, sent.message_id] = whole
    await twilio.user_says(USER, "why?", reply_to=sent.message_id)
    assert newest(site.intake).quote == whole


async def test_r18_a_quoted_message_we_never_stored_is_fetched_or_marked(
    twilio: FakeTwilio, site: Site
) -> None:
    old = await twilio.user_says(USER, "long ago")
    site.intake.messages.clear()
    await twilio.user_says(USER, "why?", reply_to=old)
    assert newest(site.intake).quote == Quote(old, "user", "long ago", "long ago")
    twilio.fault("http_500", "messages.fetch")
    await twilio.user_says(USER, "and now?", reply_to=old)
    assert newest(site.intake).quote == Quote(old, "other", "", "", resolved=False)


async def test_media_places_and_choices_are_read(twilio: FakeTwilio, site: Site) -> None:
    await twilio.user_says(USER, "look", media=[(b"x", "image/png"), (b"y", "application/pdf")])
    assert [a.kind for a in newest(site.intake).attachments] == ["photo", "document"]
    await twilio.user_sends_location(USER, 1.5, 2.5, label="Here")
    place = newest(site.intake)
    assert place.attachments[0].name == "1.5,2.5 Here" and place.kind == "message"
    await twilio.user_says(USER, "", extra={"ListId": "a", "ListTitle": "First"})
    assert newest(site.intake).text == "First"
    await twilio.user_says(USER, "Stop", extra={"ButtonPayload": "stop:t", "ButtonText": "Stop"})
    assert (newest(site.intake).kind, newest(site.intake).text) == ("callback", "stop:t")
    await twilio.user_says(USER, "", extra={"MessageType": "reaction"})
    assert newest(site.intake).kind == "other"
    await twilio.user_says(USER, "", extra={"MessageType": "hologram"})
    assert newest(site.intake).kind == "message"
    assert [a.kind for a in newest(site.intake).attachments] == ["hologram"]


async def test_a_person_without_a_phone_number_is_known_by_their_id(
    twilio: FakeTwilio, site: Site
) -> None:
    twilio.add_user(user_id="whatsapp:US.13491208655302741918")
    await twilio.user_says("whatsapp:US.13491208655302741918", "hi")
    assert newest(site.intake).address.chat == "whatsapp:US.13491208655302741918"
    twilio.add_user("whatsapp:+15553334444", user_id="whatsapp:US.2")
    await twilio.user_says("whatsapp:+15553334444", "hi")
    assert newest(site.intake).sender.aliases == ("whatsapp:US.2",)


# Outbound ---------------------------------------------------------------------------------------


async def test_receipts_find_their_part_by_the_callback_url(
    twilio: FakeTwilio, site: Site, channel: WhatsAppChannel
) -> None:
    receipt = await channel.send(Outgoing(ADDRESS, RenderedPart("hello"), part_id="part/1 ü"))
    await twilio.settled()
    await twilio.until(lambda: site.intake.receipts)
    assert {r.part_id for r in site.intake.receipts} == {"part/1 ü"}
    assert {r.message_id for r in site.intake.receipts} == {receipt.message_id}
    assert site.replies[-1].status == 204


async def test_a_long_answer_arrives_in_order_within_the_limit(
    twilio: FakeTwilio, site: Site
) -> None:
    await twilio.user_says(USER, "hello")
    outbox = MemoryOutbox()
    channel = WhatsAppChannel(settings(twilio), receipts=MemoryReceipts(outbox, site.intake))
    text = " ".join(f"word{n}" for n in range(1100))
    entry = outbox.add(ADDRESS, text)
    courier = Courier([channel], outbox, "c", config=QUICK, limiter=Limiter(chat_burst=50))
    await deliver(courier, outbox, entry.id)
    await twilio.settled()
    bodies = twilio.bot_texts(USER)
    assert len(bodies) > 4 and all(utf16_length(body) <= 1600 for body in bodies)
    assert " ".join(bodies).split() == text.split()
    await channel.close()


async def deliver(courier: Courier, outbox: MemoryOutbox, entry_id: str) -> None:
    async def finished() -> None:
        while {p.state for p in outbox.parts[entry_id]} - {"sent", "failed"} or not outbox.parts[
            entry_id
        ]:
            await courier.drain()
            await asyncio.sleep(0.01)

    await asyncio.wait_for(finished(), 30)


async def test_r18_the_quote_line_is_written_only_when_the_reply_is_not_to_the_latest(
    twilio: FakeTwilio, channel: WhatsAppChannel
) -> None:
    outbox = MemoryOutbox()
    older = ReplyTarget("SM1", author="Ada", excerpt="what *is* this?", is_latest=False)
    latest = ReplyTarget("SM2", author="Ada", excerpt="and this?")
    entries = [
        outbox.add(ADDRESS, "x " * 900, reply_to=older),
        outbox.add(ADDRESS, "b", reply_to=latest),
    ]
    courier = Courier([channel], outbox, "c", config=QUICK, limiter=Limiter(chat_burst=50))
    for entry in entries:
        await deliver(courier, outbox, entry.id)
    await twilio.settled()
    bodies = twilio.bot_texts(USER)
    assert bodies[0].startswith("> Ada: what is this?\n\nx x") and bodies[-1] == "b"
    assert sum(">" in body for body in bodies) == 1
    assert all(utf16_length(body) <= 1600 for body in bodies)


def test_quote_lines_are_bounded_and_never_push_the_text_over_the_limit() -> None:
    assert utf16_length(quote_prefix("😀" * 90, "😀" * 500)) <= QUOTE_PREFIX_MAX
    assert quote_prefix("Ada", " \n ") == ""
    assert quote_prefix("", "hi\nthere") == "> hi there\n\n"
    full = RenderedPart("x" * 1600)
    reply = ReplyTarget("SM1", author="Ada", excerpt="hi", is_latest=False)
    assert body_of(full, reply) == full.text


async def test_typing_names_the_inbound_message(
    twilio: FakeTwilio, channel: WhatsAppChannel
) -> None:
    sid = await twilio.user_says(USER, "hi")
    await channel.indicate(ADDRESS, inbound_message_id=sid)
    assert twilio.typing(USER)
    await channel.indicate(ADDRESS)
    assert len(twilio.calls_of("typing")) == 1


@pytest.mark.parametrize(
    ("fault", "value", "kind"),
    [
        ("drop_before", 0, Ambiguous),
        ("drop_after", 0, Ambiguous),
        ("http_502", 0, Ambiguous),
        ("http_500", 0, Ambiguous),
        ("garbage", 0, Ambiguous),
        ("rate_limit", 3, Throttled),
        ("unauthorized", 0, AuthBroken),
    ],
)
async def test_every_failure_of_a_send_has_its_kind(
    twilio: FakeTwilio,
    channel: WhatsAppChannel,
    fault: Any,
    value: float,
    kind: type[DeliveryError],
) -> None:
    twilio.fault(fault, "messages.create", value=value)
    with pytest.raises(DeliveryError) as caught:
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    assert type(caught.value) is kind


async def test_a_refused_connection_proves_that_nothing_was_sent(twilio: FakeTwilio) -> None:
    channel = WhatsAppChannel(settings(twilio))
    await twilio.stop()
    with pytest.raises(NotSent):
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    await channel.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (63016, WindowClosed),
        ("63018", Throttled),
        (20429, Throttled),
        (21211, Unreachable),
        (21610, Unreachable),
        (20003, AuthBroken),
    ],
)
def test_codes_have_meanings(code: Any, kind: type[DeliveryError]) -> None:
    assert type(by_code(code, "words")) is kind


async def test_too_long_a_body_is_refused(twilio: FakeTwilio, channel: WhatsAppChannel) -> None:
    with pytest.raises(Rejected) as caught:
        await channel.send(Outgoing(ADDRESS, RenderedPart("x" * 1601)))
    assert caught.value.code == "21617"


async def test_r2_an_uncertain_send_is_proven_by_the_list_and_not_repeated(
    twilio: FakeTwilio, site: Site
) -> None:
    await twilio.user_says(USER, "hello")
    outbox = MemoryOutbox()
    channel = WhatsAppChannel(settings(twilio), receipts=MemoryReceipts(outbox, site.intake))
    courier = Courier([channel], outbox, "c", config=QUICK, limiter=Limiter(chat_burst=50))
    before = outbox.add(ADDRESS, "the answer")  # the same words, a moment earlier
    await deliver(courier, outbox, before.id)
    twilio.fault("drop_after", "messages.create")
    entry = outbox.add(ADDRESS, "the answer")
    await deliver(courier, outbox, entry.id)
    await channel.close()
    await twilio.settled()
    assert twilio.bot_texts(USER) == ["the answer", "the answer"]
    assert outbox.states(entry) == ["sent"]


async def test_a_send_found_but_not_written_down_is_found_again(
    twilio: FakeTwilio, channel: WhatsAppChannel
) -> None:
    since, outbox = time.time(), MemoryOutbox()
    [part] = await outbox.plan(outbox.add(ADDRESS, "").id, [RenderedPart("the answer")])
    sent = await channel.send(Outgoing(ADDRESS, part.rendered, part_id=part.id))
    receipts = MemoryReceipts(outbox, MemoryIntake())
    after_crash = WhatsAppChannel(settings(twilio), receipts=receipts)
    found = Receipt(sent.message_id)
    for _ in range(2):
        find = after_crash.find_sent(Outgoing(ADDRESS, part.rendered, part_id=part.id), since=since)
        assert await find == found
    await outbox.sent(part.id, sent.message_id)
    # Another part of the same words is another message, also after a restart.
    other = after_crash.find_sent(Outgoing(ADDRESS, part.rendered, part_id="q"), since=since)
    assert await other == "unknown"
    await after_crash.close()


async def test_absence_is_proven_only_after_a_while(
    twilio: FakeTwilio, channel: WhatsAppChannel
) -> None:
    now = time.time()
    part = RenderedPart("never sent")
    assert await channel.find_sent(Outgoing(ADDRESS, part, part_id="p"), since=now) == "unknown"
    assert (
        await channel.find_sent(Outgoing(ADDRESS, part, part_id="p"), since=now - ABSENT_AFTER_S)
        == "absent"
    )
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("sent")))
    fresh = WhatsAppChannel(settings(twilio))
    found = await fresh.find_sent(Outgoing(ADDRESS, RenderedPart("sent"), part_id="p"), since=now)
    assert found == Receipt(sent.message_id)
    await fresh.close()
