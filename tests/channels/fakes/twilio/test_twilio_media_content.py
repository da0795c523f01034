"""Media in both directions, contents and approvals, with the official twilio client."""

import asyncio
from typing import Any

import httpx2
import pytest
from aiohttp import web
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.rest.content.v1.content import ContentList  # type: ignore[import-untyped]
from twilio.rest.content.v1.content.approval_create import (  # type: ignore[import-untyped]
    ApprovalCreateList,
)

from roost_channels.testing import FakeTwilio, StatusPlan

ADA = "whatsapp:+491701234567"
TEMPLATE = {
    "friendly_name": "ready",
    "language": "en",
    "variables": {"1": "Ada"},
    "types": {"twilio/text": {"body": "{{1}}, your answer is ready."}},
}


async def send(client: Any, twilio: FakeTwilio, **form: Any) -> Any:
    created = await asyncio.to_thread(client.messages.create, to=ADA, from_=twilio.sender, **form)
    await twilio.settled()
    return created


async def test_media_we_send_is_fetched_from_us(
    twilio: FakeTwilio, client: Any, receiver: Any
) -> None:
    await twilio.user_says(ADA, "Hi")
    receiver.received.clear()
    receiver.answers.append(web.Response(body=b"cat", content_type="image/jpeg"))
    created = await send(client, twilio, body="A cat", media_url=[f"{receiver.base_url}/cat.jpg"])
    assert receiver.received[0].url == "/cat.jpg"
    assert "Authorization" not in receiver.received[0].headers
    assert twilio.media_of(created.sid) == [(b"cat", "image/jpeg")]
    assert (twilio.visible(ADA)[-1].body, len(twilio.visible(ADA)[-1].media)) == ("A cat", 1)
    listed = await asyncio.to_thread(client.messages(created.sid).media.list)
    assert [media.content_type for media in listed] == ["image/jpeg"]
    file = client.messages(created.sid).media(listed[0].sid)
    assert (await asyncio.to_thread(file.fetch)).parent_sid == created.sid
    assert await asyncio.to_thread(file.delete)
    assert twilio.media_of(created.sid) == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (web.Response(status=404), 63019),
        (web.Response(body=bytes((16 << 20) + 1), content_type="image/png"), 11751),
    ],
)
async def test_media_that_cannot_be_fetched_fails_later(
    twilio: FakeTwilio, client: Any, receiver: Any, answer: web.Response, code: int
) -> None:
    await twilio.user_says(ADA, "Hi")
    receiver.answers.append(answer)
    created = await send(client, twilio, media_url=[f"{receiver.base_url}/x.png"])
    failed = twilio.messages[created.sid]
    assert (created.status, failed.status, failed.error_code) == ("queued", "failed", code)


async def test_each_file_a_user_sends_is_a_message(
    twilio: FakeTwilio, receiver: Any, http: httpx2.AsyncClient
) -> None:
    await twilio.user_sends(ADA, (b"1", "image/jpeg"), (b"2", "audio/ogg"), caption="Both")
    forms = [(r.form["Body"], r.form["NumMedia"], r.form["MessageType"]) for r in receiver.received]
    assert forms == [("Both", "1", "image"), ("", "1", "audio")]
    await twilio.user_says(ADA, "Look", forwarded=True)
    assert receiver.received[-1].form["Forwarded"] == "true"


async def test_a_template_needs_its_approval_to_leave_the_window(
    twilio: FakeTwilio, client: Any
) -> None:
    contents = client.content.v1.contents
    created = await asyncio.to_thread(contents.create, ContentList.ContentCreateRequest(TEMPLATE))
    approval = await asyncio.to_thread(
        contents(created.sid).approval_create.create,
        ApprovalCreateList.ContentApprovalRequest({"name": "ready", "category": "UTILITY"}),
    )
    assert (approval.name, approval.status) == ("ready", "received")
    early = await send(client, twilio, content_sid=created.sid)
    assert twilio.messages[early.sid].error_code == 63016
    twilio.approve_content(created.sid, "rejected", "INVALID_FORMAT")
    fetched = await asyncio.to_thread(contents(created.sid).approval_fetch().fetch)
    assert (fetched.whatsapp["status"], fetched.whatsapp["rejection_reason"]) == (
        "rejected",
        "INVALID_FORMAT",
    )
    twilio.approve_content(created.sid)
    both = await asyncio.to_thread(client.content.v1.content_and_approvals.list)
    assert [content.approval_requests["status"] for content in both] == ["approved"]
    await send(client, twilio, content_sid=created.sid, content_variables='{"1": "Bob"}')
    assert twilio.bot_texts(ADA) == ["Bob, your answer is ready."]
    with pytest.raises(TwilioRestException):  # once is enough
        await asyncio.to_thread(
            contents(created.sid).approval_create.create,
            ApprovalCreateList.ContentApprovalRequest({"name": "x", "category": "UTILITY"}),
        )


async def test_contents_come_in_pages(twilio: FakeTwilio, client: Any) -> None:
    created = [twilio.add_content({**TEMPLATE, "friendly_name": str(n)}) for n in range(5)]
    listed = await asyncio.to_thread(client.content.v1.contents.list, page_size=2)
    assert [content.sid for content in listed] == created


@pytest.mark.parametrize(
    "types",
    [
        {"twilio/quick-reply": {"body": "x", "actions": []}},
        {"twilio/quick-reply": {"body": "x", "actions": [{"title": "t" * 21}]}},
        {"twilio/list-picker": {"body": "x", "items": [{"item": "a", "id": "1"}]}},
        {"twilio/list-picker": {"body": "x", "button": "b", "items": [{"item": "a" * 25}]}},
        {
            "twilio/list-picker": {
                "body": "x",
                "button": "b",
                "items": [{"item": str(n), "id": str(n)} for n in range(11)],
            }
        },
        {},
    ],
)
def test_contents_keep_whatsapps_limits(types: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="Invalid parameter"):
        FakeTwilio().add_content({"types": types})


async def test_four_quick_replies_need_an_approval(twilio: FakeTwilio, client: Any) -> None:
    await twilio.user_says(ADA, "Hi")
    actions = [{"type": "QUICK_REPLY", "title": str(n), "id": str(n)} for n in range(4)]
    body = {"types": {"twilio/quick-reply": {"body": "Which?", "actions": actions}}}
    created = await send(client, twilio, content_sid=twilio.add_content(body))
    assert twilio.messages[created.sid].error_code == 63021
    await send(client, twilio, content_sid=twilio.add_content(body, approved=True))
    assert [title for _, title in twilio.visible(ADA)[-1].buttons] == ["0", "1", "2", "3"]


async def test_a_status_may_come_after_the_next_or_late_and_alone(
    twilio: FakeTwilio, client: Any, receiver: Any
) -> None:
    await twilio.user_says(ADA, "Hi")
    receiver.received.clear()
    twilio.fault("out_of_order", "status")
    callback = f"{receiver.base_url}/status"
    await send(client, twilio, body="x", status_callback=callback)
    states = [request.form["MessageStatus"] for request in receiver.received]
    assert states == ["delivered", "sent", "read"]


async def test_a_last_status_held_back_comes_after_two_seconds(
    timed_twilio: FakeTwilio, clock: Any, receiver: Any, http: httpx2.AsyncClient
) -> None:
    await timed_twilio.user_says(ADA, "Hi")
    timed_twilio.fault("out_of_order", "status")
    timed_twilio.plan_next(StatusPlan(sent_s=0, error_code=63024))
    url = f"{timed_twilio.base_url}/2010-04-01/Accounts/{timed_twilio.account_sid}/Messages.json"
    form = {
        "To": ADA,
        "From": timed_twilio.sender,
        "Body": "x",
        "StatusCallback": f"{receiver.base_url}/status",
    }
    auth = (timed_twilio.account_sid, timed_twilio.auth_token)
    receiver.received.clear()
    assert (await http.post(url, data=form, auth=auth)).status_code == 201
    await timed_twilio.until(lambda: clock.sleeping > 0)
    assert receiver.received == []
    await clock.advance(2)
    await receiver.got(1)
    assert receiver.received[0].form["MessageStatus"] == "undelivered"


async def test_the_sim_api_approves_contents_and_lists_complaints(
    twilio: FakeTwilio, http: httpx2.AsyncClient
) -> None:
    sid = twilio.add_content(TEMPLATE)
    approve = f"{twilio.base_url}/sim/contents/{sid}/approve"
    assert (await http.post(approve, json={"status": "paused"})).json() == {"ok": True}
    assert twilio.core.contents[sid]["approval"]["status"] == "paused"
    await http.post(f"{twilio.base_url}/v2/Indicators/Typing.json", data={"color": "red"})
    complaints = (await http.get(f"{twilio.base_url}/sim/complaints")).json()["complaints"]
    assert complaints == ["typing: color: no such parameter"] == twilio.complaints
