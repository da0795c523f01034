"""Settings, the doctor's findings and live logs, for admins."""

import asyncio
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import Page
from roost_platform.errors import NotFound
from roost_platform.identity.roles import Role
from roost_platform.views.faults.log_lines import LEVELS, LogFilter, LogLine, parts_of, tail
from roost_platform.views.faults.system import ShownCheck, ShownSetting, SystemView

LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class SettingsContext:
    """The Settings page."""

    text: Annotated[str, "What the list is narrowed to"]
    rows: Annotated[tuple[ShownSetting, ...], "Settings in their order, secrets hidden"]
    given: Annotated[bool, "Whether only those are shown that somebody set"]


@dataclass(frozen=True, slots=True)
class DoctorContext:
    """The Doctor page."""

    checks: Annotated[tuple[ShownCheck, ...], "Findings, in the order in which they are made"]
    problems: Annotated[int, "How many of them are not well"]


@dataclass(frozen=True, slots=True)
class LogsContext:
    """The Logs page."""

    by: Annotated[LogFilter, "What the lines are narrowed to"]
    parts: Annotated[tuple[tuple[str, str], ...], "Parts that can be chosen"]
    levels: Annotated[tuple[tuple[str, str], ...], "Levels that can be chosen"]
    lines: Annotated[tuple[LogLine, ...], "The newest lines, oldest first"]
    query: Annotated[str, "The query string, for the stream"]


def _system(visit: Visit) -> SystemView:
    if visit.deps.system is None:
        raise NotFound("This console belongs to no stack.")
    return visit.deps.system


async def load_settings(visit: Visit) -> SettingsContext:
    """The settings, narrowed by the query string."""
    text, given = visit.query("q").strip(), visit.query("given") == "yes"
    wanted = text.lower()
    rows = [
        row
        for row in _system(visit).settings
        if wanted in f"{row.path} {row.variable} {row.help}".lower()
        and not (given and row.origin == "default")
    ]
    return SettingsContext(text, tuple(rows), given)


async def load_doctor(visit: Visit) -> DoctorContext:
    """The doctor's findings."""
    checks = await _system(visit).checks()
    return DoctorContext(checks, sum(check.level != "ok" for check in checks))


async def load_logs(visit: Visit) -> LogsContext:
    """The last lines that fit the query string."""
    folder = _system(visit).logs
    level = visit.query("level") if visit.query("level") in LEVELS else ""
    by = LogFilter(visit.query("part"), level, visit.query("q").strip())
    lines = await asyncio.to_thread(tail, folder, by)
    pairs = (("part", by.part), ("level", by.level), ("q", by.text))
    return LogsContext(
        by=by,
        parts=(("", "Every part"), *((part, part) for part in parts_of(folder))),
        levels=(("", "Every level"), *((level, f"{level} or worse") for level in LEVELS[1:])),
        lines=lines,
        query=urlencode([(name, value) for name, value in pairs if value]),
    )


def live_logs(data: LogsContext) -> LivePage:
    """The lines."""
    return LivePage((Fragment("log-lines", "faults/log_lines.html", data.lines),))


SETTINGS_PAGE = Page(
    path="/settings",
    template="faults/settings.html",
    load=load_settings,
    role=Role.admin,
    nav=NavLink("/settings", "Settings", "wrench", "Administration", Role.admin),
)
DOCTOR_PAGE = Page(
    path="/doctor",
    template="faults/doctor.html",
    load=load_doctor,
    role=Role.admin,
    nav=NavLink("/doctor", "Doctor", "circle-check", "Administration", Role.admin),
)
LOGS_PAGE = Page(
    path="/logs",
    template="faults/logs.html",
    load=load_logs,
    live=live_logs,
    look_s=LOOK_S,
    role=Role.admin,
    nav=NavLink("/logs", "Logs", "terminal", "Administration", Role.admin),
)
