from datetime import UTC, datetime

from reminders import reminders
from roost.testing import MemorySchedules, ScriptedModel, call, run_agent


def noon() -> float:
    return datetime(2030, 1, 31, 12, tzinfo=UTC).timestamp()


async def test_it_keeps_a_reminder_and_says_when_it_is_due() -> None:
    kept = MemorySchedules(zone="Europe/Rome", clock=noon)
    model = ScriptedModel(
        call("remind", text="Call Mum", at="2030-02-01T09:00"),
        lambda messages: messages[-1]["content"],
    )
    run = await run_agent(reminders, "Call Mum tomorrow at 9", model=model, schedules=kept)
    assert [(one.kind, one.text) for one in kept.wanted] == [("reminder", "Call Mum")]
    assert "Fri 1 Feb 2030 09:00 (Europe/Rome)" in run.text


async def test_it_asks_for_the_city_where_the_zone_is_not_known() -> None:
    kept = MemorySchedules(clock=noon)
    model = ScriptedModel(call("remind", text="Call Mum", at="2030-02-01T09:00"), "Where are you?")
    first = await run_agent(reminders, "Call Mum tomorrow at 9", model=model, schedules=kept)
    assert first.calls[0].outcome.status == "error" and not kept.wanted
    model = ScriptedModel(
        call("remind", text="Call Mum", at="2030-02-01T09:00", zone="Rome"), "Kept."
    )
    second = await run_agent(
        reminders, "In Rome", model=model, schedules=kept, messages=first.messages
    )
    assert second.calls[0].outcome.status == "ok" and kept.wanted[0].zone == "Rome"


async def test_a_reminder_is_deleted_by_its_code() -> None:
    kept = MemorySchedules(clock=noon)
    model = ScriptedModel(
        call("remind", text="Tea", in_minutes=5),
        call("list_schedules"),
        call("delete_schedule", code="000001"),
        "Gone.",
    )
    run = await run_agent(
        reminders, "Tea in five minutes. No, forget it", model=model, schedules=kept
    )
    assert "000001 (reminder, active): Tea" in run.calls[1].outcome.text
    assert run.calls[2].outcome.text == "000001 is deleted."
