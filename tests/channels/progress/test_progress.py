"""What people see while a turn runs, and that it never comes after the answer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost_channels.config import TelegramConfig, TwilioConfig
from roost_channels.console import ConsoleChannel
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.ledger import Ledger
from roost_channels.delivery.limits import BUCKETS_MAX, Limiter
from roost_channels.message import Address, ReplyTarget
from roost_channels.outbox import ProgressSnapshot, StatusMessage
from roost_channels.progress.renderer import STILL_WORKING, ProgressRenderer
from roost_channels.progress.status_messages import LATE_EDIT_S
from roost_channels.progress.status_view import (
    PLAN_LINES_MAX,
    STREAM_CHARS_MAX,
    TOOL_LINES_MAX,
    closing_line,
    elapsed_words,
    stream_text,
    view,
)
from roost_channels.rendering.parts import REPEAT_LABEL
from roost_channels.telegram.channel import CAPABILITIES as TELEGRAM
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.testing import FakeTelegram, FakeTwilio, VirtualClock
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.whatsapp.channel import WhatsAppChannel

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))


class Phone:
    """One chat, its renderer and its courier, on a clock that the test turns."""

    def __init__(self, telegram: FakeTelegram, clock: VirtualClock, **settings: str) -> None:
        self.telegram = telegram
        self.clock = clock
        settings |= {"token": telegram.token, "api_base": telegram.base_url}
        self.channel = TelegramChannel(TelegramConfig.model_validate(settings), clock=clock)
        self.outbox = MemoryOutbox(clock)
        self.restart()

    def restart(self) -> None:
        """A new courier process: nothing but storage survives."""
        self.courier = Courier(
            [self.channel], self.outbox, "courier", self.clock, limiter=Limiter()
        )
        self.renderer = ProgressRenderer([self.channel], self.courier.ledger)

    def turn(self, phase: str = "thinking", address: Address = ADDRESS, **fields: object) -> None:
        known = self.outbox.snapshots.get("turn-1") or ProgressSnapshot(
            turn_id="turn-1",
            conversation_id="c",
            address=address,
            generation=1,
            phase=phase,
            text="",
            tools=(),
            reply_to=ReplyTarget("1", quote="hello"),
            inbound_message_id="1",
            started_at=self.clock.time(),
            updated_at=self.clock.time(),
            version=0,
        )
        changed = replace(known, phase=phase, version=known.version + 1, **fields)  # type: ignore[arg-type]
        self.outbox.running(changed)

    async def after(self, seconds: float) -> list[str]:
        """Let time pass in ticks; returns what the bot shows then."""
        for _ in range(max(1, round(seconds / 0.25))):
            await self.clock.advance(0.25)
            await self.renderer.finish_step()
        return self.telegram.bot_texts(CHAT)

    def calls(self, method: str) -> int:
        return len(self.telegram.calls_of(method))


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    clock = VirtualClock()
    async with FakeTelegram(clock=clock) as telegram:
        await telegram.user_says(CHAT, "hello")
        found = Phone(telegram, clock)
        yield found
        await found.channel.close()


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
    group = Address("telegram", "42", "-100")
    phone.turn(address=group, reply_to=ReplyTarget(str(asked)))
    for n in range(60):
        phone.turn("tool", tools=(f"tool {n}",))
        await phone.after(0.25)
    interval = phone.telegram.shortest_edit_interval(-100)
    assert interval is not None and interval >= 3.0


async def test_r8_the_answer_is_a_new_message_and_then_the_status_goes(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    # Queued but not sent: the status stays, and is edited no more.
    edits = phone.calls("editMessageText")
    assert await phone.after(2.0) == ["Thinking…"] and phone.calls("editMessageText") == edits
    await phone.courier.drain()
    assert await phone.after(0.25) == ["the answer"]
    assert phone.telegram.notifications(CHAT) == 1


async def test_r8_no_edit_leaves_after_the_fence(phone: Phone) -> None:
    """Even a snapshot that still says `running` changes nothing once the final is queued."""
    phone.turn()
    await phone.after(3.0)
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    phone.turn("tool", tools=("late news",))
    before = len(phone.telegram.calls)
    await phone.after(10.0)
    assert len(phone.telegram.calls) == before


async def test_a_stopped_turn_is_fenced_too(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.outbox.stopped.add("turn-1")
    phone.turn("tool", tools=("late news",))
    assert await phone.after(5.0) == ["Thinking…"]


async def test_r9_a_restarted_courier_goes_on_with_the_same_status_message(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.restart()
    phone.turn("tool", tools=("searching",))
    assert await phone.after(3.0) == ["Working…\nsearching"]
    phone.restart()
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    assert await phone.after(1.0) == ["the answer"]


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


@pytest.mark.parametrize("fault", ["drop_after", "http_502"])
async def test_an_uncertain_status_message_is_not_sent_twice(phone: Phone, fault: str) -> None:
    phone.telegram.fault(fault, "sendMessage")  # type: ignore[arg-type]
    phone.turn()
    await phone.after(10.0)
    assert phone.calls("sendMessage") == 1


@pytest.mark.parametrize("fault", ["drop_after", "drop_before"])
async def test_a_status_message_that_was_lost_on_the_way_is_removed_in_the_end(
    phone: Phone, fault: str
) -> None:
    """Whether it arrived or not, nothing of it is left, and nothing else is touched."""
    phone.turn()
    await phone.after(1.0)
    phone.telegram.fault(fault, "sendMessage")  # type: ignore[arg-type]
    await phone.after(2.0)
    also = await phone.telegram.user_says(CHAT, "are you there?")
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    assert await phone.after(10.0) == ["the answer"]
    assert {m.message_id for m in phone.telegram.visible(CHAT)} >= {1, also}
    assert phone.outbox.statuses["turn-1"].state == "closed"


async def test_the_id_of_a_status_message_outlives_a_minute_without_storage(phone: Phone) -> None:
    phone.turn()
    await phone.after(1.0)
    await phone.clock.advance(2.0)
    opening = asyncio.create_task(phone.renderer.finish_step())
    while "turn-1" not in phone.outbox.statuses:
        await asyncio.sleep(0)
    for _ in range(40):
        phone.outbox.fault("put_status_message", ConnectionError("the database restarts"))
    began = phone.clock.time()
    while not opening.done():
        await asyncio.sleep(0.001)
        await phone.clock.advance(0.2)
    assert phone.clock.time() - began > 60
    assert phone.outbox.statuses["turn-1"].message_id is not None
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    assert await phone.after(1.0) == ["the answer"]


async def test_an_answer_in_doubt_is_not_mistaken_for_a_lost_status(phone: Phone) -> None:
    phone.turn()
    await phone.after(1.0)
    phone.telegram.fault("drop_before", "sendMessage")
    await phone.after(2.0)
    phone.telegram.fault("drop_after", "sendMessage")
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    for _ in range(20):
        await phone.after(0.5)
        await phone.courier.drain()
    shown = phone.telegram.bot_texts(CHAT)
    assert shown == ["the answer", "(may be a repeat)\nthe answer"]


async def test_a_late_edit_of_a_courier_that_died_does_not_hide_the_answer(phone: Phone) -> None:
    """The next courier finds a status message that it must not turn into the answer."""
    phone.turn()
    await phone.after(3.0)
    phone.telegram.fault("delay", "editMessageText", value=15.0)
    phone.turn("tool", tools=("one",))
    await phone.clock.advance(2.0)
    dying = asyncio.create_task(phone.renderer.finish_step())
    while not phone.calls("editMessageText"):
        await asyncio.sleep(0.001)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    phone.restart()
    phone.telegram.fault("drop_before", "sendMessage")
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    assert await phone.after(20.0) == [f"{REPEAT_LABEL}the answer"]
    assert phone.outbox.statuses["turn-1"].state == "closed"


@pytest.mark.parametrize("fault", ["drop_after", "http_502"])
async def test_an_edit_without_an_outcome_keeps_its_message_from_becoming_the_answer(
    phone: Phone, fault: str
) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.telegram.fault(fault, "editMessageText")  # type: ignore[arg-type]
    phone.turn("tool", tools=("one",))
    await phone.after(2.0)
    assert phone.outbox.statuses["turn-1"].late_until == pytest.approx(
        phone.clock.time() + LATE_EDIT_S, abs=2.0
    )
    await phone.after(LATE_EDIT_S + 2.0)
    doubtful = await send_in_doubt(phone)
    assert doubtful == phone.outbox.statuses["turn-1"].message_id


async def test_an_edit_with_an_outcome_leaves_no_doubt(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.turn("tool", tools=("one",))
    await phone.after(2.0)
    assert phone.calls("editMessageText") and not phone.outbox.statuses["turn-1"].late_until
    assert await send_in_doubt(phone) == phone.outbox.statuses["turn-1"].message_id


async def send_in_doubt(phone: Phone) -> str | None:
    """Deliver an answer whose first send is lost; returns the message that shows it."""
    phone.telegram.fault("drop_before", "sendMessage")
    entry = phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    return phone.outbox.parts[entry.id][0].message_id


async def test_a_status_message_that_can_not_be_deleted_shrinks_to_a_line(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    await phone.clock.advance(49 * 3600)
    assert await phone.after(1.0) == ["Done.", "the answer"]
    assert not phone.telegram.visible(CHAT)[1].buttons


async def test_with_progress_off_people_see_typing_alone(phone: Phone) -> None:
    phone.turn(mode="off")
    assert await phone.after(5.0) == [] and phone.telegram.typing(CHAT)


async def test_a_stream_shows_the_answer_as_a_draft_within_its_budget(phone: Phone) -> None:
    phone.turn(mode="stream")
    await phone.after(1.0)
    assert phone.telegram.draft(CHAT) == "Thinking…"
    for n in range(80):
        phone.turn("answering", text="**word** " * (n + 1))
        await phone.after(0.25)
    draft = phone.telegram.draft(CHAT)
    assert draft is not None and draft.startswith("word word") and not phone.telegram.early_calls
    drafts = phone.telegram.calls_of("sendMessageDraft")
    assert 15 <= len(drafts) <= 22 and phone.calls("sendMessage") == 0
    assert {call.response["ok"] for call in drafts} == {True}
    assert len({call.parameters["draft_id"] for call in drafts}) == 1
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    assert await phone.after(3.0) == ["the answer"] and phone.telegram.draft(CHAT) is None
    assert phone.telegram.notifications(CHAT) == 1


async def test_a_quiet_draft_is_kept_alive_and_fenced(phone: Phone) -> None:
    phone.turn("answering", mode="stream", text="so far")
    for _ in range(12):
        await phone.after(5.0)
        assert phone.telegram.draft(CHAT) == "so far"
    assert phone.calls("sendMessageDraft") <= 4
    phone.outbox.stopped.add("turn-1")
    before = phone.calls("sendMessageDraft")
    await phone.after(60.0)
    assert phone.calls("sendMessageDraft") == before


async def test_groups_stream_into_the_status_message(phone: Phone) -> None:
    phone.telegram.add_group(-100)
    asked = await phone.telegram.user_says(-100, "hello")
    group = Address("telegram", "42", "-100")
    phone.turn(address=group, reply_to=ReplyTarget(str(asked)), mode="stream")
    await phone.after(3.0)
    phone.turn("answering", text="so far so good")
    await phone.after(5.0)
    assert phone.telegram.bot_texts(-100) == ["Writing the answer…\n\nso far so good"]
    assert phone.calls("sendMessageDraft") == 0


async def test_a_server_without_drafts_gets_a_status_message_instead(phone: Phone) -> None:
    phone.telegram.core.world.chats[CHAT].type = "group"  # whose drafts the server refuses
    phone.turn("answering", mode="stream", text="so far")
    shown = await phone.after(5.0)
    assert shown == ["Writing the answer…\n\nso far"] and phone.calls("sendMessageDraft") == 1


async def test_a_status_message_that_the_person_deleted_is_left_alone(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.telegram.user_deletes(CHAT, phone.telegram.visible(CHAT)[-1].message_id)
    phone.turn("tool", tools=("one",))
    await phone.after(3.0)
    phone.turn("tool", tools=("two",))
    assert await phone.after(5.0) == [] and phone.calls("editMessageText") == 1


async def test_r9_the_janitor_closes_what_a_dead_courier_left_open(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    phone.outbox.snapshots.clear()
    phone.restart()
    assert await phone.after(6.0) == ["the answer"]


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


async def test_a_status_above_a_later_message_does_not_become_the_answer(phone: Phone) -> None:
    phone.turn()
    await phone.after(4.0)
    assert phone.telegram.bot_texts(CHAT) != []
    phone.outbox.add(ADDRESS, "told meanwhile", kind="notice")
    await phone.courier.drain()
    phone.telegram.fault("drop_after", "sendMessage")
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    phone.outbox.snapshots.clear()
    shown = await phone.after(6.0)
    assert shown == ["told meanwhile", "the answer", f"{REPEAT_LABEL}the answer"]


async def test_progress_gives_way_to_an_answer_in_flight(phone: Phone) -> None:
    ledger = Ledger(phone.outbox, phone.clock)
    renderer = ProgressRenderer([phone.channel], ledger)
    phone.turn()
    async with ledger.lanes.hold(ADDRESS):
        await renderer.finish_step()
    assert phone.calls("sendChatAction") == 0


async def test_whatsapp_types_every_twenty_seconds_and_says_once_that_work_goes_on() -> None:
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
        renderer = ProgressRenderer([channel], Ledger(outbox, clock))
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
        [said] = [message for message in twilio.messages.values() if not message.inbound]
        assert (said.body, said.buttons) == (STILL_WORKING, [("stop:turn-1", "Stop")])
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


# The view ---------------------------------------------------------------------------------------


@given(st.floats(0, 10_000), st.sampled_from(["queued", "thinking", "tool", "answering"]))
def test_the_view_changes_at_most_every_ten_seconds(elapsed: float, phase: str) -> None:
    snapshot = ProgressSnapshot("t", "c", ADDRESS, 1, phase, "", ("a",), None, "", 0.0, 0.0, 1)
    moments = [view(snapshot, elapsed + step) for step in (0, 3, 6, 9.9)]
    assert len({m.text for m in moments if m}) <= 2


def test_a_turn_that_is_over_has_no_view_and_tools_are_few_and_short() -> None:
    snapshot = ProgressSnapshot("t", "c", ADDRESS, 1, "done", "", (), None, "", 0.0, 0.0, 1)
    assert view(snapshot, 5.0) is None
    tools = tuple(f"tool {n} " + "x" * 300 for n in range(20))
    shown = view(replace(snapshot, phase="tool", tools=tools), 75.0)
    assert shown is not None
    lines = shown.text.split("\n")
    assert lines[0] == "Working… (1 min)" and lines[1] == "… 14 earlier"
    assert len(lines) == 2 + TOOL_LINES_MAX and all(len(line) <= 120 for line in lines)


def test_the_plan_stands_between_the_headline_and_the_tools() -> None:
    snapshot = ProgressSnapshot("t", "c", ADDRESS, 1, "tool", "", ("Search",), None, "", 0, 0, 1)
    planned = replace(snapshot, plan=("✓ look", "▸ read", "· write"))
    shown = view(planned, 2.0)
    assert shown is not None
    assert shown.text == "Working…\n✓ look\n▸ read\n· write\nSearch"
    long = replace(snapshot, plan=tuple(f"· {n}" for n in range(PLAN_LINES_MAX + 5)))
    shown = view(long, 2.0)
    assert shown is not None and "… 5 earlier" in shown.text


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        ("done", "Done in 42 s."),
        ("stopped", "Stopped after 42 s."),
        ("failed", "Failed after 42 s."),
    ],
)
def test_a_closed_status_says_how_the_turn_ended(outcome: str, line: str) -> None:
    status = StatusMessage("t", ADDRESS, "1", "", "open", 0.0, outcome=outcome, elapsed_s=42.0)
    assert closing_line(status) == line


@given(st.text(max_size=9000))
def test_a_stream_shows_the_end_of_a_long_text(text: str) -> None:
    snapshot = ProgressSnapshot("t", "c", ADDRESS, 1, "answering", text, (), None, "", 0, 0, 1)
    shown = stream_text(snapshot)
    assert len(shown) <= STREAM_CHARS_MAX + 1 and text.endswith(shown.removeprefix("…"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, ""),
        (10, "(10 s)"),
        (59, "(50 s)"),
        (60, "(1 min)"),
        (95, "(1 min 30 s)"),
        (400, "(6 min)"),
    ],
)
def test_time_is_told_coarsely(seconds: float, words: str) -> None:
    assert elapsed_words(seconds) == words


# Limits -----------------------------------------------------------------------------------------


def test_a_chat_has_a_burst_and_then_its_pace() -> None:
    limiter = Limiter(chat_burst=3)
    for _ in range(3):
        assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 100.0) == 0
        limiter.take(ADDRESS, TELEGRAM, "send", 100.0)
    assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 100.0) == pytest.approx(1.0)
    assert limiter.wait_s(ADDRESS, TELEGRAM, "send", 101.0) == 0
    other = replace(ADDRESS, chat="8")
    assert limiter.wait_s(other, TELEGRAM, "send", 100.0) == 0


def test_a_learned_wait_stops_every_family_of_that_chat_only() -> None:
    limiter = Limiter()
    limiter.learn(ADDRESS, 30.0, 100.0)
    limiter.learn(ADDRESS, 5.0, 100.0)
    for family in ("send", "edit", "typing", "delete"):
        assert limiter.wait_s(ADDRESS, TELEGRAM, family, 110.0) == pytest.approx(20.0)
    assert limiter.wait_s(replace(ADDRESS, chat="8"), TELEGRAM, "send", 110.0) == 0


def test_an_account_has_a_rate_over_all_its_chats() -> None:
    limiter = Limiter(account_rate=10)
    chats = [replace(ADDRESS, chat=str(n)) for n in range(11)]
    for chat in chats[:10]:
        limiter.take(chat, TELEGRAM, "send", 100.0)
    assert limiter.wait_s(chats[10], TELEGRAM, "send", 100.0) == pytest.approx(0.1)


def test_progress_leaves_half_of_an_accounts_calls_to_answers() -> None:
    limiter = Limiter(account_rate=10)
    chats = [replace(ADDRESS, chat=str(n)) for n in range(7)]
    for chat in chats[:6]:
        limiter.take(chat, TELEGRAM, "send", 100.0)
    assert limiter.wait_s(chats[6], TELEGRAM, "send", 100.0) == 0
    for family in ("send", "edit", "typing", "delete"):
        wait_s = limiter.wait_s(chats[6], TELEGRAM, family, 100.0, gives_way=True)
        assert wait_s == pytest.approx(0.1)


def test_buckets_are_bounded() -> None:
    limiter = Limiter()
    for n in range(BUCKETS_MAX + 10):
        limiter.learn(replace(ADDRESS, chat=str(n)), 1.0, 0.0)
        limiter.wait_s(replace(ADDRESS, chat=str(n)), TELEGRAM, "send", 0.0)
    assert len(limiter._buckets) == BUCKETS_MAX == len(limiter._blocked)


async def test_the_renderer_wakes_for_news_and_stops_cleanly() -> None:
    outbox = MemoryOutbox()
    renderer = ProgressRenderer([ConsoleChannel()], Ledger(outbox))
    task = asyncio.create_task(renderer.run())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
