"""Checks have a daily bound of tokens; their options are read when they are kept."""

import pytest
from sqlalchemy import select

from roost.schedules.spec import ScheduleError
from roost_platform.db import models
from roost_platform.db.due.schedules import DueSchedules
from roost_platform.testing.scheduling import Reminded
from roost_workflows.model_calls import Usage
from roost_workflows.ports import ModelCall

QUIET = '{"notify": false, "text": ""}'


async def checks(ada: Reminded, *wall: int, tokens: int = 400, most: int = 1000) -> list[str]:
    """Let a check run at a local time, if it does; what was queued for the chat by it."""
    before = len(await ada.person.outbox())
    ada.at(*wall)
    database = ada.person.stores.database
    ada.rung = await DueSchedules(database, most).fire(ada.clock.now, 50)
    if ada.rung:
        turn = await ada.begin_rung()
        usage = Usage(prompt_tokens=tokens - 10, completion_tokens=10)
        call = ModelCall("answer", QUIET, usage=usage)
        await ada.person.stores.turns.commit_step(turn.turn_id, 1, call)
    return [text for _, text in (await ada.person.outbox())[before:]]


async def test_a_check_rests_when_its_tokens_of_the_day_are_used_and_says_so_once(
    ada: Reminded,
) -> None:
    await ada.keeps("check", "Is the harbour open?", "0 * * * *")
    for hour in (15, 16, 17):
        assert await checks(ada, 2026, 11, 29, hour) == []
    assert await checks(ada, 2026, 11, 29, 18) == [
        "The check “Is the harbour open?” has used its 1,000 tokens of today. It rests until "
        "tomorrow; /schedules changes or deletes it."
    ]
    for hour in (19, 23):
        assert await checks(ada, 2026, 11, 29, hour) == []
    assert await ada.occurrences() == [
        *[("done", "")] * 3,
        *[("skipped", "tokens_used_up")] * 2,
        *[("skipped", "missed")] * 3,
        ("skipped", "tokens_used_up"),
    ]
    for hour in (0, 1, 2):  # another day of its zone
        assert await checks(ada, 2026, 11, 30, hour) == []
    assert len(await checks(ada, 2026, 11, 30, 3)) == 1


async def test_a_schedule_may_have_a_lower_bound_of_its_own(ada: Reminded) -> None:
    await ada.keeps("check", "News?", "0 * * * *", options={"tokens_a_day": 300})
    assert await checks(ada, 2026, 11, 29, 15) == []
    (told,) = await checks(ada, 2026, 11, 29, 16)
    assert "its 300 tokens of today" in told


async def test_agents_that_work_for_a_check_count(ada: Reminded) -> None:
    await ada.keeps("check", "News?", "0 * * * *")
    assert await checks(ada, 2026, 11, 29, 15) == []
    async with ada.person.stores.database.write() as session:
        turn_id = await session.scalar(select(models.Occurrence.turn_id))
        budget = models.Budget(root_turn_id=turn_id, tokens_max=9999, tokens=900, steps_max=9)
        budget.children_max = 1
        session.add(budget)
    assert len(await checks(ada, 2026, 11, 29, 16)) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"active": ["8", "22"]},
        {"active": "08:00"},
        {"active": ["08:00"]},
        {"active": ["08:00+02:00", "22:00"]},
        {"tokens_a_day": 0},
        {"tokens_a_day": "many"},
        {"tokens_a_day": True},
        {"until_done": "yes"},
        {"colour": "red"},
    ],
)
async def test_options_that_cannot_be_followed_are_refused_when_they_are_given(
    ada: Reminded, options: dict[str, object]
) -> None:
    with pytest.raises(ScheduleError):
        await ada.keeps("check", "News?", "0 * * * *", options=options)
    assert await ada.schedules() == []


async def test_stored_options_that_cannot_be_read_hold_up_no_other(ada: Reminded) -> None:
    await ada.keeps("check", "broken", "0 * * * *")
    await ada.says("/remind every day 15:00 whole")
    async with ada.person.stores.database.write() as session:
        row = await session.get_one(models.Schedule, (await ada.schedules())[0].id)
        row.options = {"active": ["8", "22"]}
    ada.at(2026, 11, 29, 15)
    assert await ada.due() == ["⏰ whole"]
    assert (await ada.schedules())[0].fail_code == "broken"
