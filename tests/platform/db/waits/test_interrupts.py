"""The queue mode `interrupt` while one call of a turn waits and another one still runs."""

import pytest

from roost.waits import Sleep, Spawn
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.waiting import Parked, begun, delivered


async def at_work(person: Person) -> Parked:
    """A turn of two calls in a chat that interrupts; the second one runs."""
    await person.says("/queue interrupt")
    parked = await begun(person, "book", "look")
    await person.stores.turns.begin_call(parked.turn.turn_id, 1, "c1")
    return parked


async def is_interrupted(parked: Parked) -> bool:
    return await parked.person.stores.turns.stop_requested(parked.turn.turn_id)


async def test_a_message_beside_an_open_approval_is_read_after_it_as_the_person_is_told(
    ada: Person,
) -> None:
    parked = await at_work(ada)
    await parked.gate()
    await delivered(ada)
    await ada.says("are you there?")
    assert (await ada.outbox())[-1][1].startswith("I am waiting for your decision on `book`")
    assert not await is_interrupted(parked)
    assert ada.doorbell.stopped == []
    assert await parked.taps("a") == "Approved."
    await ada.says("still there?")  # nothing waits for anybody any more
    assert await is_interrupted(parked)


@pytest.mark.parametrize("waits_for", ["child", "sleep"])
async def test_a_message_ends_no_child_and_no_sleep_beside_a_running_call(
    sqlite_ada: Person, clock: HandClock, waits_for: str
) -> None:
    parked = await at_work(sqlite_ada)
    turn_id, waits = parked.turn.turn_id, sqlite_ada.stores.waits
    await sqlite_ada.stores.turns.begin_call(turn_id, 1, "c0")
    wait = Spawn("concierge", "Look.") if waits_for == "child" else Sleep(clock.now + 60)
    assert await waits.open(turn_id, 1, "c0", wait) == ""
    await sqlite_ada.says("are you there?")
    assert not await is_interrupted(parked)
    assert (await sqlite_ada.inbox())[-1][1] == "pending"
