"""Lanes: each chat in order, many chats at once, and nothing is lost when storage fails."""

import asyncio

import pytest

from roost_channels.console.channel import ConsoleChannel
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.lanes import Lanes
from roost_channels.delivery.ledger import RECORD_TRIES_MAX
from roost_channels.errors import (
    Throttled,
)
from roost_channels.message import Address, Button, ReplyTarget
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.testing import FakeTelegram, FloodLimits, VirtualClock
from roost_channels.testing.memory.delivery import QUICK, ScriptedChannel, deliver, quick_courier
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.testing.telegram import Window

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))


async def test_answers_arrive_in_order_and_complete(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    first = outbox.add(ADDRESS, "**one** " + "lorem ipsum " * 700)
    second = outbox.add(ADDRESS, "two", kind="notice")
    await deliver(quick_courier(channel, outbox), outbox, first, second)
    texts = telegram.bot_texts(CHAT)
    assert len(outbox.parts[first.id]) == 3 and texts[-1] == "two"
    assert (
        "".join(texts[:-1]).count("lorem ipsum") == 700
        or "".join(part.rendered.text for part in outbox.parts[first.id]).count("lorem ipsum")
        == 700
    )
    ids = [part.message_id for part in outbox.parts[first.id]]
    assert ids == [str(m.message_id) for m in telegram.visible(CHAT) if m.sender == "bot"][:-1]


@pytest.mark.parametrize(
    ("target", "is_group", "is_reply"),
    [
        (ReplyTarget("1"), False, False),
        (ReplyTarget("1"), True, True),
        (ReplyTarget("1", is_latest=False), False, True),
        (ReplyTarget("1", is_reply=True), False, True),
        (ReplyTarget("1", quote="is this"), False, True),
    ],
)
async def test_an_answer_is_a_native_reply_only_where_that_helps(
    target: ReplyTarget, is_group: bool, is_reply: bool
) -> None:
    channel, outbox = ScriptedChannel(), MemoryOutbox()
    at = Address("telegram", "42", "7", is_group=is_group)
    entry = outbox.add(at, "the answer", reply_to=target)
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert [sent[2] for sent in channel.sent] == [target if is_reply else None]


async def test_a_lane_that_looked_before_a_stop_sends_nothing_and_goes_on() -> None:
    """The claim is refused as it comes too late; the next message needs no pause for that."""

    class Stopped(MemoryOutbox):
        async def sending(
            self, part_id: str, owner: str, lease_s: float, *, after: int = -1
        ) -> int:
            if part_id.startswith(first.id):
                self.over.add(first.id)  # the person's /stop commits right now
            return await super().sending(part_id, owner, lease_s, after=after)

    channel, outbox = ScriptedChannel(), Stopped()
    first = outbox.add(ADDRESS, "not wanted any more")
    second = outbox.add(ADDRESS, "Stopped: the answer was not sent.", kind="notice")
    await deliver(quick_courier(channel, outbox), outbox, first, second)
    assert channel.texts == ["Stopped: the answer was not sent."]


async def test_the_reply_is_native_on_the_first_part_and_buttons_are_on_the_last(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    asked = await telegram.user_says(CHAT, "what is this?")
    entry = outbox.add(
        ADDRESS,
        "word " * 1200,
        reply_to=ReplyTarget(str(asked), quote="is this", utf16_start=5, excerpt="what is this?"),
        buttons=[Button("Yes", "yes"), Button("No", "no")],
    )
    await deliver(quick_courier(channel, outbox), outbox, entry)
    first, last = [m for m in telegram.visible(CHAT) if m.sender == "bot"]
    assert first.reply_to is not None and first.reply_to.quote == "is this"
    assert first.reply_to.message_id == asked and not first.buttons
    assert last.reply_to is None and [b.data for b in last.buttons] == ["yes", "no"]


async def test_r10_one_operation_is_in_flight_per_chat_and_many_chats_go_at_once() -> None:
    channel, outbox = ScriptedChannel(), MemoryOutbox()
    one = [outbox.add(ADDRESS, f"message {n}") for n in range(10)]
    await deliver(quick_courier(channel, outbox), outbox, *one)
    assert channel.in_flight_max == 1
    assert channel.texts == [f"message {n}" for n in range(10)]
    # Topics of a chat share its lane.
    topics = [outbox.add(Address("telegram", "42", "7", str(n)), "x") for n in range(1, 4)]
    await deliver(quick_courier(channel, outbox), outbox, *topics)
    assert channel.in_flight_max == 1
    many = [outbox.add(Address("telegram", "42", str(n)), "x") for n in range(100, 120)]
    await deliver(quick_courier(channel, outbox), outbox, *many)
    assert channel.in_flight_max > 5


async def test_no_more_lanes_run_than_allowed() -> None:
    channel, outbox = ScriptedChannel(), MemoryOutbox()
    entries = [outbox.add(Address("telegram", "42", str(n)), "x") for n in range(100, 120)]
    config = QUICK.model_copy(update={"lanes_max": 3})
    await deliver(quick_courier(channel, outbox, config), outbox, *entries)
    assert channel.in_flight_max == 3


async def test_r11_a_throttled_chat_is_left_alone_and_others_are_served() -> None:
    clock, channel = VirtualClock(), ScriptedChannel(Throttled(1200.0))
    outbox = MemoryOutbox(clock)
    throttled = outbox.add(ADDRESS, "waits")
    courier = quick_courier(channel, outbox, QUICK.model_copy(update={"lanes_max": 1}), clock=clock)
    await courier.drain()
    other = outbox.add(Address("telegram", "42", "8"), "goes")
    await deliver(courier, outbox, other)
    # No lane is held for twenty minutes, and a newer message to that chat waits too.
    newer = outbox.add(ADDRESS, "newer")
    await clock.advance(1190)
    await courier.drain()
    assert outbox.states(throttled) == ["not_sent"]
    assert channel.texts == ["waits", "goes"]
    await clock.advance(45)
    await deliver(courier, outbox, throttled, newer)
    assert channel.texts[2:] == ["waits", "newer"]


async def test_r11_no_call_is_made_inside_a_flood_wait(channel: TelegramChannel) -> None:
    limits = FloodLimits(private=(Window(2, 1.0),))
    async with FakeTelegram(flood=limits) as server:
        await server.user_says(CHAT, "hello")
        config = TelegramConfig.model_validate({"token": server.token, "api_base": server.base_url})
        flooded = TelegramChannel(config)
        outbox = MemoryOutbox()
        entries = [outbox.add(ADDRESS, f"message {n}") for n in range(5)]
        try:
            await deliver(quick_courier(flooded, outbox), outbox, *entries, timeout_s=30)
        finally:
            await flooded.close()
        assert server.bot_texts(CHAT) == [f"message {n}" for n in range(5)]
        assert any(call.status == 429 for call in server.calls) and not server.early_calls


async def test_a_receipt_is_kept_through_a_hiccup_of_storage() -> None:
    channel, outbox = ScriptedChannel(), MemoryOutbox()
    entry = outbox.add(ADDRESS, "x")
    outbox.fault("sent", RuntimeError("database is locked"))
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert outbox.states(entry) == ["sent"] and len(channel.sent) == 1


async def test_a_failing_storage_stops_no_lane_for_good() -> None:
    channel, outbox = ScriptedChannel(), MemoryOutbox()
    entry = outbox.add(ADDRESS, "x")
    outbox.fault("next_entry", RuntimeError("database is locked"))
    work = quick_courier(channel, outbox)
    await work.drain()
    work._not_before.clear()
    await deliver(work, outbox, entry)
    assert len(channel.sent) == 1


async def test_a_courier_wakes_for_new_work_and_lets_a_send_finish_when_it_stops() -> None:
    channel, outbox = ScriptedChannel(), MemoryOutbox()
    running = asyncio.create_task(quick_courier(channel, outbox).run())
    await asyncio.sleep(0.01)
    entry = outbox.add(ADDRESS, "x")
    while not channel.in_flight:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert outbox.states(entry) == ["sent"]


async def test_the_console_stores_what_is_sent() -> None:
    outbox = MemoryOutbox()
    address = Address("console", "local", "test")
    entry = outbox.add(address, "**hi**")
    await deliver(Courier([ConsoleChannel()], outbox, "c", config=QUICK), outbox, entry)
    part = outbox.parts[entry.id][0]
    assert part.message_id == part.id and part.rendered.text == "hi"


async def test_lanes_keep_no_lock_of_an_idle_chat() -> None:
    lanes = Lanes()
    async with lanes.lock(ADDRESS):
        assert lanes.busy(ADDRESS) and len(lanes) == 1
    assert not lanes.busy(ADDRESS) and len(lanes) == 0


async def test_a_receipt_that_storage_refused_is_recorded_later_and_nothing_is_sent_again(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    for _ in range(RECORD_TRIES_MAX):
        outbox.fault("sent", ConnectionError("the database restarts"))
    entry = outbox.add(ADDRESS, "once")
    await deliver(quick_courier(channel, outbox), outbox, entry, timeout_s=30.0)
    assert outbox.states(entry) == ["sent"]
    assert telegram.bot_texts(CHAT) == ["once"]
    assert len(telegram.calls_of("sendMessage")) == 1
