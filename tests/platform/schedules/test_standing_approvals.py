"""Standing approvals of schedules: given in the owner's chat, for one schedule alone."""

import pytest

from roost.schedules.kinds import Kind
from roost_platform.db import models
from roost_platform.db.waits.grants import live_grants
from roost_platform.testing.chats import count_rows
from roost_platform.testing.scheduling import Reminded
from roost_platform.testing.waiting import BOOKING, Parked, begun, changed
from roost_platform.views.approvals import grants
from roost_workflows.ports import PlannedCall


async def books(ada: Reminded, day: int) -> Parked:
    """The turn that the schedule begins on a day of December, about to book."""
    ada.at(2026, 12, day, 9)
    await ada.due()
    turn = await ada.begin_rung()
    calls = [PlannedCall("c0", "book", BOOKING.arguments, "unsafe")]
    await ada.person.agent_says(turn, 1, finish="tools", calls=calls)
    return Parked(ada.person, turn)


async def ends(parked: Parked) -> None:
    await parked.person.stores.turns.settle(
        parked.turn.turn_id, outcome="stopped", reason="stopped"
    )


async def always(ada: Reminded, kind: Kind) -> str:
    """A schedule for which the same booking was approved for a month; its code."""
    code = await ada.keeps(kind, "Book Friday.")
    parked = await books(ada, 1)
    assert (await parked.gate()).verdict == "waits"
    assert await parked.park()
    told = await parked.taps("w")
    assert told == "Approved, and the same call of this schedule for 30 days."
    await ada.person.stores.turns.begin(parked.turn.conversation_id)
    assert (await parked.gate()).verdict == "run"
    await ends(parked)
    return code


@pytest.mark.parametrize("kind", ["task", "job", "check"])
async def test_a_schedule_asks_once_and_then_runs_the_same_call_for_a_month(
    ada: Reminded, kind: Kind
) -> None:
    await always(ada, kind)
    (kept,) = await ada.schedules()
    async with ada.person.stores.database.read() as session:
        (grant,) = await live_grants(session, ada.clock.now)
        (view,) = await grants(session, ada.clock.now)
    assert grant.subject == f"schedule:{kept.id}"
    assert (view.schedule_id, view.schedule_title) == (kept.id, "Book Friday.")
    again = await books(ada, 2)
    assert (await again.gate()).verdict == "run"
    assert (await again.gate(changed())).verdict == "waits"


async def test_it_covers_neither_the_chat_nor_another_schedule(ada: Reminded) -> None:
    await always(ada, "job")
    other = await begun(ada.person, "book")
    assert (await other.gate()).verdict == "waits"
    await ada.person.says("/stop")
    await ends(other)
    for one in await ada.schedules():
        await ada.says(f"/schedules pause {one.id[-6:]}")
    await ada.keeps("task", "Book Friday, too.")
    assert (await (await books(ada, 2)).gate()).verdict == "waits"


async def test_a_task_in_which_the_person_spoke_asks_again(ada: Reminded) -> None:
    await always(ada, "task")
    ada.at(2026, 12, 2, 9)
    await ada.due()
    turn = await ada.begin_rung()
    await ada.person.says("Book it for me, too.")
    await ada.person.stores.turns.context(turn.turn_id, 1)
    calls = [PlannedCall("c0", "book", BOOKING.arguments, "unsafe")]
    await ada.person.agent_says(turn, 1, finish="tools", calls=calls)
    assert (await Parked(ada.person, turn).gate()).verdict == "waits"


@pytest.mark.parametrize("how", ["chat", "button", "tool", "operator"])
async def test_deleting_the_schedule_revokes_it(ada: Reminded, how: str) -> None:
    code = await always(ada, "job")
    (kept,) = await ada.schedules()
    if how == "chat":
        await ada.says(f"/schedules delete {code}")
    elif how == "button":
        await ada.says("/schedules")
        await ada.presses("Delete")
    elif how == "tool":
        await ada.person.says("delete it")
        turn = await ada.person.turn()
        assert await ada.person.stores.schedules.delete(turn.turn_id, code)
    else:
        await ada.person.stores.schedules.act(kept.id, "delete", "max")
    async with ada.person.stores.database.read() as session:
        assert await live_grants(session, ada.clock.now) == []
    assert await count_rows(ada.person.stores, models.Grant) == 1


async def test_who_decides_for_a_job_is_its_owner(ada: Reminded) -> None:
    await ada.keeps("job", "Book Friday.")
    parked = await books(ada, 1)
    assert (await parked.gate()).verdict == "waits"
    (approval,) = await parked.approvals()
    (kept,) = await ada.schedules()
    assert approval.requester_id == kept.owner_id != ""
