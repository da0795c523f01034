"""Status messages end with their turn, and never come after the answer."""

import asyncio

import pytest

from roost_channels.delivery.courier import Courier
from roost_channels.delivery.edits import LATE_EDIT_S
from roost_channels.delivery.limits import Limiter
from roost_channels.outbox import UNDER_WAY_S
from roost_channels.rendering.parts import REPEAT_LABEL
from roost_channels.telegram.testing import ADDRESS, CHAT, Phone
from roost_channels.testing import FakeTelegram, VirtualClock


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
    dying = await begin_slowly(phone, "editMessageText", 15.0)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    phone.restart()
    phone.telegram.fault("drop_before", "sendMessage")
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await advance_until_done(phone, asyncio.create_task(phone.courier.drain()))
    assert await phone.after(20.0) == [f"{REPEAT_LABEL}the answer"]
    assert phone.outbox.statuses["turn-1"].state == "closed"


@pytest.mark.parametrize("method", ["sendMessage", "editMessageText"])
async def test_r8_an_answer_waits_for_the_status_that_another_courier_is_showing(
    phone: Phone, method: str
) -> None:
    """In a rolling restart two couriers run at once, and share no lanes."""
    showing = await begin_slowly(phone, method, 2.0)
    entry = phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    other = Courier([phone.channel], phone.outbox, "courier-2", phone.clock, limiter=Limiter())
    delivering = asyncio.create_task(other.drain())
    for _ in range(2):
        await phone.clock.advance(1.0)
        assert phone.outbox.parts[entry.id][0].state == "planned"
    await showing
    assert phone.outbox.parts[entry.id][0].state == "planned"
    await advance_until_done(phone, delivering)
    assert await phone.after(1.0) == ["the answer"]


async def test_an_answer_waits_seconds_at_most_for_a_status_whose_courier_died(
    phone: Phone,
) -> None:
    showing = await begin_slowly(phone, "editMessageText", 15.0)
    began = phone.clock.time()
    showing.cancel()
    await asyncio.gather(showing, return_exceptions=True)
    entry = phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    phone.restart()
    delivering = asyncio.create_task(phone.courier.drain())
    await phone.clock.advance(0.1)
    while phone.outbox.parts[entry.id][0].state == "planned":
        await phone.clock.advance(0.1)
    assert phone.clock.time() - began == pytest.approx(UNDER_WAY_S, abs=0.3)
    await advance_until_done(phone, delivering)


async def begin_slowly(phone: Phone, method: str, seconds: float) -> asyncio.Task[None]:
    """Send or edit the status message; Telegram carries it out so many seconds later."""
    phone.turn()
    await phone.after(1.0 if method == "sendMessage" else 3.0)
    phone.telegram.fault("delay", method, value=seconds)
    phone.turn("tool", tools=("one",))
    await phone.clock.advance(2.0)
    before = phone.calls(method)
    showing = asyncio.create_task(phone.renderer.finish_step())
    while phone.calls(method) == before:
        await asyncio.sleep(0.001)
    return showing


async def advance_until_done(phone: Phone, task: asyncio.Task[None]) -> None:
    while not task.done():
        await asyncio.sleep(0.001)
        await phone.clock.advance(0.1)


class SetClock(VirtualClock):
    """A clock that somebody sets."""

    by_s = 0.0

    def time(self) -> float:
        return super().time() + self.by_s

    def steady(self) -> float:
        """Seconds by a clock that nobody sets."""
        return super().time()


async def test_a_clock_that_is_set_forward_lets_no_late_edit_hide_the_answer() -> None:
    """The late edit arrives in its own time, whatever the clock says."""
    clock = SetClock()
    async with FakeTelegram(clock=clock) as telegram:
        await telegram.user_says(CHAT, "hello")
        phone = Phone(telegram, clock)
        dying = await begin_slowly(phone, "editMessageText", 15.0)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        phone.restart()
        clock.by_s = 4000.0
        telegram.fault("drop_before", "sendMessage")
        phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
        await advance_until_done(phone, asyncio.create_task(phone.courier.drain()))
        assert await phone.after(20.0) == [f"{REPEAT_LABEL}the answer"]
        await phone.channel.close()


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


async def test_r9_the_janitor_closes_what_a_dead_courier_left_open(phone: Phone) -> None:
    phone.turn()
    await phone.after(3.0)
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    phone.outbox.snapshots.clear()
    phone.restart()
    assert await phone.after(6.0) == ["the answer"]


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
