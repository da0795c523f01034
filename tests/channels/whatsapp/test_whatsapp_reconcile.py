"""Messages that no webhook brought are found in Twilio's list, in order and once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roost_channels.intake import Refusal
from roost_channels.testing import FakeTwilio, StatusPlan, VirtualClock
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.whatsapp.client import TwilioClient
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.inbound import backfill
from roost_channels.whatsapp.inbound.backfill import GRACE_S, OVERLAP_S, Backfill
from roost_channels.whatsapp.window import INVITATION

ADA, BEN = "whatsapp:+15551112222", "whatsapp:+15553334444"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def twilio(clock: VirtualClock) -> AsyncIterator[FakeTwilio]:
    """No webhook: nothing but the list tells of messages."""
    async with FakeTwilio(clock=clock) as server:
        yield server


@pytest.fixture
async def client(twilio: FakeTwilio) -> AsyncIterator[TwilioClient]:
    made = TwilioClient(settings(twilio))
    yield made
    await made.close()


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


async def refused(*_: object, **__: object) -> Any:
    raise OSError("the database is away")


def texts(intake: MemoryIntake) -> list[str]:
    return [message.text for message in intake.messages.values()]


async def test_r19_an_hour_without_webhooks_is_caught_up_in_order_and_once(
    twilio: FakeTwilio, client: TwilioClient, clock: VirtualClock
) -> None:
    intake = MemoryIntake()
    await twilio.user_says(ADA, "before our time")
    await clock.advance(GRACE_S + OVERLAP_S + 1)
    first = Backfill(client, settings(twilio), clock)
    assert await first.search(intake) == 0  # the first start answers nothing old
    for number, person in enumerate((ADA, BEN, ADA)):
        await clock.advance(1000)
        media = [(b"x", "image/png")] if number == 2 else []
        await twilio.user_says(person, f"message {number}", media=media)
    await clock.advance(GRACE_S + 1)
    second = Backfill(client, settings(twilio), clock)  # the courier was away meanwhile
    assert await second.search(intake) == 3
    assert texts(intake) == ["message 0", "message 1", "message 2"]
    found = list(intake.messages.values())
    assert [m.address.chat for m in found] == [ADA, BEN, ADA]
    assert found[0].sent_at == pytest.approx(clock.time() - GRACE_S - 1 - 2000, abs=2)
    [photo] = found[2].attachments
    assert photo.mime_type == "image/png" and f"{found[2].message_id}/Media/ME" in photo.url
    assert found[0].raw["sid"] == found[0].event_id and found[0].raw["direction"] == "inbound"
    assert await second.search(intake) == 0
    assert len(intake.messages) == 3


async def test_what_came_while_the_first_search_could_not_be_stored_is_caught_up(
    twilio: FakeTwilio, client: TwilioClient, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away when the channel starts for the first time, here for an hour."""
    await twilio.user_says(ADA, "before our time")
    await clock.advance(GRACE_S + OVERLAP_S + 1)
    reconciler, intake = Backfill(client, settings(twilio), clock), MemoryIntake()
    with monkeypatch.context() as away, pytest.raises(OSError, match="away"):
        away.setattr(MemoryIntake, "cursor", refused)
        await reconciler.search(intake)
    await twilio.user_says(ADA, "meanwhile")
    await clock.advance(3600)
    assert [await reconciler.search(intake) for _ in range(3)] == [0, 1, 0]
    assert texts(intake) == ["meanwhile"]


async def test_what_came_while_the_clock_was_ahead_is_found_once_it_is_set_right(
    twilio: FakeTwilio, client: TwilioClient, clock: VirtualClock
) -> None:
    intake = MemoryIntake()
    reconciler = Backfill(client, settings(twilio), clock)
    await reconciler.search(intake)
    await twilio.user_says(ADA, "while it was ahead")
    intake.cursors["whatsapp", twilio.sender] = int(clock.time() + 3600 - GRACE_S)
    await clock.advance(GRACE_S + 1)
    assert [await reconciler.search(intake) for _ in range(2)] == [1, 0]
    assert texts(intake) == ["while it was ahead"]
    assert intake.cursors["whatsapp", twilio.sender] == int(clock.time() - GRACE_S)


async def test_a_message_gets_the_time_its_webhook_needs(
    twilio: FakeTwilio, client: TwilioClient, clock: VirtualClock
) -> None:
    intake = MemoryIntake()
    reconciler = Backfill(client, settings(twilio), clock)
    await reconciler.search(intake)
    await clock.advance(60)
    await twilio.user_says(ADA, "under way")
    assert await reconciler.search(intake) == 0
    await clock.advance(GRACE_S + 1)
    assert await reconciler.search(intake) == 1


async def test_more_than_one_search_may_hold_come_oldest_first_over_many_pages(
    twilio: FakeTwilio, client: TwilioClient, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "PAGE_SIZE", 2)
    monkeypatch.setattr(backfill, "MISSING_MAX", 3)
    intake = MemoryIntake()
    reconciler = Backfill(client, settings(twilio), clock)
    await reconciler.search(intake)
    for number in range(7):
        await clock.advance(10)
        await twilio.user_says(ADA, str(number))
    await clock.advance(GRACE_S + 1)
    assert [await reconciler.search(intake) for _ in range(4)] == [3, 3, 1, 0]
    assert texts(intake) == [str(number) for number in range(7)]


async def test_a_search_looks_back_no_further_and_walks_no_more_pages_than_it_may(
    twilio: FakeTwilio,
    client: TwilioClient,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    intake = MemoryIntake()
    reconciler = Backfill(client, settings(twilio, reconcile_back_s=3600), clock)
    await reconciler.search(intake)
    await clock.advance(60)
    await twilio.user_says(ADA, "too long ago")
    await clock.advance(7200)
    await twilio.user_says(ADA, "lately")
    await clock.advance(GRACE_S + 1)
    assert await reconciler.search(intake) == 1
    assert texts(intake) == ["lately"]
    monkeypatch.setattr(backfill, "PAGE_SIZE", 1)
    monkeypatch.setattr(backfill, "PAGES_MAX", 1)
    for _ in range(3):
        await twilio.user_says(ADA, "one of many")
    await clock.advance(GRACE_S + 1)
    assert await reconciler.search(intake) == 1
    assert "more than 1 messages" in caplog.text


async def test_the_accounts_health_tells_of_missing_webhooks_and_of_a_silent_twilio(
    twilio: FakeTwilio, client: TwilioClient, clock: VirtualClock
) -> None:
    intake = MemoryIntake()
    reconciler = Backfill(client, settings(twilio), clock)
    running = asyncio.create_task(reconciler.run(intake))

    async def told(state: str) -> None:
        async with asyncio.timeout(20):
            while not intake.states or intake.states[-1][0] != state:
                await clock.advance(5)
                await asyncio.sleep(0.002)

    async with asyncio.timeout(20):
        while intake.cursors == {}:
            await asyncio.sleep(0.002)
    await twilio.user_says(ADA, "hello?")
    await told("degraded")
    assert "1 message came without a webhook" in intake.states[-1][1]
    await told("up")
    twilio.fault("http_500", "messages.list", count=-1)
    await told("degraded")
    assert "can't be asked" in intake.states[-1][1]
    twilio.clear_faults()
    await told("up")
    twilio.fault("unauthorized", "messages.list")
    await told("auth_error")
    await told("up")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_zero_seconds_turn_the_search_off(
    twilio: FakeTwilio, client: TwilioClient, clock: VirtualClock
) -> None:
    await Backfill(client, settings(twilio, reconcile_s=0), clock).run(MemoryIntake())
    assert twilio.calls == []


async def test_r21_a_failure_whose_callback_was_lost_is_found_in_the_list(
    twilio: FakeTwilio, client: TwilioClient, clock: VirtualClock
) -> None:
    intake = MemoryIntake()
    reconciler = Backfill(client, settings(twilio, window_template="HX1"), clock)
    await reconciler.search(intake)
    await twilio.user_says(ADA, "hello")
    sids = []
    for plan in (StatusPlan(silent=True), StatusPlan(error_code=63016, silent=True)):
        twilio.plan_next(plan)
        form = {"To": ADA, "From": twilio.sender, "Body": "the answer"}
        sids.append((await client.create_message(form))["sid"])
    await clock.advance(10)
    await reconciler.search(intake)
    [receipt] = intake.receipts
    assert (receipt.message_id, receipt.error_code) == (sids[1], "63016")
    assert receipt.refusal == Refusal(held=True, invitation=INVITATION)
    await clock.advance(3600)
    await reconciler.search(intake)
    await reconciler.search(intake)
    assert {found.message_id for found in intake.receipts} == {sids[1]}
    seen = len(intake.receipts)
    await clock.advance(3600)
    await reconciler.search(intake)
    assert len(intake.receipts) == seen  # too long ago to be asked about again
