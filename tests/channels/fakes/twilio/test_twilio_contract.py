"""The official twilio client works against FakeTwilio, and its validator accepts signatures."""

import asyncio
import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.request_validator import (  # type: ignore[import-untyped]
    RequestValidator,
    get_signature_algorithm,
)
from twilio.rest.api.v2010.account.message import MessageList  # type: ignore[import-untyped]
from twilio.rest.content.v1.content import ContentList  # type: ignore[import-untyped]
from twilio.rest.messaging.v3.typing_indicator import (  # type: ignore[import-untyped]
    TypingIndicatorList,
)

from roost_channels.testing import FakeTwilio
from roost_channels.testing.twilio import schema

ADA = "whatsapp:+491701234567"


async def test_create_answers_201_with_a_queued_message(twilio: FakeTwilio, client: Any) -> None:
    await twilio.user_says(ADA, "Hi")
    message = await asyncio.to_thread(
        client.messages.create, to=ADA, from_=twilio.sender, body="Hello"
    )
    assert message.sid.startswith("SM") and len(message.sid) == 34
    assert (message.status, message.direction, message.body) == ("queued", "outbound-api", "Hello")
    assert (message.error_code, message.num_media, message.to) == (None, "0", ADA)
    assert abs(message.date_created - datetime.now(UTC)) < timedelta(minutes=1)
    assert message.uri.endswith(f"/Messages/{message.sid}.json")
    await twilio.settled()
    fetched = await asyncio.to_thread(client.messages(message.sid).fetch)
    assert (fetched.status, fetched.body) == ("read", "Hello")
    assert fetched.date_sent is not None


async def test_list_filters_and_pages_newest_first(twilio: FakeTwilio, client: Any) -> None:
    bob = "whatsapp:+491709999999"
    await twilio.user_says(ADA, "from Ada")
    await twilio.user_says(bob, "from Bob")
    for number in range(5):
        await asyncio.to_thread(
            client.messages.create, to=ADA, from_=twilio.sender, body=f"to Ada {number}"
        )

    async def bodies(**filters: Any) -> list[str]:
        matches = await asyncio.to_thread(lambda: client.messages.list(**filters))
        return [message.body for message in matches]

    assert await bodies(to=ADA, page_size=2) == [f"to Ada {number}" for number in (4, 3, 2, 1, 0)]
    assert await bodies(to=twilio.sender) == ["from Bob", "from Ada"]
    assert await bodies(from_=bob) == ["from Bob"]
    now = datetime.now(UTC)
    assert await bodies(from_=ADA, date_sent_after=now - timedelta(minutes=5)) == ["from Ada"]
    assert await bodies(from_=ADA, date_sent_after=now + timedelta(minutes=5)) == []
    assert await bodies(from_=ADA, date_sent_before=now - timedelta(minutes=5)) == []
    assert await bodies(from_=ADA, date_sent=now.date()) == ["from Ada"]


async def test_redacting_cancelling_and_deleting(twilio: FakeTwilio, client: Any) -> None:
    await twilio.user_says(ADA, "Hi")
    message = await asyncio.to_thread(
        client.messages.create, to=ADA, from_=twilio.sender, body="secret"
    )
    await twilio.settled()
    redacted = await asyncio.to_thread(client.messages(message.sid).update, body="")
    assert redacted.body == ""
    assert await asyncio.to_thread(client.messages(message.sid).delete)
    with pytest.raises(TwilioRestException) as gone:
        await asyncio.to_thread(client.messages(message.sid).fetch)
    assert (gone.value.status, gone.value.code) == (404, 20404)


async def test_typing_in_both_versions_marks_the_message_read(
    twilio: FakeTwilio, client: Any
) -> None:
    sid = await twilio.user_says(ADA, "Hi")
    v2 = client.messaging.v2.typing_indicator
    done = await asyncio.to_thread(v2.create, channel="whatsapp", message_id=sid)
    assert done.success is True
    assert twilio.typing(ADA) and twilio.messages[sid].is_read
    request = TypingIndicatorList.TypingIndicatorRequest({"channel": "WHATSAPP", "messageId": sid})
    v3 = client.messaging.v3.typing_indicator
    assert (await asyncio.to_thread(v3.create, request)).success is True
    lower = TypingIndicatorList.TypingIndicatorRequest({"channel": "whatsapp", "messageId": sid})
    with pytest.raises(Exception, match=r"400|Invalid"):
        await asyncio.to_thread(v3.create, lower)
    with pytest.raises(TwilioRestException):
        await asyncio.to_thread(v2.create, channel="whatsapp", message_id="SM" + "0" * 32)


async def test_content_is_created_sent_and_removed(twilio: FakeTwilio, client: Any) -> None:
    await twilio.user_says(ADA, "Hi")
    request = ContentList.ContentCreateRequest(
        {
            "friendly_name": "choice",
            "language": "en",
            "variables": {"1": "Continue?"},
            "types": {
                "twilio/quick-reply": {
                    "body": "{{1}}",
                    "actions": [{"type": "QUICK_REPLY", "title": "Yes", "id": "yes"}],
                }
            },
        }
    )
    contents = client.content.v1.contents
    created = await asyncio.to_thread(contents.create, request)
    assert created.sid.startswith("HX") and created.friendly_name == "choice"
    listed = await asyncio.to_thread(contents.list)
    assert [content.sid for content in listed] == [created.sid]
    await asyncio.to_thread(
        client.messages.create,
        to=ADA,
        from_=twilio.sender,
        content_sid=created.sid,
        content_variables='{"1": "Go on?"}',
    )
    await twilio.settled()
    shown = twilio.visible(ADA)[-1]
    assert (shown.body, shown.buttons) == ("Go on?", (("yes", "Yes"),))
    assert await asyncio.to_thread(contents(created.sid).delete)
    with pytest.raises(TwilioRestException):
        await asyncio.to_thread(contents(created.sid).fetch)


async def test_media_of_a_message_can_be_listed(twilio: FakeTwilio, client: Any) -> None:
    sid = await twilio.user_says(ADA, "", media=[(b"cat", "image/jpeg")])
    (media,) = await asyncio.to_thread(client.messages(sid).media.list)
    assert (media.content_type, media.parent_sid) == ("image/jpeg", sid)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"body": "x" * 1601}, 21617),
        ({"to": "whatsapp:+12"}, 21211),
        ({"to": "whatsapp:Ada"}, 21211),
        ({"to": "+491701234567"}, 21910),
        ({"from_": "whatsapp:+15559999999"}, 63007),
        ({"from_": None}, 21603),
        ({"body": None}, 21619),
        ({"status_callback": "not a url"}, 21609),
        ({"content_sid": "HX" + "0" * 32}, 21655),
    ],
)
async def test_refusals_carry_twilios_codes(
    twilio: FakeTwilio, client: Any, parameters: dict[str, Any], code: int
) -> None:
    fields = {"to": ADA, "from_": twilio.sender, "body": "x"} | parameters
    fields = {name: value for name, value in fields.items() if value is not None}
    with pytest.raises(TwilioRestException) as refused:
        await asyncio.to_thread(lambda: client.messages.create(**fields))
    assert (refused.value.status, refused.value.code) == (400, code)
    assert twilio.messages == {}


def test_the_parameters_of_a_message_are_those_of_the_client() -> None:
    names = set(inspect.signature(MessageList.create).parameters) - {"self"}
    assert {name.rstrip("_").title().replace("_", "") for name in names} == schema.CREATE


async def test_parameters_that_twilio_ignores_are_listed(twilio: FakeTwilio, client: Any) -> None:
    create = client.messages.create
    await asyncio.to_thread(create, to=ADA, from_=twilio.sender, body="x", media_url=["http://a/b"])
    await asyncio.to_thread(client.messages.list, to=ADA, date_sent_after=datetime.now(UTC))
    assert twilio.complaints == []
    async with httpx2.AsyncClient(trust_env=False) as http:
        url = f"{twilio.base_url}/2010-04-01/Accounts/{twilio.account_sid}/Messages.json"
        form = {"To": ADA, "From": twilio.sender, "Body": "x", "ReplyTo": "SM1"}
        answer = await http.post(url, data=form, auth=(twilio.account_sid, twilio.auth_token))
    assert answer.status_code == 201
    assert twilio.complaints == ["messages.create: ReplyTo: no such parameter"]


async def test_wrong_credentials_are_20003(twilio: FakeTwilio, client: Any) -> None:
    client.auth = (twilio.account_sid, "wrong")
    with pytest.raises(TwilioRestException) as refused:
        await asyncio.to_thread(client.messages("SM" + "0" * 32).fetch)
    assert (refused.value.status, refused.value.code) == (401, 20003)
    twilio.settings.api_keys["SKkey"] = "secret"
    client.auth = ("SKkey", "secret")
    assert await asyncio.to_thread(client.messages.list) == []


async def test_the_official_validator_takes_inbound_and_status_signatures(
    twilio: FakeTwilio, client: Any, receiver: Any
) -> None:
    await twilio.user_says(ADA, "Grüße & 🐈 = 100%", profile_name="Ada Löwe")
    callback = f"{receiver.base_url}/hooks/status?part=a%20b&turn=1"
    await asyncio.to_thread(
        client.messages.create,
        to=ADA,
        from_=twilio.sender,
        body="Hello",
        status_callback=callback,
    )
    await receiver.got(4)
    validator = RequestValidator(twilio.auth_token)
    for request in receiver.received:
        signature = request.headers["X-Twilio-Signature"]
        assert validator.validate(receiver.base_url + request.url, request.form, signature)
    assert receiver.received[0].form["Body"] == "Grüße & 🐈 = 100%"
    assert receiver.received[1].url == "/hooks/status?part=a%20b&turn=1"


async def test_the_official_validator_takes_shared_key_signatures(
    twilio: FakeTwilio, receiver: Any
) -> None:
    twilio.settings.shared_key = ("webhooks_sharedkey_1", "another secret")
    await twilio.user_says(ADA, "Hi")
    (request,) = receiver.received
    settings = request.headers["X-Twilio-Webhooks-Signature-Settings"]
    assert settings == "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    arguments = (
        receiver.base_url + request.url,
        request.form,
        request.headers["X-Twilio-Signature"],
    )
    algorithm = get_signature_algorithm(settings)
    assert RequestValidator("another secret").validate(*arguments, algorithm)
    assert not RequestValidator(twilio.auth_token).validate(*arguments, algorithm)
