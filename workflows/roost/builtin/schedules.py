"""Tools by which a model reminds people and gives itself work for later."""

from typing import Annotated, Any, Final

from pydantic import Field

from roost.context import Context
from roost.errors import ModelRetry
from roost.schedules.keeper import Kept, Wanted
from roost.schedules.kinds import Kind
from roost.schedules.spec import MINUTE_S, ScheduleError
from roost.tools import tool

MINUTES_MAX: Final = 60 * 24 * 366
TEXT_CHARS_MAX: Final = 1000
At = Annotated[
    str, Field(description="local date and time, such as 2026-11-30T09:00; empty if unused")
]
InMinutes = Annotated[int, Field(ge=0, le=MINUTES_MAX, description="minutes from now; 0 if unused")]
EveryMinutes = Annotated[
    int, Field(ge=0, le=MINUTES_MAX, description="minutes between two times; 0 if unused")
]
CronText = Annotated[
    str,
    Field(description='five cron fields, such as "30 8 * * 1-5" for weekdays; empty if unused'),
]
Zone = Annotated[
    str, Field(description="IANA zone such as Europe/Rome; empty for the person's own")
]
Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARS_MAX)]


@tool(effect="idempotent", timeout=15, label="Keeping a reminder")
async def remind(
    ctx: Context,
    text: Annotated[Text, Field(description="what to remind the person of")],
    at: At = "",
    in_minutes: InMinutes = 0,
    every_minutes: EveryMinutes = 0,
    cron: CronText = "",
    zone: Zone = "",
) -> str:
    """Remind the person of something at a time; give exactly one of at, in_minutes,
    every_minutes and cron.
    """
    spec = _spec(at, in_minutes, every_minutes, cron)
    return await _keep(ctx, Wanted("reminder", text, spec, zone))


@tool(effect="idempotent", timeout=15, label="Scheduling a task")
async def schedule(
    ctx: Context,
    task: Annotated[Text, Field(description="what you will do then, with all that you must know")],
    kind: Annotated[
        Kind,
        Field(
            description="task: in this conversation; job: apart from it, and the result is sent; "
            "check: apart from it, and only what matters is sent; reminder: the text alone"
        ),
    ] = "task",
    at: At = "",
    in_minutes: InMinutes = 0,
    every_minutes: EveryMinutes = 0,
    cron: CronText = "",
    zone: Zone = "",
) -> str:
    """Do a task by yourself at a later time, once or again and again; give exactly one of at,
    in_minutes, every_minutes and cron.
    """
    spec = _spec(at, in_minutes, every_minutes, cron)
    return await _keep(ctx, Wanted(kind, task, spec, zone))


@tool(effect="pure", timeout=15, label="Looking at the schedules")
async def list_schedules(ctx: Context) -> str:
    """List the person's reminders and schedules in this conversation."""
    kept = await ctx.schedules.list()
    return "\n".join(map(_line, kept)) or "There are no schedules."


@tool(effect="idempotent", timeout=15, label="Deleting a schedule")
async def delete_schedule(
    ctx: Context, code: Annotated[str, Field(description="its code, see list_schedules")]
) -> str:
    """Delete a reminder or schedule by its code."""
    if await ctx.schedules.delete(code.strip("` ")) or ctx.attempt > 1:
        return f"{code} is deleted."
    return f"There is no schedule {code}."


def _spec(at: str, in_minutes: int, every_minutes: int, cron: str) -> dict[str, Any]:
    given: dict[str, Any] = {
        "at": at,
        "in_s": in_minutes * MINUTE_S,
        "every_s": every_minutes * MINUTE_S,
        "cron": cron,
    }
    spec = {name: value for name, value in given.items() if value}
    if len(spec) != 1:
        raise ModelRetry("Give exactly one of at, in_minutes, every_minutes and cron.")
    return spec


async def _keep(ctx: Context, wanted: Wanted) -> str:
    try:
        kept = await ctx.schedules.add(wanted)
    except ScheduleError as error:
        raise ModelRetry(str(error)) from None
    return f"Kept. It is due {kept.times}. The person has been told these times. Code: {kept.code}."


def _line(kept: Kept) -> str:
    return f"{kept.code} ({kept.kind}, {kept.state}): {kept.text}. {kept.times}"
