"""Reminders in a chat: kept with an echo, sent once at their time, put off, and ended."""

import asyncio
from datetime import datetime

import pytest

from roost.schedules.zones import instant, zone_of
from roost_platform.db import models
from roost_platform.db.due.schedules import DueSchedules
from roost_platform.db.inbox.scheduling.replying import ZONE_QUESTION
from roost_platform.testing.chats import count_rows
from roost_platform.testing.scheduling import Reminded


async def test_a_reminder_is_echoed_and_sent_without_a_turn(ada: Reminded) -> None:
    assert await ada.says("/remind tomorrow 9:00 call *Ana*") == [
        "Reminder: call *Ana*\nMon 30 Nov 2026 09:00 (Europe/Rome)"
    ]
    assert await ada.due() == []
    ada.at(2026, 11, 30, 9)
    assert await ada.due() == ["⏰ call *Ana*"]
    assert await ada.due() == [] and ada.rung == []
    assert await count_rows(ada.person.stores, models.Turn) == 0
    assert [one.state for one in await ada.schedules()] == ["done"]


async def test_a_redelivered_command_keeps_one_reminder(ada: Reminded) -> None:
    event = ada.person.message("/remind tomorrow 9:00 call Ana")
    await ada.person.gives(event)
    await ada.person.gives(event)
    assert len(await ada.schedules()) == 1


async def test_the_zone_is_asked_for_once_and_the_reminder_is_kept(stranger: Reminded) -> None:
    assert await stranger.says("/remind tomorrow 9:00 call Ana") == [ZONE_QUESTION]
    assert await stranger.says("Atlantis") == []  # for the agent
    assert "I know no time zone “Atlantis”" in (await stranger.says("/remind zone Atlantis"))[0]
    assert await stranger.says("/remind zone rome") == [
        "Reminder: call Ana\nMon 30 Nov 2026 09:00 (Europe/Rome)"
    ]
    (again,) = await stranger.says("/remind every day 8:30 stretch")
    assert again.startswith("Reminder: stretch\nMon 30 Nov 2026 08:30 (Europe/Rome), then Tue")


async def test_a_city_alone_answers_the_question_for_the_zone(stranger: Reminded) -> None:
    assert await stranger.says("/remind tomorrow 9:00 call Ana") == [ZONE_QUESTION]
    (told,) = await stranger.says("New York")
    assert told == "Reminder: call Ana\nMon 30 Nov 2026 09:00 (America/New_York)"
    assert await stranger.says("Paris") == []  # nothing was asked: it is for the agent
    assert (await stranger.person.inbox())[-1] == ("Paris", "pending")


async def test_a_delay_needs_no_zone(stranger: Reminded) -> None:
    (told,) = await stranger.says("/remind in 20 minutes bread")
    assert told.startswith("Reminder: bread\nSun 29 Nov 2026 13:25 (UTC)\nI count in UTC")
    stranger.clock.advance(1200)
    assert await stranger.due() == ["⏰ bread"]


async def test_what_is_ambiguous_gets_the_forms_and_keeps_nothing(ada: Reminded) -> None:
    for text in ("/remind", "/remind call Ana", "/remind at 9 call Ana"):
        (told,) = await ada.says(text)
        assert "/remind tomorrow 9:00" in told or "tomorrow 09:00" in told
    assert await ada.schedules() == []
    assert await count_rows(ada.person.stores, models.Inbox, state="pending") == 0


async def test_three_days_down_says_late(ada: Reminded) -> None:
    await ada.says("/remind every day 9:00 pills")
    ada.at(2026, 12, 2, 11, 20)
    assert await ada.due() == [
        "⏰ pills\n\n_due Wed 2 Dec 2026 09:00, sent Wed 2 Dec 2026 11:20; "
        "2 earlier times were missed_".replace(
            "due Wed 2 Dec 2026 09:00, sent Wed 2 Dec 2026 11:20", "due 09:00, sent 11:20"
        )
    ]
    assert await ada.occurrences() == [("skipped", "missed"), ("skipped", "missed"), ("fired", "")]
    (kept,) = await ada.schedules()
    assert kept.due_at == instant(datetime(2026, 12, 3, 9), zone_of("Europe/Rome"))


async def test_a_single_reminder_days_late_names_both_days(ada: Reminded) -> None:
    await ada.says("/remind tomorrow 9:00 call")
    ada.at(2026, 12, 2, 11, 20)
    assert await ada.due() == ["⏰ call\n\n_due Mon 30 Nov 2026 09:00, sent Wed 2 Dec 2026 11:20_"]


async def test_reminder_in_the_skipped_hour_fires_once(ada: Reminded) -> None:
    await ada.says("/remind every day 2:30 check")
    ada.at(2027, 3, 27, 12)
    await ada.due()
    ada.at(2027, 3, 28, 3, 0)  # 02:30 does not exist
    assert await ada.due() == ["⏰ check"]
    ada.at(2027, 3, 28, 3, 30)
    assert await ada.due() == []
    ada.at(2027, 3, 29, 2, 30)
    assert await ada.due() == ["⏰ check"]


async def test_repeated_hour_does_not_repeat_it(ada: Reminded) -> None:
    await ada.says("/remind every day 2:30 check")
    ada.at(2027, 10, 30, 12)
    await ada.due()
    ada.at(2027, 10, 31, 2, 30)
    assert await ada.due() == ["⏰ check"]
    ada.clock.advance(3600)  # 02:30 again
    assert await ada.due() == []
    ada.at(2027, 11, 1, 2, 30)
    assert await ada.due() == ["⏰ check"]


async def test_two_clocks_fire_one_occurrence(ada: Reminded) -> None:
    for number in range(20):
        await ada.says(f"/remind every day 9:00 number {number}")
    ada.at(2026, 11, 30, 9)
    clocks = [DueSchedules(ada.person.stores.database) for _ in range(4)]
    for _ in range(5):  # what one holds, the others leave for the next look
        await asyncio.gather(*(clock.fire(ada.clock.now, 3) for clock in clocks))
    texts = [text for _, text in await ada.person.outbox() if text.startswith("⏰")]
    assert sorted(texts) == sorted(f"⏰ number {number}" for number in range(20))
    assert await count_rows(ada.person.stores, models.Occurrence) == 20


async def test_a_clock_that_jumps_back_fires_nothing_twice(ada: Reminded) -> None:
    await ada.says("/remind every day 9:00 pills")
    ada.at(2026, 11, 30, 9)
    assert await ada.due() == ["⏰ pills"]
    ada.at(2026, 11, 30, 8)
    assert await ada.due() == []
    ada.at(2026, 11, 30, 9)
    assert await ada.due() == []
    ada.at(2026, 12, 1, 9)
    assert await ada.due() == ["⏰ pills"]


async def test_200_reminders_due_in_an_outage_go_out_once_each(ada: Reminded) -> None:
    stores = ada.person.stores
    for number in range(40):
        await ada.says(f"/remind tomorrow 9:00 number {number}")
    async with stores.database.write() as session:
        rows = await ada.schedules()
        for turn in range(4):
            for row in rows:
                values = {
                    column.name: getattr(row, column.name)
                    for column in models.Schedule.__table__.columns
                }
                values |= {"id": f"{row.id[:-1]}{'ghjk'[turn]}", "key": f"{row.key}:{turn}"}
                session.add(models.Schedule(**values))
    ada.at(2026, 11, 30, 12)
    texts = await ada.due()
    assert len(texts) == 200 and all("due 09:00, sent 12:00" in text for text in texts)
    assert await ada.due() == []


async def test_a_person_has_at_most_fifty(ada: Reminded) -> None:
    for number in range(50):
        await ada.says(f"/remind every day 9:00 number {number}")
    (told,) = await ada.says("/remind tomorrow 9:00 one more")
    assert "50 schedules already" in told
    assert len(await ada.schedules()) == 50


async def test_snooze_and_tomorrow_remind_once_more(ada: Reminded) -> None:
    await ada.says("/remind tomorrow 9:00 call")
    ada.at(2026, 11, 30, 9)
    await ada.due()
    assert await ada.presses("Snooze 10 min") == (
        "I will remind you again: Mon 30 Nov 2026 09:10 (Europe/Rome)."
    )
    await ada.presses("Snooze 10 min")  # the button was pressed twice
    ada.clock.advance(600)
    assert await ada.due() == ["⏰ call"]
    assert "Tue 1 Dec 2026 09:10" in await ada.presses("Tomorrow")
    ada.at(2026, 12, 1, 9, 10)
    assert await ada.due() == ["⏰ call"]
    assert await ada.presses("Done") == "Well done."
    assert [one.state for one in await ada.schedules()] == ["done"] * 3


async def test_until_done_comes_again_until_done_is_said(ada: Reminded) -> None:
    (told,) = await ada.says("/remind every 2 hours until done water")
    assert told.endswith(", until you say done")
    ada.clock.advance(7200)
    assert await ada.due() == ["⏰ water"]
    assert await ada.says("Done!") == ["Well done."]
    ada.clock.advance(7200)
    assert await ada.due() == []


async def test_words_mean_a_reminder_only_right_after_it(ada: Reminded) -> None:
    await ada.says("/remind every day 9:00 pills")
    assert await ada.says("done") == []  # for the agent
    ada.at(2026, 11, 30, 9)
    await ada.due()
    assert await ada.says("delete") == ["Deleted."]
    assert await ada.says("delete") == []
    assert [text for text, state in await ada.person.inbox() if state == "pending"] == [
        *("done", "delete"),
    ]


async def test_the_list_pauses_resumes_changes_and_deletes(ada: Reminded) -> None:
    await ada.says("/remind every day 9:00 pills")
    await ada.says("/remind tomorrow 9:30 call Ana")
    (told,) = await ada.says("/schedules")
    code = told.split("`")[1]
    assert f"`{code}` pills: Mon 30 Nov 2026 09:00 (Europe/Rome), repeats" in told
    assert (await ada.says(f"/schedules pause {code}"))[0].startswith("Paused: pills")
    ada.at(2026, 11, 30, 9)
    assert await ada.due() == []
    (told,) = await ada.says(f"/schedules resume {code}")
    assert "Tue 1 Dec 2026 09:00" in told  # what passed in the pause is not made up for
    (told,) = await ada.says(f"/schedules change {code} every day 7:00")
    assert told.startswith("Changed.\nReminder: pills\nTue 1 Dec 2026 07:00")
    assert await ada.says(f"/schedules run {code}") == ["⏰ pills"]
    assert await ada.says(f"/schedules delete {code}") == ["Deleted: pills"]
    assert "No schedule here" in (await ada.says(f"/schedules delete {code}"))[0]
    assert "/schedules pause CODE" in (await ada.says("/schedules nonsense"))[0]


async def test_cancel_under_the_echo_ends_it(ada: Reminded) -> None:
    await ada.says("/remind tomorrow 9:00 call")
    assert await ada.presses("Cancel") == "Cancelled."
    ada.at(2026, 11, 30, 9)
    assert await ada.due() == []


@pytest.mark.parametrize("data", ["sc:", "sc:nothing:d", "sc:{id}:z", "sc:{id}"])
async def test_a_button_that_was_made_up_does_nothing(ada: Reminded, data: str) -> None:
    await ada.says("/remind tomorrow 9:00 call")
    (kept,) = await ada.schedules()
    event = ada.person.message(data.format(id=kept.id), kind="callback")
    accepted = await ada.person.gives(event)
    assert accepted.answers[event.event_id] == "This button does nothing any more."
    assert [one.state for one in await ada.schedules()] == ["active"]


async def test_stop_and_new_delete_no_schedules(ada: Reminded) -> None:
    await ada.says("/remind tomorrow 9:00 call")
    await ada.says("/stop")
    await ada.says("/new")
    ada.at(2026, 11, 30, 9)
    assert await ada.due() == ["⏰ call"]
