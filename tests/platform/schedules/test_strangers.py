"""What strangers do to schedules: odd codes, others' schedules, and calls that come twice."""

from dataclasses import replace

import pytest

from roost.schedules.keeper import Wanted
from roost.schedules.spec import ScheduleError
from roost_channels.message import Sender
from roost_platform.db import models
from roost_platform.testing.chats import Person
from roost_platform.testing.scheduling import Reminded


async def test_an_interval_of_nothing_is_answered(ada: Reminded) -> None:
    for phrase in ("every 0 minutes drink", "every 0 hours drink", "0001-01-01 0:10 drink"):
        (told,) = await ada.says(f"/remind {phrase}")
        assert "/remind tomorrow 9:00" in told
    assert await ada.schedules() == []


async def test_a_piece_of_a_code_names_nothing(ada: Reminded) -> None:
    await ada.says("/remind every day 9:00 pills")
    (kept,) = await ada.schedules()
    for code in (kept.id[-1:], kept.id[-5:], "", "%", "_____", "x" * 6, f"{kept.id}x"):
        await ada.says(f"/schedules delete {code}")
        await ada.person.says("delete it")
        turn = await ada.person.turn()
        assert not await ada.person.stores.schedules.delete(turn.turn_id, code)
        await ada.person.agent_says(turn, 1, "No.")
    assert (await ada.schedules())[0].state == "active"
    assert "Deleted" in (await ada.says(f"/schedules delete `{kept.id[-6:].upper()}`"))[0]


async def test_others_of_a_group_neither_see_nor_touch_it(ada: Reminded) -> None:
    group = replace(ada.person.address, chat="-100777")
    there = Reminded(
        Person(ada.person.stores, ada.person.intake, ada.person.doorbell, group), ada.clock
    )
    (told,) = await there.says("/remind tomorrow 9:00 call Ana")
    assert told.startswith("Reminder: call Ana")
    (kept,) = await there.schedules()
    there.person.sender = Sender("1002", "Bob", "bob")
    assert (await there.says("/schedules"))[0].startswith("You have no schedules here.")
    for verb in ("pause", "delete", "run", "change"):
        (told,) = await there.says(f"/schedules {verb} {kept.id[-6:]} tomorrow 10:00")
        assert "No schedule here has the code" in told
    assert await there.presses("Cancel") == "Only the person whose schedule it is can do that."
    await there.person.says("delete Ada's reminder")
    turn = await there.person.turn()
    assert not await there.person.stores.schedules.delete(turn.turn_id, kept.id)
    assert await there.person.stores.schedules.list(turn.turn_id) == []
    assert [one.state for one in await there.schedules()] == ["active"]


async def test_a_call_that_comes_again_after_its_time_finds_what_it_kept(ada: Reminded) -> None:
    await ada.person.says("remind me")
    turn = await ada.person.turn()
    wanted = Wanted("reminder", "tea", {"in_s": 60})
    kept = await ada.person.stores.schedules.add(turn.turn_id, "key", wanted)
    ada.clock.advance(600)  # everything was down, also the due-clock
    again = await ada.person.stores.schedules.add(turn.turn_id, "key", wanted)
    assert (again.code, again.times) == (kept.code, kept.times)
    assert [one.times for one in await ada.person.stores.schedules.list(turn.turn_id)] == [
        kept.times
    ]


@pytest.mark.parametrize("at", ["0001-01-01T00:00", "9999-12-31T23:59", "2027-02-30T09:00", "soon"])
async def test_a_tools_time_out_of_reach_is_told_to_the_model(ada: Reminded, at: str) -> None:
    await ada.person.says("remind me")
    turn = await ada.person.turn()
    with pytest.raises(ScheduleError):
        await ada.person.stores.schedules.add(
            turn.turn_id, "k", Wanted("reminder", "x", {"at": at})
        )


async def test_run_twice_in_one_moment_runs_twice(ada: Reminded) -> None:
    await ada.says("/remind every day 9:00 pills")
    (kept,) = await ada.schedules()
    ada.at(2026, 11, 30, 9)
    for _ in range(2):
        await ada.person.stores.schedules.act(kept.id, "run", "max")
    await ada.due()
    assert len([text for _, text in await ada.person.outbox() if text.startswith("⏰")]) == 3
    assert [one.due_at for one in await ada.schedules()] != [kept.due_at]


async def test_change_keeps_any_text_and_says_until_done_again(ada: Reminded) -> None:
    await ada.says("/remind every hour until done drink")
    (kept,) = await ada.schedules()
    async with ada.person.stores.database.write() as session:
        row = await session.get_one(models.Schedule, kept.id)
        row.text = "Friday, 9:00 at the office"
    (told,) = await ada.says(f"/schedules change {kept.id[-6:]} tomorrow 10:00")
    assert (
        told
        == "Changed.\nReminder: Friday, 9:00 at the office\nMon 30 Nov 2026 10:00 (Europe/Rome)"
    )
    (told,) = await ada.says(f"/schedules change {kept.id[-6:]} every hour until done")
    assert told.endswith("until you say done")
    (told,) = await ada.says(f"/schedules change {kept.id[-6:]} tomorrow")
    assert "I need a day or an interval, and a time" in told
