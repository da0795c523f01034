"""Inbound webhooks: their parameters, retries, fallback, media, and delivery faults."""

import asyncio
from typing import Any

import httpx2
import pytest
from aiohttp import web

from roost_channels.testing import FakeTwilio

ADA = "whatsapp:+491701234567"


async def test_a_text_carries_the_documented_parameters(twilio: FakeTwilio, receiver: Any) -> None:
    sid = await twilio.user_says(ADA, "Hi", profile_name="Ada")
    (request,) = receiver.received
    form = request.form
    assert form["MessageSid"] == form["SmsSid"] == form["SmsMessageSid"] == sid
    assert (form["From"], form["To"], form["WaId"]) == (ADA, twilio.sender, "491701234567")
    assert (form["Body"], form["NumMedia"], form["MessageType"]) == ("Hi", "0", "text")
    assert (form["SmsStatus"], form["ProfileName"]) == ("received", "Ada")
    assert "OriginalRepliedMessageSid" not in form
    assert len(request.headers["I-Twilio-Idempotency-Token"]) == 32


async def test_a_reply_names_the_sid_and_its_sender(
    twilio: FakeTwilio, client: Any, receiver: Any
) -> None:
    first = await twilio.user_says(ADA, "Hi")
    sent = await asyncio.to_thread(
        client.messages.create, to=ADA, from_=twilio.sender, body="Hello"
    )
    await twilio.settled()
    await twilio.user_says(ADA, "That?", reply_to=sent.sid)
    await twilio.user_says(ADA, "Or my own?", reply_to=first)
    to_bot, to_self = (request.form for request in receiver.received[-2:])
    assert to_bot["OriginalRepliedMessageSid"] == sent.sid
    assert to_bot["OriginalRepliedMessageSender"] == twilio.sender
    assert to_self["OriginalRepliedMessageSender"] == ADA
    assert twilio.visible(ADA)[-2].reply_to == (sent.sid, "Hello")


async def test_business_scoped_ids_stand_beside_or_in_place_of_the_phone(
    twilio: FakeTwilio, receiver: Any
) -> None:
    bsuid = "whatsapp:DE.4566546130240823"
    twilio.add_user(ADA, user_id=bsuid)
    twilio.add_user(user_id="whatsapp:ID.777")
    await twilio.user_says(bsuid, "with a phone")
    await twilio.user_says("whatsapp:ID.777", "without")
    with_phone, without = (request.form for request in receiver.received)
    assert (with_phone["From"], with_phone["ExternalUserId"]) == (ADA, bsuid)
    assert (without["From"], without["ExternalUserId"]) == ("whatsapp:ID.777", "whatsapp:ID.777")
    assert "WaId" not in without
    assert [message.body for message in twilio.visible(ADA)] == ["with a phone"]


async def test_choices_come_back_as_button_or_list(
    twilio: FakeTwilio, client: Any, receiver: Any
) -> None:
    await twilio.user_says(ADA, "Hi")
    shapes = (
        {"twilio/quick-reply": {"body": "Go on?", "actions": [{"id": "y", "title": "Yes"}]}},
        {"twilio/list-picker": {"body": "Pick", "button": "Open", "items": [
            {"id": "a", "item": "Apple", "description": ""}
        ]}},
    )  # fmt: skip
    for types in shapes:
        sid = twilio.add_content({"types": types})
        await asyncio.to_thread(
            client.messages.create, to=ADA, from_=twilio.sender, content_sid=sid
        )
    await twilio.settled()
    button, picked = (m.id for m in twilio.visible(ADA)[-2:])
    await twilio.press(ADA, button, "y")
    await twilio.press(ADA, picked, "Apple")
    first, second = (request.form for request in receiver.received[-2:])
    assert (first["ButtonPayload"], first["ButtonText"], first["Body"]) == ("y", "Yes", "Yes")
    assert first["OriginalRepliedMessageSid"] == button
    assert (second["ListId"], second["ListTitle"]) == ("a", "Apple")
    with pytest.raises(ValueError, match="offers no choice"):
        await twilio.press(ADA, button, "n")


async def test_a_location_has_coordinates(twilio: FakeTwilio, receiver: Any) -> None:
    await twilio.user_sends_location(ADA, 52.5, 13.4, label="Berlin")
    form = receiver.received[-1].form
    assert (form["Latitude"], form["Longitude"], form["Label"]) == ("52.5", "13.4", "Berlin")
    assert (form["MessageType"], form["Body"]) == ("location", "")


async def test_media_needs_the_credentials_once_and_not_at_the_cdn(
    twilio: FakeTwilio, receiver: Any, http: httpx2.AsyncClient
) -> None:
    sid = await twilio.user_says(ADA, "look", media=[(b"cat", "image/jpeg")])
    form = receiver.received[-1].form
    assert sid.startswith("MM")
    assert (form["NumMedia"], form["MediaContentType0"], form["MessageType"]) == (
        "1",
        "image/jpeg",
        "image",
    )
    assert (await http.get(form["MediaUrl0"])).status_code == 401
    auth = (twilio.account_sid, twilio.auth_token)
    redirect = await http.get(form["MediaUrl0"], auth=auth)
    assert redirect.status_code == 307
    followed = await http.get(redirect.headers["Location"])
    assert (followed.content, followed.headers["Content-Type"]) == (b"cat", "image/jpeg")
    refused = await http.get(redirect.headers["Location"], auth=auth)
    assert refused.status_code == 400


async def test_by_default_only_a_failed_connection_is_tried_again(
    twilio: FakeTwilio, receiver: Any
) -> None:
    receiver.answers = [web.Response(status=500)]
    await twilio.user_says(ADA, "lost")
    assert len(receiver.received) == 1
    twilio.settings.webhook_url = "http://127.0.0.1:1/nobody"
    await twilio.user_says(ADA, "nobody there")
    assert [attempt.problem[:2] for attempt in twilio.webhooks[-2:]] == ["ct", "ct"]
    assert len(twilio.webhooks) == 3


async def test_the_fragment_asks_for_retries_with_one_token(
    twilio: FakeTwilio, receiver: Any
) -> None:
    twilio.settings.webhook_url = f"{receiver.base_url}/hooks/inbound?x=1#rc=3&rp=5xx,rt"
    receiver.answers = [web.Response(status=503), web.Response(status=503)]
    await twilio.user_says(ADA, "third time lucky")
    assert [request.url for request in receiver.received] == ["/hooks/inbound?x=1"] * 3
    tokens = {request.headers["I-Twilio-Idempotency-Token"] for request in receiver.received}
    assert len(tokens) == 1
    receiver.answers = [web.Response(status=404)]
    await twilio.user_says(ADA, "4xx is not in the policy")
    assert len(receiver.received) == 4


async def test_retries_end_at_five(twilio: FakeTwilio, receiver: Any) -> None:
    twilio.settings.webhook_url = f"{receiver.base_url}/hooks/inbound#rc=50&rp=all"
    receiver.answers = [web.Response(status=500) for _ in range(10)]
    await twilio.user_says(ADA, "never")
    assert len(receiver.received) == 6


async def test_an_answer_that_takes_too_long_counts_as_none(
    twilio: FakeTwilio, receiver: Any
) -> None:
    twilio.settings.webhook_url = f"{receiver.base_url}/hooks/inbound#rt=100&rc=0"
    receiver.hold = asyncio.Event()
    await twilio.user_says(ADA, "slow")
    assert twilio.webhooks[-1].problem.startswith("rt")


async def test_the_fallback_is_called_once_with_the_error(
    twilio: FakeTwilio, receiver: Any
) -> None:
    twilio.settings.fallback_url = f"{receiver.base_url}/fallback"
    receiver.answers = [web.Response(status=500)]
    await twilio.user_says(ADA, "help")
    fallback = receiver.received[-1]
    assert (fallback.url, fallback.form["ErrorCode"]) == ("/fallback", "11200")
    assert fallback.form["ErrorUrl"] == twilio.settings.webhook_url
    assert fallback.form["Body"] == "help"


async def test_twiml_in_the_answer_is_sent_back(twilio: FakeTwilio, receiver: Any) -> None:
    twiml = "<Response><Message>Hello</Message><Message><Body>there</Body></Message></Response>"
    receiver.answers = [web.Response(text=twiml, content_type="text/xml")]
    await twilio.user_says(ADA, "Hi")
    assert twilio.bot_texts(ADA) == ["Hello", "there"]


async def test_a_lost_webhook_is_still_in_the_list_of_messages(
    twilio: FakeTwilio, receiver: Any, client: Any
) -> None:
    twilio.fault("drop_before", "inbound")
    sid = await twilio.user_says(ADA, "lost")
    assert receiver.received == []
    listed = await asyncio.to_thread(lambda: client.messages.list(to=twilio.sender))
    assert [(m.sid, m.direction, m.status) for m in listed] == [(sid, "inbound", "received")]


async def test_webhooks_may_come_twice_or_out_of_order(twilio: FakeTwilio, receiver: Any) -> None:
    twilio.fault("duplicate_update", "inbound")
    await twilio.user_says(ADA, "twice")
    twilio.fault("out_of_order", "inbound")
    await twilio.user_says(ADA, "first")
    await twilio.user_says(ADA, "second")
    bodies = [request.form["Body"] for request in receiver.received]
    assert bodies == ["twice", "twice", "second", "first"]


async def test_a_webhook_held_back_goes_on_alone_after_two_seconds(
    timed_twilio: FakeTwilio, clock: Any, receiver: Any
) -> None:
    timed_twilio.fault("out_of_order", "inbound")
    await timed_twilio.user_says(ADA, "only")
    assert receiver.received == []
    await clock.advance(2)
    await receiver.got(1)
    assert receiver.received[0].form["Body"] == "only"


async def test_typing_ends_after_25_seconds_or_with_a_message(
    timed_twilio: FakeTwilio, clock: Any, http: httpx2.AsyncClient
) -> None:
    fake = timed_twilio
    sid = await fake.user_says(ADA, "Hi")
    form = {"channel": "whatsapp", "messageId": sid}
    auth = (fake.account_sid, fake.auth_token)
    url = f"{fake.base_url}/v2/Indicators/Typing.json"
    assert (await http.post(url, data=form, auth=auth)).json() == {"success": True}
    await clock.advance(24)
    assert fake.typing(ADA)
    await clock.advance(2)
    assert not fake.typing(ADA)


async def test_the_phone_of_the_sandbox(
    twilio: FakeTwilio, receiver: Any, http: httpx2.AsyncClient
) -> None:
    sim = f"{twilio.base_url}/sim"
    user = f"{sim}/users/whatsapp:%2B491701234567"
    response = await http.post(f"{user}/messages", json={"text": "Hi", "wait": True})
    screen = (await http.get(user)).json()
    assert screen["typing"] is False
    assert [(m["sid"], m["from"], m["body"], m["reply_to"]) for m in screen["messages"]] == [
        (response.json()["sid"], "user", "Hi", None)
    ]
    await http.post(f"{sim}/config", json={"webhook_url": f"{receiver.base_url}/other"})
    await http.post(f"{user}/messages", json={"text": "Again", "wait": True})
    assert receiver.received[-1].url == "/other"
    unknown = await http.post(f"{sim}/config", json={"colour": "red"})
    assert unknown.status_code == 400 and "unknown setting" in unknown.json()["error"]
    order = {"method": "messages.list", "kind": "http_500"}
    await http.post(f"{sim}/faults", json=order)
    assert [fault.kind for fault in twilio.core.faults.open] == ["http_500"]
    await http.post(f"{sim}/reset")
    assert (await http.get(user)).json()["messages"] == []


async def test_the_phone_of_the_sandbox_chooses_and_shows_files(
    twilio: FakeTwilio, receiver: Any, http: httpx2.AsyncClient
) -> None:
    sim = f"{twilio.base_url}/sim"
    user = f"{sim}/users/whatsapp:%2B491701234567"
    media = {"content_type": "image/png", "data": "AAAA"}
    await http.post(f"{user}/messages", json={"media": [media], "wait": True})
    actions = [{"title": "Yes", "id": "yes"}]
    types = {"twilio/quick-reply": {"body": "Go on?", "actions": actions}}
    form = {"To": ADA, "From": twilio.sender, "ContentSid": twilio.add_content({"types": types})}
    url = f"{twilio.base_url}/2010-04-01/Accounts/{twilio.account_sid}/Messages.json"
    auth = (twilio.account_sid, twilio.auth_token)
    sid = (await http.post(url, data=form, auth=auth)).json()["sid"]
    await twilio.settled()
    photo, question = (await http.get(user)).json()["messages"]
    assert photo["files"][0]["content_type"] == "image/png"
    shown = await http.get(f"{sim}/media/{photo['files'][0]['sid']}")
    assert (shown.content, shown.headers["Content-Type"]) == (bytes(3), "image/png")
    assert (question["buttons"], question["is_list"]) == ([{"id": "yes", "title": "Yes"}], False)
    await http.post(f"{user}/press", json={"sid": sid, "id": "yes"})
    await http.post(f"{user}/location", json={"latitude": 1, "longitude": 2})
    await receiver.got(3)
    fields = [request.form for request in receiver.received]
    assert any(form.get("ButtonPayload") == "yes" for form in fields)
    assert any(form.get("Latitude") == "1.0" for form in fields)
