from briefing import briefing
from roost.testing import MemorySchedules, ScriptedModel, call, run_agent


async def test_a_time_becomes_a_schedule() -> None:
    kept = MemorySchedules(zone="Europe/Lisbon")
    job = call("schedule", task="Brief on Lisbon.", kind="job", cron="30 7 * * 1-5")
    model = ScriptedModel(job, "Every weekday at half past seven.")
    await run_agent(briefing, "Brief me on weekdays at 7:30", model=model, schedules=kept)
    [wanted] = kept.wanted
    assert (wanted.kind, wanted.text) == ("job", "Brief on Lisbon.")
    assert dict(wanted.spec) == {"cron": "30 7 * * 1-5"}


async def test_the_job_reads_weather_and_news_side_by_side() -> None:
    model = ScriptedModel(
        [call("forecast", city="Lisbon"), call("headlines")],
        lambda messages: f"Good morning! {messages[-2]['content']}.",
    )
    run = await run_agent(briefing, "Brief on Lisbon.", model=model)
    assert run.text == "Good morning! sunny, 24 °C."
    assert run.steps == 2
