"""The tools by which models schedule, over schedules in memory."""

import json
import time
from datetime import datetime

import pytest

from roost import Agent
from roost.builtin import delete_schedule, list_schedules, remind, schedule
from roost.schedules.zones import instant, zone_of
from roost.testing import MemorySchedules, Run, ScriptedModel, call, run_agent

NOW = instant(datetime(2026, 11, 29, 14, 5), zone_of("Europe/Rome"))
AGENT = Agent(
    "reminder",
    instructions="Remind people.",
    tools=[remind, schedule, list_schedules, delete_schedule],
)


def in_rome() -> MemorySchedules:
    return MemorySchedules(zone="Europe/Rome", clock=lambda: NOW)


async def asked(schedules: MemorySchedules, name: str, **arguments: object) -> Run:
    model = ScriptedModel(call(name, **arguments), "Done.")
    return await run_agent(AGENT, "remind me", model=model, schedules=schedules)


async def test_a_reminder_is_kept_and_the_model_hears_the_resolved_times() -> None:
    schedules = in_rome()
    run = await asked(schedules, "remind", text="call Ana", at="2026-11-30T09:00")
    assert run.calls[0].outcome.status == "ok"
    assert "due Mon 30 Nov 2026 09:00 (Europe/Rome)" in run.calls[0].outcome.text
    assert schedules.wanted[0].kind == "reminder"


async def test_a_task_comes_again_and_again() -> None:
    schedules = in_rome()
    arguments = {"task": "Tell the news.", "kind": "job", "cron": "30 8 * * 1-5"}
    run = await asked(schedules, "schedule", **arguments)
    assert "Mon 30 Nov 2026 08:30 (Europe/Rome), then Tue" in run.calls[0].outcome.text
    assert [one.kind for one in schedules.wanted] == ["job"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"at": "2026-11-29T09:00"}, "is past"),
        ({"at": "2026-02-30T09:00"}, "a date that exists"),
        ({"cron": "* * * *"}, "five fields"),
        ({}, "exactly one"),
        ({"in_minutes": 5, "every_minutes": 5}, "exactly one"),
        ({"at": "2026-12-30T09:00", "zone": "Atlantis"}, "no time zone"),
    ],
)
async def test_a_wrong_time_is_told_to_the_model_with_the_mend(
    arguments: dict[str, object], told: str
) -> None:
    schedules = in_rome()
    run = await asked(schedules, "remind", text="x", **arguments)
    assert run.calls[0].outcome.status == "error" and told in run.calls[0].outcome.text
    assert schedules.wanted == []


async def test_an_unknown_zone_is_asked_for_only_where_it_matters() -> None:
    schedules = MemorySchedules(clock=time.time)
    run = await asked(schedules, "remind", text="x", at="2100-11-30T09:00")
    assert "ask which city" in run.calls[0].outcome.text
    run = await asked(schedules, "remind", text="x", in_minutes=20)
    assert "(UTC)" in run.calls[0].outcome.text


async def test_schedules_are_listed_and_deleted_by_their_code() -> None:
    schedules = in_rome()
    await asked(schedules, "remind", text="call Ana", at="2026-11-30T09:00")
    run = await asked(schedules, "list_schedules")
    assert run.calls[0].outcome.text.startswith("000001 (reminder, active): call Ana.")
    run = await asked(schedules, "delete_schedule", code="000001")
    assert run.calls[0].outcome.text == "000001 is deleted."
    run = await asked(schedules, "list_schedules")
    assert run.calls[0].outcome.text == "There are no schedules."


def test_the_tools_declare_what_a_model_needs() -> None:
    for tool in (remind, schedule):
        declared = json.dumps(tool.schema())
        assert "Europe/Rome" in declared and tool.effect == "idempotent"
