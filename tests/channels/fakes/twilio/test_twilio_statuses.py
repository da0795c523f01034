"""Outbound messages: order of statuses, service window, pair limit, and callback faults."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx2
import pytest

from roost_channels.testing import FakeTwilio, PairLimit, StatusPlan, VirtualClock

ADA = "whatsapp:+491701234567"
Send = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]


@pytest.fixture
async def send(http: httpx2.AsyncClient, receiver: Any) -> AsyncIterator[Send]:
    """Create a message with callbacks to the receiver."""

    async def post(fake: FakeTwilio, body: str = "Hello", **more: Any) -> tuple[int, Any]:
        answer = await http.post(
            f"{fake.base_url}/2010-04-01/Accounts/{fake.account_sid}/Messages.json",
            auth=(fake.account_sid, fake.auth_token),
            data={
                "To": ADA,
                "From": fake.sender,
                "Body": body,
                "StatusCallback": f"{receiver.base_url}/status",
                **more,
            },
        )
        return answer.status_code, answer.json()

    yield post


def statuses(receiver: Any) -> list[str]:
    return [r.form["MessageStatus"] for r in receiver.received if "MessageStatus" in r.form]


async def test_queued_is_not_called_back_and_then_sent_delivered_read(
    twilio: FakeTwilio, receiver: Any, send: Send
) -> None:
    await twilio.user_says(ADA, "Hi")
    status, body = await send(twilio)
    assert (status, body["status"], body["date_sent"]) == (201, "queued", None)
    await twilio.settled()
    assert statuses(receiver) == ["sent", "delivered", "read"]
    last = receiver.received[-1].form
    assert (last["MessageSid"], last["SmsSid"], last["EventType"]) == (
        body["sid"],
        body["sid"],
        "READ",
    )
    assert (last["ChannelPrefix"], last["ChannelToAddress"]) == ("whatsapp", "+491701234567")


async def test_a_message_is_on_the_phone_once_delivered(
    timed_twilio: FakeTwilio, clock: VirtualClock, send: Send
) -> None:
    fake = timed_twilio
    await fake.user_says(ADA, "Hi")
    fake.plan_next(StatusPlan(sent_s=1, delivered_s=5, read_s=None))
    _, body = await send(fake)
    assert fake.bot_texts(ADA) == []
    await clock.advance(1)
    await fake.until(lambda: fake.messages[body["sid"]].status == "sent")
    assert fake.bot_texts(ADA) == []
    await fake.until(lambda: clock.sleeping)
    await clock.advance(5)
    await fake.until(lambda: fake.bot_texts(ADA) == ["Hello"])
    await fake.settled()
    assert fake.messages[body["sid"]].status == "delivered"


async def test_free_text_fails_later_outside_the_24_hours(
    timed_twilio: FakeTwilio, clock: VirtualClock, receiver: Any, send: Send
) -> None:
    fake = timed_twilio
    fake.settings.status_plan = StatusPlan(0, 0, 0)
    await fake.user_says(ADA, "Hi")
    await clock.advance(24 * 3600 - 1)
    await send(fake, "in time")
    await fake.settled()
    await clock.advance(2)
    status, _ = await send(fake, "too late")
    assert status == 201
    await fake.settled()
    assert fake.bot_texts(ADA) == ["in time"]
    failed = receiver.received[-1].form
    assert (failed["MessageStatus"], failed["ErrorCode"]) == ("failed", "63016")
    approved = fake.add_content(
        {"types": {"twilio/text": {"body": "Your result is ready, {{1}}."}}}, approved=True
    )
    await send(fake, "", ContentSid=approved, ContentVariables='{"1": "Ada"}')
    await fake.settled()
    assert fake.bot_texts(ADA) == ["in time", "Your result is ready, Ada."]
    await fake.user_says(ADA, "Back again")
    await send(fake, "welcome")
    await fake.settled()
    assert fake.bot_texts(ADA)[-1] == "welcome"


async def test_the_pair_limit_fails_what_exceeds_the_burst(
    clock: VirtualClock, receiver: Any, send: Send
) -> None:
    plan = StatusPlan(0, 0, None)
    limit = PairLimit(burst=3, seconds_per_message=6)
    async with FakeTwilio(clock=clock, pair_limit=limit, status_plan=plan) as fake:
        await fake.user_says(ADA, "Hi")
        for number in range(4):
            await send(fake, str(number))
            await fake.settled()
        assert fake.bot_texts(ADA) == ["0", "1", "2"]
        assert receiver.received[-1].form["ErrorCode"] == "63018"
        await clock.advance(6)
        await send(fake, "later")
        await fake.settled()
        assert fake.bot_texts(ADA)[-1] == "later"


async def test_callbacks_may_come_doubled_shuffled_or_never(
    twilio: FakeTwilio, receiver: Any, send: Send
) -> None:
    await twilio.user_says(ADA, "Hi")
    receiver.received.clear()
    twilio.plan_next(
        StatusPlan(doubled=True, read_s=None), StatusPlan(shuffled=True), StatusPlan(silent=True)
    )
    await send(twilio)
    await twilio.settled()
    assert statuses(receiver) == ["sent", "sent", "delivered", "delivered"]
    receiver.received.clear()
    await send(twilio)
    await twilio.settled()
    assert statuses(receiver) == ["read", "delivered", "sent"]
    receiver.received.clear()
    await send(twilio)
    await twilio.settled()
    assert statuses(receiver) == []
    assert len(twilio.bot_texts(ADA)) == 3


async def test_a_slow_message_is_overtaken_by_the_next(twilio: FakeTwilio, send: Send) -> None:
    await twilio.user_says(ADA, "Hi")
    twilio.plan_next(StatusPlan(sent_s=0.3), StatusPlan(sent_s=0))
    await send(twilio, "first")
    await send(twilio, "second")
    await twilio.settled()
    assert twilio.bot_texts(ADA) == ["second", "first"]


async def test_a_planned_failure_names_its_code(
    twilio: FakeTwilio, receiver: Any, send: Send
) -> None:
    await twilio.user_says(ADA, "Hi")
    twilio.plan_next(StatusPlan(error_code=63024))
    _, body = await send(twilio)
    await twilio.settled()
    form = receiver.received[-1].form
    assert (form["MessageStatus"], form["ErrorCode"]) == ("undelivered", "63024")
    assert twilio.messages[body["sid"]].error_code == 63024
    assert twilio.bot_texts(ADA) == []


async def test_users_who_opted_out_are_refused(twilio: FakeTwilio, send: Send) -> None:
    await twilio.user_says(ADA, "STOP")
    twilio.block(ADA)
    status, body = await send(twilio)
    assert (status, body["code"]) == (400, 21610)


@pytest.mark.parametrize(
    ("kind", "value", "status", "code"),
    [("rate_limit", 2, 429, 20429), ("http_500", 0, 500, 20500), ("unauthorized", 0, 401, 20003)],
)
async def test_injected_errors(
    twilio: FakeTwilio, send: Send, kind: Any, value: float, status: int, code: int
) -> None:
    twilio.fault(kind, "messages.create", value=value)
    got, body = await send(twilio)
    assert (got, body["code"], body["status"]) == (status, code, status)
    assert body["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert len(twilio.messages) == 0


async def test_drop_after_accepts_and_loses_the_answer(
    twilio: FakeTwilio, send: Send, http: httpx2.AsyncClient
) -> None:
    await twilio.user_says(ADA, "Hi")
    twilio.fault("drop_before", "messages.create")
    with pytest.raises(httpx2.TransportError):
        await send(twilio, "never")
    twilio.fault("drop_after", "messages.create")
    with pytest.raises(httpx2.TransportError):
        await send(twilio, "accepted")
    twilio.fault("cut_body", "messages.create")
    with pytest.raises(httpx2.TransportError):
        await send(twilio, "half answered")
    await twilio.settled()
    assert sorted(twilio.bot_texts(ADA)) == ["accepted", "half answered"]
    assert [call.fault for call in twilio.calls_of("messages.create")] == [
        "drop_before",
        "drop_after",
        "cut_body",
    ]


async def test_bad_gateway_is_html_and_garbage_is_no_json(
    twilio: FakeTwilio, http: httpx2.AsyncClient
) -> None:
    url = f"{twilio.base_url}/2010-04-01/Accounts/{twilio.account_sid}/Messages.json"
    auth = (twilio.account_sid, twilio.auth_token)
    twilio.fault("http_502", "messages.list")
    answer = await http.get(url, auth=auth)
    assert answer.status_code == 502 and answer.text.startswith("<html>")
    twilio.fault("garbage", "messages.list")
    broken = await http.get(url, auth=auth)
    with pytest.raises(ValueError):
        broken.json()
