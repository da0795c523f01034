"""What the provider refuses: given up piece by piece, tried later, or a dead letter."""

from roost_channels.errors import AuthBroken, NotSent, Rejected, RenderRejected, WindowClosed
from roost_channels.message import Address, ReplyTarget
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.testing import FakeTelegram, VirtualClock
from roost_channels.testing.memory.delivery import QUICK, ScriptedChannel, deliver, quick_courier
from roost_channels.testing.memory.outbox import MemoryOutbox

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))


async def test_r17_a_refused_quote_falls_back_to_a_plain_reply(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    asked = await telegram.user_says(CHAT, "what is this?")
    entry = outbox.add(ADDRESS, "answer", reply_to=ReplyTarget(str(asked), quote="never said"))
    await deliver(quick_courier(channel, outbox), outbox, entry)
    shown = telegram.visible(CHAT)[-1]
    assert shown.text == "answer" and shown.reply_to is not None and shown.reply_to.quote is None


async def test_r17_a_lost_reply_target_does_not_lose_the_answer(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "answer", reply_to=ReplyTarget("99999"))
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert telegram.bot_texts(CHAT) == ["answer"]


async def test_what_was_not_sent_is_tried_again_and_becomes_a_dead_letter_after_eight_tries() -> (
    None
):
    outbox = MemoryOutbox()
    channel = ScriptedChannel(*[NotSent("refused")] * 8)
    stuck = outbox.add(ADDRESS, "stuck " * 1500)
    later = outbox.add(ADDRESS, "later")
    await deliver(quick_courier(channel, outbox), outbox, stuck, later)
    assert len(channel.sent) == 9 and outbox.states(stuck) == ["failed", "planned", "planned"]
    # The lane goes on with what comes after a dead letter.
    assert outbox.states(later) == ["sent"]


async def test_r14_refused_formatting_is_sent_plain(telegram: FakeTelegram) -> None:
    outbox = MemoryOutbox()
    channel = ScriptedChannel(RenderRejected("can't parse entities", code="markup"))
    entry = outbox.add(ADDRESS, "**bold** words")
    await deliver(quick_courier(channel, outbox), outbox, entry)
    (_, rich, _), (_, plain, _) = channel.sent
    assert rich.entities and not plain.entities and plain.text == "bold words"


async def test_refusals_end_in_a_dead_letter_when_nothing_plainer_is_left() -> None:
    outbox = MemoryOutbox()
    channel = ScriptedChannel(*[RenderRejected("no", code="reply")] * 5)
    entry = outbox.add(ADDRESS, "words", reply_to=ReplyTarget("1", is_latest=False))
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert outbox.states(entry) == ["failed"] and len(channel.sent) == 2
    assert channel.sent[1][2] is None


async def test_r14_a_refusal_for_an_unknown_reason_gives_up_the_form_before_the_words() -> None:
    outbox = MemoryOutbox()
    channel = ScriptedChannel(*[Rejected("Bad Request: E_NEW", http_status=400)] * 2)
    reply = ReplyTarget("1", is_latest=False)
    entry = outbox.add(ADDRESS, "**bold** words", reply_to=reply)
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert outbox.states(entry) == ["sent"] and len(channel.sent) == 3
    _, plain, replied = channel.sent[-1]
    assert plain.text == "bold words" and not plain.entities and replied is None


async def test_r16_a_migrated_chat_takes_its_messages_along(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    telegram.add_group(-5, type="group")
    await telegram.migrate(-5, -1005)
    outbox = MemoryOutbox()
    entry = outbox.add(Address("telegram", "42", "-5"), "answer")
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert telegram.bot_texts(-1005) == ["answer"]


async def test_r37_a_blocked_bot_files_a_dead_letter_with_the_reason(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    await telegram.block(CHAT)
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "answer")
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert outbox.states(entry) == ["failed"]
    assert "blocked" in outbox.history[-1].detail


async def test_r21_a_closed_window_holds_the_answer_until_the_person_writes_again() -> None:
    clock, channel = VirtualClock(), ScriptedChannel(WindowClosed(code="63016"))
    outbox = MemoryOutbox(clock)
    courier = quick_courier(channel, outbox, clock=clock)
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
    assert channel.texts == ["held", "held", "newer"]


async def test_refused_credentials_pause_the_account_and_raise_an_alert() -> None:
    channel = ScriptedChannel(AuthBroken("Unauthorized"))
    reported: list[str] = []

    async def report(_: str, __: str, state: str, ___: str) -> None:
        reported.append(state)

    clock = VirtualClock()
    outbox = MemoryOutbox(clock)
    courier = quick_courier(channel, outbox, clock=clock, report=report)
    first = outbox.add(ADDRESS, "first")
    await courier.drain()
    other = outbox.add(Address("telegram", "42", "8"), "other")
    await courier.drain()
    assert reported == ["auth_error"] and len(channel.sent) == 1
    await clock.advance(QUICK.auth_probe_s + 1)
    await deliver(courier, outbox, first, other)
    assert reported == ["auth_error", "up"]


async def test_refused_credentials_are_tried_again_soon_then_ever_later() -> None:
    channel = ScriptedChannel(*[AuthBroken("Unauthorized")] * 5)
    clock = VirtualClock()
    outbox = MemoryOutbox(clock)
    courier = quick_courier(channel, outbox, clock=clock)
    entry = outbox.add(ADDRESS, "answer")
    waits = []
    for _ in range(5):
        await courier.drain()
        waits.append(outbox.parts[entry.id][0].next_at - clock.time())
        await clock.advance(waits[-1])
    assert waits == [5.0, 10.0, 20.0, 40.0, QUICK.auth_probe_s]
    await deliver(courier, outbox, entry)
