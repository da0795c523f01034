"""What people see while a turn runs: typing, a reaction, then one status message."""

import asyncio

import pytest

from roost_channels.config import Progress
from roost_channels.console.channel import ConsoleChannel
from roost_channels.delivery.ledger import Ledger
from roost_channels.message import Address, ReplyTarget
from roost_channels.outbox import ProgressSnapshot
from roost_channels.progress.renderer import STILL_WORKING, ProgressRenderer
from roost_channels.telegram.testing import ADDRESS, CHAT, Phone
from roost_channels.testing import FakeTelegram, FakeTwilio, VirtualClock
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.whatsapp.channel import WhatsAppChannel
from roost_channels.whatsapp.config import TwilioConfig


async def test_typing_shows_at_once_and_is_kept_up(phone: Phone) -> None:
    phone.turn()
    await phone.renderer.finish_step()
    assert phone.telegram.typing(CHAT) and not phone.telegram.bot_texts(CHAT)
    await phone.after(12.0)
    assert 3 <= phone.calls("sendChatAction") <= 4


@pytest.mark.parametrize(("reaction", "shown"), [("👀", ("👀",)), ("", ()), ("not a reaction", ())])
async def test_a_reaction_is_the_first_sign_where_one_is_set(reaction: str, shown: object) -> None:
    clock = VirtualClock()
    async with FakeTelegram(clock=clock) as telegram:
        await telegram.user_says(CHAT, "hello")
        phone = Phone(telegram, clock, reaction=reaction)
        phone.turn()
        await phone.renderer.finish_step()
        assert telegram.visible(CHAT)[0].reactions == shown and telegram.typing(CHAT)
        await phone.after(10.0)
        phone.restart()
        await phone.after(10.0)
        assert phone.calls("setMessageReaction") == bool(reaction)
        assert phone.calls("sendChatAction") >= 4
        await phone.channel.close()


async def test_the_status_message_appears_after_a_while_with_a_stop_button(phone: Phone) -> None:
    phone.turn()
    assert await phone.after(1.0) == []
    assert await phone.after(1.0) == ["Thinking…"]
    shown = phone.telegram.visible(CHAT)[-1]
    assert [(b.text, b.data) for b in shown.buttons] == [("Stop", "stop:turn-1")]
    assert shown.reply_to is not None and shown.reply_to.quote is None and shown.silent


async def test_a_quick_answer_has_no_status_message(phone: Phone) -> None:
    phone.turn()
    await phone.after(1.0)
    phone.outbox.add(ADDRESS, "quick", turn_id="turn-1")
    await phone.after(2.0)
    await phone.courier.drain()
    assert [call.method for call in phone.telegram.calls if call.method == "sendMessage"] == [
        "sendMessage"
    ]
    assert await phone.after(3.0) == ["quick"]


async def test_edits_come_only_on_change_and_not_too_often(phone: Phone) -> None:
    phone.turn()
    await phone.after(8.0)
    assert phone.calls("editMessageText") == 0
    for n in range(30):
        phone.turn("tool", tools=tuple(f"tool {k}" for k in range(n + 1)))
        await phone.after(0.25)
    texts = await phone.after(2.0)
    assert "tool 29" in texts[0] and len(texts) == 1
    interval = phone.telegram.shortest_edit_interval(CHAT)
    assert interval is not None and interval >= 1.5
    assert phone.calls("editMessageText") <= 7


async def test_a_model_that_can_not_be_reached_is_told(phone: Phone) -> None:
    phone.turn("unreachable")
    assert await phone.after(2.0) == ["The model is not reachable, retrying…"]
    phone.turn("thinking")
    assert await phone.after(2.0) == ["Thinking…"]


async def test_groups_are_edited_less_often(phone: Phone) -> None:
    phone.telegram.add_group(-100)
    asked = await phone.telegram.user_says(-100, "hello")
    group = Address("telegram", "42", "-100", is_group=True)
    phone.turn(address=group, reply_to=ReplyTarget(str(asked)))
    for n in range(60):
        phone.turn("tool", tools=(f"tool {n}",))
        await phone.after(0.25)
    interval = phone.telegram.shortest_edit_interval(-100)
    assert interval is not None and interval >= 3.0


async def test_r11_progress_is_dropped_in_a_flood_wait_and_never_retried(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.telegram.fault("rate_limit", "editMessageText", value=10)
    phone.turn("tool", tools=("one",))
    await phone.after(2.0)
    calls = len(phone.telegram.calls)
    phone.turn("tool", tools=("two",))
    await phone.after(7.0)
    assert len(phone.telegram.calls) == calls and not phone.telegram.early_calls
    texts = await phone.after(5.0)
    assert "two" in texts[0] and "one" not in texts[0]


async def test_with_progress_off_people_see_typing_alone(phone: Phone) -> None:
    phone.turn(mode="off")
    assert await phone.after(5.0) == [] and phone.telegram.typing(CHAT)


async def test_a_status_message_that_the_person_deleted_is_left_alone(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.telegram.user_deletes(CHAT, phone.telegram.visible(CHAT)[-1].message_id)
    phone.turn("tool", tools=("one",))
    await phone.after(3.0)
    phone.turn("tool", tools=("two",))
    assert await phone.after(5.0) == [] and phone.calls("editMessageText") == 1


async def test_progress_of_a_restarted_courier_obeys_the_waits_of_the_one_before(
    phone: Phone,
) -> None:
    await phone.outbox.keep_wait(ADDRESS, phone.clock.time() + 20)
    phone.turn()
    running = asyncio.create_task(phone.renderer.run())
    for _ in range(40):
        await phone.clock.advance(0.25)
    assert phone.telegram.calls_of("sendChatAction") == []
    for _ in range(60):
        await phone.clock.advance(0.25)
    assert phone.calls("sendChatAction") > 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_progress_gives_way_to_an_answer_in_flight(phone: Phone) -> None:
    ledger = Ledger(phone.outbox, phone.clock)
    renderer = ProgressRenderer([phone.channel], ledger)
    phone.turn()
    async with ledger.lanes.lock(ADDRESS):
        await renderer.finish_step()
    assert phone.calls("sendChatAction") == 0


@pytest.mark.parametrize("progress", ["status", "off"])
async def test_whatsapp_types_every_twenty_seconds_and_says_once_that_work_goes_on(
    progress: Progress,
) -> None:
    clock = VirtualClock()
    async with FakeTwilio(clock=clock) as twilio:
        user = "whatsapp:+15551112222"
        sid = await twilio.user_says(user, "hello")
        config = {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "from": twilio.sender,
            "api_base": twilio.base_url,
        }
        channel = WhatsAppChannel(TwilioConfig.model_validate(config), clock=clock)
        outbox = MemoryOutbox(clock)
        # What another account's settings say does not matter here.
        modes: dict[tuple[str, str], Progress] = {("telegram", "42"): "off"}
        if progress == "off":
            modes["whatsapp", twilio.sender] = "off"
        renderer = ProgressRenderer([channel], Ledger(outbox, clock), modes=modes)
        address = Address("whatsapp", twilio.sender, user)
        outbox.running(
            ProgressSnapshot(
                turn_id="turn-1",
                conversation_id="c",
                address=address,
                generation=1,
                phase="thinking",
                text="",
                tools=(),
                reply_to=None,
                inbound_message_id=sid,
                started_at=clock.time(),
                updated_at=clock.time(),
                version=1,
            )
        )
        for _ in range(120):
            await clock.advance(1.0)
            await renderer.finish_step()
        assert 5 <= len(twilio.calls_of("typing")) <= 7
        sent = [(m.body, m.buttons) for m in twilio.messages.values() if not m.inbound]
        expected = (STILL_WORKING, [("stop:turn-1", "Stop")])
        assert sent == ([] if progress == "off" else [expected])
        await channel.close()


async def test_the_console_shows_progress_itself() -> None:
    outbox, clock = MemoryOutbox(), VirtualClock()
    renderer = ProgressRenderer([ConsoleChannel()], Ledger(outbox, clock))
    phone_snapshot = ProgressSnapshot(
        "t", "c", Address("console", "local", "x"), 1, "thinking", "", (), None, "", 0.0, 0.0, 1
    )
    outbox.running(phone_snapshot)
    await renderer.finish_step()
    assert not outbox.statuses


async def test_the_renderer_wakes_for_news_and_stops_cleanly() -> None:
    outbox = MemoryOutbox()
    renderer = ProgressRenderer([ConsoleChannel()], Ledger(outbox))
    task = asyncio.create_task(renderer.run())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_look_that_failed_is_repeated_soon_though_nothing_is_committed(
    phone: Phone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a turn that began meanwhile would be shown after minutes."""
    looks, seen = 0, phone.outbox.progress

    async def away(channels: object) -> object:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise OSError("no database")
        return await seen(channels)  # type: ignore[arg-type]

    monkeypatch.setattr(phone.outbox, "progress", away)
    running = asyncio.create_task(phone.renderer.run())
    for number in range(40):
        if number == 8:  # the look before found nothing, so it rests for minutes
            assert looks == 1
            phone.outbox.add(ADDRESS, "wakes it")
        await phone.clock.advance(0.5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert looks >= 3
