"""Lanes, limits and the settling of uncertain sends, against a real Bot API server on loopback."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from roost_channels.capabilities import Capabilities
from roost_channels.channel import Outgoing
from roost_channels.config import DeliveryConfig
from roost_channels.console.channel import ConsoleChannel
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.lanes import Lanes
from roost_channels.delivery.ledger import RECORD_TRIES_MAX
from roost_channels.delivery.limits import Limiter
from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    DeliveryError,
    NotSent,
    RenderRejected,
    Throttled,
    WindowClosed,
)
from roost_channels.message import Address, Attachment, Button, Receipt, ReplyTarget
from roost_channels.outbox import OutboxEntry, StatusMessage
from roost_channels.rendering.parts import REPEAT_LABEL, RenderedPart
from roost_channels.telegram.channel import CAPABILITIES as TELEGRAM
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.testing import FakeTelegram, FloodLimits, VirtualClock
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.testing.telegram import Window

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, shutdown_s=1.0)


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as server:
        await server.user_says(CHAT, "hello")
        yield server


@pytest.fixture
async def channel(telegram: FakeTelegram) -> AsyncIterator[TelegramChannel]:
    config = TelegramConfig.model_validate({"token": telegram.token, "api_base": telegram.base_url})
    found = TelegramChannel(config)
    yield found
    await found.close()


def courier(
    channel: TelegramChannel, outbox: MemoryOutbox, config: DeliveryConfig = QUICK
) -> Courier:
    # The tests' chats are written to faster than people read.
    return Courier([channel], outbox, "courier-1", config=config, limiter=Limiter(chat_burst=50))


async def deliver(
    courier: Courier, outbox: MemoryOutbox, *entries: OutboxEntry, timeout_s: float = 10.0
) -> None:
    """Drain until every entry is finished."""

    async def finished() -> None:
        done = {"sent", "failed"}
        while any(not outbox.states(e) or set(outbox.states(e)) - done for e in entries):
            await courier.drain()
            await asyncio.sleep(0.005)

    await asyncio.wait_for(finished(), timeout_s)


async def test_answers_arrive_in_order_and_complete(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    first = outbox.add(ADDRESS, "**one** " + "lorem ipsum " * 700)
    second = outbox.add(ADDRESS, "two", kind="notice")
    await deliver(courier(channel, outbox), outbox, first, second)
    texts = telegram.bot_texts(CHAT)
    assert len(outbox.parts[first.id]) == 3 and texts[-1] == "two"
    assert (
        "".join(texts[:-1]).count("lorem ipsum") == 700
        or "".join(part.rendered.text for part in outbox.parts[first.id]).count("lorem ipsum")
        == 700
    )
    ids = [part.message_id for part in outbox.parts[first.id]]
    assert ids == [str(m.message_id) for m in telegram.visible(CHAT) if m.sender == "bot"][:-1]


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
    await deliver(courier(channel, outbox), outbox, entry)
    first, last = [m for m in telegram.visible(CHAT) if m.sender == "bot"]
    assert first.reply_to is not None and first.reply_to.quote == "is this"
    assert first.reply_to.message_id == asked and not first.buttons
    assert last.reply_to is None and [b.data for b in last.buttons] == ["yes", "no"]


async def test_r17_a_refused_quote_falls_back_to_a_plain_reply(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    asked = await telegram.user_says(CHAT, "what is this?")
    entry = outbox.add(ADDRESS, "answer", reply_to=ReplyTarget(str(asked), quote="never said"))
    await deliver(courier(channel, outbox), outbox, entry)
    shown = telegram.visible(CHAT)[-1]
    assert shown.text == "answer" and shown.reply_to is not None and shown.reply_to.quote is None


async def test_r17_a_lost_reply_target_does_not_lose_the_answer(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "answer", reply_to=ReplyTarget("99999"))
    await deliver(courier(channel, outbox), outbox, entry)
    assert telegram.bot_texts(CHAT) == ["answer"]


class Refusing:
    """A channel that answers each send with the next of some outcomes."""

    name = "telegram"
    account = "42"
    capabilities: Capabilities = TELEGRAM

    def __init__(self, *outcomes: DeliveryError | Exception | Literal["ok"]) -> None:
        self.outcomes = list(outcomes)
        self.sent: list[tuple[Address, RenderedPart, ReplyTarget | None]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.found: Receipt | Literal["absent", "unknown"] = "unknown"
        self.edits: list[tuple[str, str]] = []

    async def send(self, message: Outgoing) -> Receipt:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0.002)
        self.in_flight -= 1
        self.sent.append((message.address, message.part, message.reply_to))
        outcome = self.outcomes.pop(0) if self.outcomes else "ok"
        if isinstance(outcome, Exception):
            raise outcome
        return Receipt(str(1000 + len(self.sent)))

    async def edit(self, message_id: str, message: Outgoing) -> None:
        self.edits.append((message_id, message.part.text))

    async def delete(self, address: Address, message_id: str) -> None: ...

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None: ...

    async def find_sent(
        self, message: Outgoing, *, since: float
    ) -> Receipt | Literal["absent", "unknown"]:
        return self.found

    async def download(self, attachment: Attachment, bytes_max: int) -> bytes:
        return b""

    async def acknowledge(self, callback_id: str, text: str = "") -> None: ...

    async def ingest(self, intake: object) -> None: ...

    async def close(self) -> None: ...


def lane(
    channel: Refusing, outbox: MemoryOutbox, config: DeliveryConfig = QUICK, **extra: object
) -> Courier:
    limiter = Limiter(chat_burst=1000, account_rate=100_000)
    return Courier([channel], outbox, "courier-1", config=config, limiter=limiter, **extra)  # type: ignore[arg-type]


async def test_r10_one_operation_is_in_flight_per_chat_and_many_chats_go_at_once() -> None:
    channel, outbox = Refusing(), MemoryOutbox()
    one = [outbox.add(ADDRESS, f"message {n}") for n in range(10)]
    await deliver(lane(channel, outbox), outbox, *one)
    assert channel.most_in_flight == 1
    assert [part.text for _, part, _ in channel.sent] == [f"message {n}" for n in range(10)]
    # Topics of a chat share its lane.
    topics = [outbox.add(Address("telegram", "42", "7", str(n)), "x") for n in range(1, 4)]
    await deliver(lane(channel, outbox), outbox, *topics)
    assert channel.most_in_flight == 1
    many = [outbox.add(Address("telegram", "42", str(n)), "x") for n in range(100, 120)]
    await deliver(lane(channel, outbox), outbox, *many)
    assert channel.most_in_flight > 5


async def test_no_more_lanes_run_than_allowed() -> None:
    channel, outbox = Refusing(), MemoryOutbox()
    entries = [outbox.add(Address("telegram", "42", str(n)), "x") for n in range(100, 120)]
    config = QUICK.model_copy(update={"lanes_max": 3})
    await deliver(lane(channel, outbox, config), outbox, *entries)
    assert channel.most_in_flight == 3


async def test_what_was_not_sent_is_tried_again_and_becomes_a_dead_letter_after_eight_tries() -> (
    None
):
    outbox = MemoryOutbox()
    channel = Refusing(*[NotSent("refused")] * 8)
    stuck = outbox.add(ADDRESS, "stuck " * 1500)
    later = outbox.add(ADDRESS, "later")
    await deliver(lane(channel, outbox), outbox, stuck, later)
    assert len(channel.sent) == 9 and outbox.states(stuck) == ["failed", "failed", "failed"]
    # The lane goes on with what comes after a dead letter.
    assert outbox.states(later) == ["sent"]


async def test_r11_a_throttled_chat_is_left_alone_and_others_are_served() -> None:
    clock, channel = VirtualClock(), Refusing(Throttled(1200.0))
    outbox = MemoryOutbox(clock)
    throttled = outbox.add(ADDRESS, "waits")
    courier = lane(channel, outbox, QUICK.model_copy(update={"lanes_max": 1}), clock=clock)
    await courier.drain()
    other = outbox.add(Address("telegram", "42", "8"), "goes")
    await deliver(courier, outbox, other)
    # No lane is held for twenty minutes, and a newer message to that chat waits too.
    newer = outbox.add(ADDRESS, "newer")
    await clock.advance(1190)
    await courier.drain()
    assert outbox.states(throttled) == ["not_sent"]
    assert [part.text for _, part, _ in channel.sent] == ["waits", "goes"]
    await clock.advance(45)
    await deliver(courier, outbox, throttled, newer)
    assert [part.text for _, part, _ in channel.sent][2:] == ["waits", "newer"]


async def test_r11_no_call_is_made_inside_a_flood_wait(channel: TelegramChannel) -> None:
    limits = FloodLimits(private=(Window(2, 1.0),))
    async with FakeTelegram(flood=limits) as server:
        await server.user_says(CHAT, "hello")
        config = TelegramConfig.model_validate({"token": server.token, "api_base": server.base_url})
        flooded = TelegramChannel(config)
        outbox = MemoryOutbox()
        entries = [outbox.add(ADDRESS, f"message {n}") for n in range(5)]
        try:
            await deliver(courier(flooded, outbox), outbox, *entries, timeout_s=30)
        finally:
            await flooded.close()
        assert server.bot_texts(CHAT) == [f"message {n}" for n in range(5)]
        assert any(call.status == 429 for call in server.calls) and not server.early_calls


async def test_r14_refused_formatting_is_sent_plain(telegram: FakeTelegram) -> None:
    outbox = MemoryOutbox()
    channel = Refusing(RenderRejected("can't parse entities", code="markup"))
    entry = outbox.add(ADDRESS, "**bold** words")
    await deliver(lane(channel, outbox), outbox, entry)
    (_, rich, _), (_, plain, _) = channel.sent
    assert rich.entities and not plain.entities and plain.text == "bold words"


async def test_refusals_end_in_a_dead_letter_when_nothing_plainer_is_left() -> None:
    outbox = MemoryOutbox()
    channel = Refusing(*[RenderRejected("no", code="reply")] * 5)
    entry = outbox.add(ADDRESS, "words", reply_to=ReplyTarget("1"))
    await deliver(lane(channel, outbox), outbox, entry)
    assert outbox.states(entry) == ["failed"] and len(channel.sent) == 2
    assert channel.sent[1][2] is None


async def test_r16_a_migrated_chat_takes_its_messages_along(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    telegram.add_group(-5, type="group")
    await telegram.migrate(-5, -1005)
    outbox = MemoryOutbox()
    entry = outbox.add(Address("telegram", "42", "-5"), "answer")
    await deliver(courier(channel, outbox), outbox, entry)
    assert telegram.bot_texts(-1005) == ["answer"]


async def test_r37_a_blocked_bot_files_a_dead_letter_with_the_reason(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    await telegram.block(CHAT)
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "answer")
    await deliver(courier(channel, outbox), outbox, entry)
    assert outbox.states(entry) == ["failed"]
    assert "blocked" in outbox.history[-1].detail


async def test_r21_a_closed_window_holds_the_answer_until_the_person_writes_again() -> None:
    clock, channel = VirtualClock(), Refusing(WindowClosed(code="63016"))
    outbox = MemoryOutbox(clock)
    courier = lane(channel, outbox, clock=clock)
    held = outbox.add(ADDRESS, "held")
    await courier.drain()
    await courier.drain()
    assert outbox.states(held) == ["not_sent"] and len(channel.sent) == 1
    newer = outbox.add(ADDRESS, "newer")
    await clock.advance(60)
    await courier.drain()
    assert len(channel.sent) == 1
    outbox.person_wrote(ADDRESS)
    await deliver(courier, outbox, held, newer)
    assert [part.text for _, part, _ in channel.sent] == ["held", "held", "newer"]


async def test_refused_credentials_pause_the_account_and_raise_an_alert() -> None:
    channel = Refusing(AuthBroken("Unauthorized"))
    told: list[str] = []

    async def report(_: str, __: str, state: str, ___: str) -> None:
        told.append(state)

    clock = VirtualClock()
    outbox = MemoryOutbox(clock)
    courier = lane(channel, outbox, clock=clock, report=report)
    first = outbox.add(ADDRESS, "first")
    await courier.drain()
    other = outbox.add(Address("telegram", "42", "8"), "other")
    await courier.drain()
    assert told == ["auth_error"] and len(channel.sent) == 1
    await clock.advance(QUICK.auth_probe_s + 1)
    await deliver(courier, outbox, first, other)
    assert told == ["auth_error", "up"]


async def test_refused_credentials_are_tried_again_soon_then_ever_later() -> None:
    channel = Refusing(*[AuthBroken("Unauthorized")] * 5)
    clock = VirtualClock()
    outbox = MemoryOutbox(clock)
    courier = lane(channel, outbox, clock=clock)
    entry = outbox.add(ADDRESS, "answer")
    waits = []
    for _ in range(5):
        await courier.drain()
        waits.append(outbox.parts[entry.id][0].next_at - clock.time())
        await clock.advance(waits[-1])
    assert waits == [5.0, 10.0, 20.0, 40.0, QUICK.auth_probe_s]
    await deliver(courier, outbox, entry)


# Uncertain sends --------------------------------------------------------------------------------


async def test_r2_a_crash_between_sending_and_sent_leaves_one_visible_copy(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    status = await channel.send(Outgoing(ADDRESS, RenderedPart("Thinking…")))
    await outbox.put_status_message(
        StatusMessage("turn-1", ADDRESS, status.message_id, "Thinking…", "open", 0.0)
    )
    # The first courier dies after `sending` was committed and before the request left.
    (part,) = await outbox.plan(entry.id, [RenderedPart("the answer", (), 0, 10)])
    await outbox.sending(part.id, "courier-0", 60.0)
    assert await outbox.recover("courier-1") == 1
    await deliver(courier(channel, outbox), outbox, entry)
    assert telegram.bot_texts(CHAT) == [f"{REPEAT_LABEL}the answer"]
    assert outbox.states(entry) == ["sent"]
    assert (await outbox.status_message("turn-1")).state == "closed"  # type: ignore[union-attr]


async def test_the_settling_edit_may_itself_be_interrupted_and_repeated(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    status = await channel.send(Outgoing(ADDRESS, RenderedPart("Thinking…")))
    await outbox.put_status_message(
        StatusMessage("turn-1", ADDRESS, status.message_id, "Thinking…", "open", 0.0)
    )
    (part,) = await outbox.plan(entry.id, [RenderedPart("the answer", (), 0, 10)])
    await outbox.sending(part.id, "courier-0", 60.0)
    await outbox.recover("courier-1")
    telegram.fault("drop_after", "editMessageText")
    await deliver(courier(channel, outbox), outbox, entry)
    assert telegram.bot_texts(CHAT) == [f"{REPEAT_LABEL}the answer"]


@pytest.mark.parametrize("fault", ["drop_after", "http_502", "garbage", "http_500"])
async def test_r2_without_proof_a_send_is_repeated_once_and_labelled(
    telegram: FakeTelegram, channel: TelegramChannel, fault: str
) -> None:
    outbox = MemoryOutbox()
    telegram.fault(fault, "sendMessage")  # type: ignore[arg-type]
    entry = outbox.add(ADDRESS, "the answer")
    await deliver(courier(channel, outbox), outbox, entry)
    texts = telegram.bot_texts(CHAT)
    assert texts[-1] == f"{REPEAT_LABEL}the answer"
    assert texts in ([texts[-1]], ["the answer", texts[-1]])
    assert outbox.filed(outbox.parts[entry.id][0].id).count("evidence") == 1


async def test_r3_a_refused_connection_is_no_doubt_and_needs_no_label(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "the answer")
    work = courier(channel, outbox, QUICK.model_copy(update={"retry_max_s": 0.2}))
    restarting = asyncio.create_task(telegram.restart(0.1))
    await asyncio.sleep(0.03)
    await deliver(work, outbox, entry)
    await restarting
    assert telegram.bot_texts(CHAT) == ["the answer"]


async def test_r2_proof_settles_an_uncertain_send_without_a_second_one() -> None:
    channel, outbox = Refusing(Ambiguous()), MemoryOutbox()
    channel.found = Receipt("SM1")
    entry = outbox.add(ADDRESS, "x")
    await deliver(lane(channel, outbox), outbox, entry)
    assert len(channel.sent) == 1 and outbox.parts[entry.id][0].message_id == "SM1"
    channel.outcomes, channel.found = [Ambiguous()], "absent"
    entry = outbox.add(ADDRESS, "y")
    await deliver(lane(channel, outbox), outbox, entry)
    assert [part.text for _, part, _ in channel.sent[1:]] == ["y", "y"]


async def test_uncertainty_without_end_becomes_a_dead_letter() -> None:
    channel, outbox = Refusing(*[Ambiguous()] * 20), MemoryOutbox()
    entry = outbox.add(ADDRESS, "x")
    await deliver(lane(channel, outbox), outbox, entry)
    assert outbox.states(entry) == ["failed"] and len(channel.sent) == 8


async def test_a_network_that_breaks_for_minutes_does_not_use_up_the_tries() -> None:
    """Every outcome is unknown at first: one repeat goes at once, the next ever later."""
    clock = VirtualClock()
    channel, outbox = Refusing(*[Ambiguous()] * 6), MemoryOutbox(clock)
    entry = outbox.add(ADDRESS, "x")
    running = asyncio.create_task(lane(channel, outbox, DeliveryConfig(), clock=clock).run())
    tries_after = {}
    for second in range(1, 181):
        await clock.advance(1.0)
        await asyncio.sleep(0.004)  # a send of this channel takes real time
        tries_after[second] = len(channel.sent)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert tries_after[1] <= 3 and tries_after[30] <= 5 and tries_after[60] <= 6
    assert outbox.states(entry) == ["sent"] and len(channel.sent) == 7


async def test_a_fault_of_the_adapter_counts_as_uncertain() -> None:
    channel, outbox = Refusing(RuntimeError("bug")), MemoryOutbox()
    entry = outbox.add(ADDRESS, "x")
    await deliver(lane(channel, outbox), outbox, entry)
    assert [part.text for _, part, _ in channel.sent] == ["x", f"{REPEAT_LABEL}x"]


async def test_a_receipt_is_kept_through_a_hiccup_of_storage() -> None:
    channel, outbox = Refusing(), MemoryOutbox()
    entry = outbox.add(ADDRESS, "x")
    outbox.fault("sent", RuntimeError("database is locked"))
    await deliver(lane(channel, outbox), outbox, entry)
    assert outbox.states(entry) == ["sent"] and len(channel.sent) == 1


async def test_a_failing_storage_stops_no_lane_for_good() -> None:
    channel, outbox = Refusing(), MemoryOutbox()
    entry = outbox.add(ADDRESS, "x")
    outbox.fault("next_entry", RuntimeError("database is locked"))
    work = lane(channel, outbox)
    await work.drain()
    work._not_before.clear()
    await deliver(work, outbox, entry)
    assert len(channel.sent) == 1


# The process ------------------------------------------------------------------------------------


async def test_a_courier_wakes_for_new_work_and_lets_a_send_finish_when_it_stops() -> None:
    channel, outbox = Refusing(), MemoryOutbox()
    running = asyncio.create_task(lane(channel, outbox).run())
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
    async with lanes.hold(ADDRESS):
        assert lanes.busy(ADDRESS) and len(lanes) == 1
    assert not lanes.busy(ADDRESS) and len(lanes) == 0


async def test_a_receipt_that_storage_refused_is_recorded_later_and_nothing_is_sent_again(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    for _ in range(RECORD_TRIES_MAX):
        outbox.fault("sent", ConnectionError("the database restarts"))
    entry = outbox.add(ADDRESS, "once")
    await deliver(courier(channel, outbox), outbox, entry, timeout_s=30.0)
    assert outbox.states(entry) == ["sent"]
    assert telegram.bot_texts(CHAT) == ["once"]
    assert len(telegram.calls_of("sendMessage")) == 1
