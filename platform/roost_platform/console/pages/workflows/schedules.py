"""Schedules: the list, a month as a calendar, one schedule with its history, and acting on it."""

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Final, get_args

from starlette.responses import Response

from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.db.schedules.store import OperatorAction
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.identity.roles import Role
from roost_platform.views.pagination import Pages, page_number
from roost_platform.views.workflows.schedules.listing import (
    STATES,
    ScheduleDetail,
    ScheduleRow,
    schedule,
    schedules,
)
from roost_platform.views.workflows.schedules.month import CalendarEntry
from roost_platform.views.workflows.schedules.month import calendar as entries_of

DAY_SHOWN_MAX: Final = 4  # schedules of one day in the calendar; more are counted
YEARS: Final = (2000, 2100)
DONE: Final = {
    "run": "It runs now.",
    "pause": "It is paused.",
    "resume": "It goes on.",
    "delete": "It is deleted; its history stays.",
}


@dataclass(frozen=True, slots=True)
class ScheduleListSection:
    """The table, which is updated."""

    rows: tuple[ScheduleRow, ...]
    pages: Pages


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """A day. more: entries beyond those shown."""

    day: date
    in_month: bool
    is_today: bool
    entries: tuple[CalendarEntry, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class CalendarSection:
    """A month in weeks from Monday on. before, after: the months around it, as `2026-12`."""

    title: str
    weeks: tuple[tuple[CalendarDay, ...], ...]
    before: str
    after: str

    @property
    def is_empty(self) -> bool:
        """Whether nothing is due in the month."""
        return not any(day.in_month and day.entries for week in self.weeks for day in week)


@dataclass(frozen=True, slots=True)
class SchedulesContext:
    """The Schedules page."""

    state: Annotated[str, "State the list is narrowed to; empty for those that are not over"]
    text: Annotated[str, "Search text"]
    list: Annotated[ScheduleListSection, "The rows and their pages"]
    calendar: Annotated[CalendarSection, "What is still to come in a month"]
    query: Annotated[str, "The query string, for the stream"]


@dataclass(frozen=True, slots=True)
class ScheduleContext:
    """One schedule's page."""

    detail: Annotated[ScheduleDetail, "The schedule, its next times and its history"]


async def load(visit: Visit) -> SchedulesContext:
    """One page of the list, and a month."""
    state = visit.query("state") if visit.query("state") in STATES else ""
    text, number = visit.query("q").strip(), page_number(visit.query("page"))
    today = datetime.fromtimestamp(visit.now, UTC).date()
    year, month = month_of(visit.query("month"), today)
    weeks_of_month = calendar.Calendar().monthdatescalendar(year, month)
    async with visit.deps.stores.database.read() as session:
        count, rows = await schedules(session, state, text, number)
        by_day = await entries_of(session, weeks_of_month[0][0], weeks_of_month[-1][-1], visit.now)
    pages = Pages(number, count, "/schedules", (("state", state), ("q", text)))
    weeks = tuple(
        tuple(
            CalendarDay(
                day=day,
                in_month=day.month == month,
                is_today=day == today,
                entries=tuple(by_day.get(day, ()))[:DAY_SHOWN_MAX],
                more=max(0, len(by_day.get(day, ())) - DAY_SHOWN_MAX),
            )
            for day in week
        )
        for week in weeks_of_month
    )
    return SchedulesContext(
        state=state,
        text=text,
        list=ScheduleListSection(tuple(rows), pages),
        calendar=CalendarSection(
            f"{calendar.month_name[month]} {year}",
            weeks,
            shifted(year, month, -1),
            shifted(year, month, 1),
        ),
        query=visit.request.url.query,
    )


def month_of(text: str, today: date) -> tuple[int, int]:
    """The year and month of `2026-12`; today's for anything else."""
    year, _, month = text.partition("-")
    if not (year.isdecimal() and month.isdecimal() and len(text) <= 7):
        return today.year, today.month
    is_month = YEARS[0] <= int(year) <= YEARS[1] and 1 <= int(month) <= 12
    return (int(year), int(month)) if is_month else (today.year, today.month)


def shifted(year: int, month: int, by: int) -> str:
    """The month before or after, as `2026-12`."""
    at = year * 12 + month - 1 + by
    return f"{at // 12:04d}-{at % 12 + 1:02d}"


def live(data: SchedulesContext) -> LivePage:
    """The list and the calendar."""
    return LivePage(
        (
            Fragment("schedule-list", "schedules/list.html", data.list),
            Fragment("calendar", "schedules/calendar.html", data.calendar),
        )
    )


async def load_one(visit: Visit) -> ScheduleContext:
    """The schedule of the path; raises NotFound."""
    async with visit.deps.stores.database.read() as session:
        return ScheduleContext(await schedule(session, visit.param("id"), visit.now))


def live_one(data: ScheduleContext) -> LivePage:
    """The schedule."""
    return LivePage((Fragment("schedule", "schedules/detail.html", data.detail),))


async def act(visit: Visit) -> Response:
    """Run it now, pause it, let it go on, or delete it."""
    action = next((one for one in get_args(OperatorAction) if one == visit.param("action")), None)
    if action is None:
        raise NotFound("Nothing of that name can be done to a schedule.")
    try:
        rung = await visit.deps.stores.schedules.act(
            visit.param("id"), action, visit.me.name, visit.ip
        )
    except NotAllowed as error:
        raise Refused(str(error)) from None
    visit.deps.intake.ring(rung)
    return visit.done(DONE[action])


LIST_PAGE = Page(
    path="/schedules",
    template="schedules/page.html",
    load=load,
    live=live,
    role=Role.operator,
    has_json=False,
    nav=NavLink("/schedules", "Schedules", "clock", role=Role.operator),
)
ONE_PAGE = Page(
    path="/schedules/{id}",
    template="schedules/one.html",
    load=load_one,
    live=live_one,
    role=Role.operator,
    has_json=True,
)
ACTIONS = (ConsoleRoute("POST", "/schedules/{id}/{action}", Role.operator, act, ONE_PAGE),)
