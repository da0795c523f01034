"""Twilio's webhooks: a signed message is stored once, and quotes, media and senders are read."""

import base64
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from roost_channels.channel import Outgoing
from roost_channels.message import Quote
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing import FakeTwilio
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.whatsapp.channel import WhatsAppChannel
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.inbound.webhook import TwilioWebhooks
from roost_channels.whatsapp.testing import ADDRESS, BASE, SENDER, USER, Site, newest


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
async def test_s2_a_wrong_signature_is_refused_and_stores_nothing(headers: dict[str, str]) -> None:
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


async def test_a_message_at_the_address_for_receipts_is_taken_as_one() -> None:
    intake = MemoryIntake()
    webhooks = hooks(intake)
    path, form = "/hooks/twilio/status", {**FORM, "SmsStatus": "received"}
    headers = {"X-Twilio-Signature": sign(BASE + path, form, "token")}
    assert (await webhooks.status(path, headers, urlencode(form).encode())).status == 200
    assert newest(intake).text == "a & b" and not intake.receipts
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
