"""The grammar of /remind: it reads what can be meant in one way only, and asks about all else."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from roost.schedules.spec import EVERY_S_MAX, MINUTE_S, At, Cron, Every, ScheduleError, Spec
from roost.schedules.times import wall
from roost.schedules.zones import instant, local
from roost_platform.schedules.words import (
    BARE_HOUR,
    DATES,
    DAY,
    FORMS,
    HOUR_HALF,
    NOON,
    NUMBER,
    TIME,
    UNIT,
    UNITS,
    WITH_YEAR,
    clock,
    date_of,
    has_left_over,
    month_of,
    number,
    weekday,
)

TEXT_CHARS_MAX: Final = 1000
EVENING: Final = 17  # the hour from which on a time is tonight
DELAY_PARTS_MAX: Final = 4
LEAP_YEAR: Final = 2028


@dataclass(frozen=True, slots=True)
class Reminder:
    """What to remind of, and when. until_done: it comes again until the person says so."""

    spec: Spec
    text: str
    until_done: bool = False


class ZoneNeeded(Exception):
    """The time zone must be known to read this."""


def read_reminder(text: str, now: float, zone: ZoneInfo | None) -> Reminder:
    """The reminder that the words behind /remind mean.

    zone: of the person. Raises ScheduleError with the forms for what may mean two things, and
    ZoneNeeded where the zone is not known and matters.
    """
    return _Reader(text, now, zone).read()


class _Reader:
    """Eats the text from its beginning; what is left are the words to remind of."""

    def __init__(self, text: str, now: float, zone: ZoneInfo | None) -> None:
        self._rest = text.strip()
        self._now = now
        self._zone = zone
        self._eat(r"me\b")

    def read(self) -> Reminder:
        """The whole reminder."""
        is_every = self._eat(r"every\b|(?=(?:daily|everyday)\b)")
        spec = self._every() if is_every else self._delay() or self._moment()
        until_done = bool(self._eat(r"until\s+done\b"))
        if until_done and isinstance(spec, At):
            raise ScheduleError(f'"until done" needs an interval, such as every hour.\n{FORMS}')
        if has_left_over(self._rest):
            raise ScheduleError(
                f"I am not sure which time you mean: “{self._rest[:40]}” reads like a part of it. "
                f"Write the day first, then one time.\n{FORMS}"
            )
        self._eat(r"(?:to|that|about)\b|[-:]")
        if not self._rest:
            raise ScheduleError(f"What shall I remind you of?\n{FORMS}")
        if len(self._rest) > TEXT_CHARS_MAX:
            raise ScheduleError(f"A reminder has at most {TEXT_CHARS_MAX} characters.")
        return Reminder(spec, self._rest, until_done)

    def _eat(self, pattern: str) -> re.Match[str] | None:
        """Take the pattern from the beginning of what is left."""
        match = re.match(pattern, self._rest, re.IGNORECASE)
        if match is not None:
            self._rest = self._rest[match.end() :].lstrip()
        return match

    def _local(self) -> tuple[datetime, ZoneInfo]:
        """The person's local time now, and the zone."""
        if self._zone is None:
            raise ZoneNeeded
        return local(self._now, self._zone).replace(tzinfo=None), self._zone

    def _delay(self) -> Spec | None:
        """`in 20 minutes`, `in 1 hour 30 minutes`, `in half an hour`, `in 2 days`."""
        if self._eat(r"in\s+half\s+an\s+hour\b"):
            return self._after(1800, "m")
        if self._eat(r"in\s+an\s+hour\s+and\s+a\s+half\b"):
            return self._after(5400, "m")
        seconds, smallest = 0, "x"
        lead = r"in\s+"
        for _ in range(DELAY_PARTS_MAX):
            match = self._eat(rf"{lead}{NUMBER}\s*{UNIT}")
            if match is None:
                break
            unit = match[2][0].lower()
            if seconds and UNITS[unit] >= UNITS[smallest]:
                raise ScheduleError(f"I am not sure how long that is. Write one number.\n{FORMS}")
            seconds, smallest = seconds + number(match[1]) * UNITS[unit], unit
            lead = r"(?:and\s+|,\s*)?"
        if smallest == "x":
            return None
        if not seconds:
            raise ScheduleError(f"That is now. Name a time to come.\n{FORMS}")
        return self._after(seconds, smallest)

    def _after(self, seconds: int, smallest: str) -> Spec:
        """A time from now on; one of whole days keeps the local time."""
        if smallest in "dw":
            here, _ = self._local()
            return At(here.replace(microsecond=0) + timedelta(seconds=seconds))
        return At(local(int(self._now + seconds), self._zone or ZoneInfo("UTC")))

    def _moment(self) -> Spec:
        """A day, or today, and a time: `tomorrow 9:00`, `on 24 Dec at 18:00`, `at 5 pm`."""
        is_tonight = bool(self._eat(r"tonight\b"))
        day = self._local()[0].date() if is_tonight else self._day()
        at = self._time()
        if is_tonight and at is not None and at.hour < EVENING:
            raise ScheduleError(f"{at:%H:%M} is not tonight. Write the day and the time.\n{FORMS}")
        if at is None:
            raise ScheduleError(f"I need a day or an interval, and a time.\n{FORMS}")
        here, zone = self._local()
        if day is None:
            self._refuse_day_behind()
        moment = datetime.combine(day or here.date(), at)
        if instant(moment, zone) <= self._now:
            raise ScheduleError(_passed(moment, here, is_named=day is not None))
        return At(moment)

    def _refuse_day_behind(self) -> None:
        if re.match(rf"(?:on\s+)?(?:today|tomorrow|{DAY})\b", self._rest, re.IGNORECASE):
            raise ScheduleError(f"Write the day before the time.\n{FORMS}")

    def _day(self) -> date | None:
        """The day that is named, None where none is."""
        if self._eat(r"today\b"):
            return self._local()[0].date()
        if self._eat(r"tomorrow\b"):
            return self._local()[0].date() + timedelta(days=1)
        if match := self._eat(r"(?:on\s+)?(\d{4})-(\d\d)-(\d\d)\b"):
            return date_of(int(match[1]), int(match[2]), int(match[3]))
        for pattern, day, month in WITH_YEAR:
            if match := self._eat(pattern):
                return self._of_month(int(match[day]), month_of(match[month]), match[3])
        if match := self._eat(rf"(?:on\s+|this\s+)?({DAY})\b"):
            here, _ = self._local()
            ahead = (weekday(match[1]) - here.weekday()) % 7
            if not ahead:
                raise ScheduleError(f"Today is {match[1]}: write today, or the date.\n{FORMS}")
            return here.date() + timedelta(days=ahead)
        return None

    def _of_month(self, day: int, month: int, year: str | None) -> date:
        """A date; without a year the next one that comes."""
        if year is not None:
            return date_of(int(year), month, day)
        today = self._local()[0].date()
        is_over = (month, day) < (today.month, today.day)
        return date_of(today.year + is_over, month, day)

    def _time(self) -> time | None:
        """A time of day, None where none is written."""
        if self._eat(NOON):
            return time(12)
        if match := self._eat(TIME) or self._eat(HOUR_HALF):
            half = (match[3] or match[4] or "").lower()
            return clock(int(match[1]), int(match[2] or 0), half)
        if match := self._eat(BARE_HOUR):
            hour = int(match[1])
            if 1 <= hour <= 6:
                raise ScheduleError(f"{hour}:00 or {hour + 12}:00? Write it like this.\n{FORMS}")
            return clock(hour, 0, "")
        return None

    def _every(self) -> Spec:
        """What comes behind `every`: an interval, or days and a time."""
        if match := self._eat(r"(?:(\d{1,4})\s*)?(minutes?|mins?|hours?|hrs?|h|m)\b"):
            seconds = int(match[1] or 1) * UNITS[match[2][0].lower()]
            if not MINUTE_S <= seconds <= EVERY_S_MAX:
                raise ScheduleError(f"Choose an interval from a minute to a year.\n{FORMS}")
            if re.match(rf"{NUMBER}\s*{UNIT}", self._rest, re.IGNORECASE):
                raise ScheduleError(f"I am not sure how long that is. Write one number.\n{FORMS}")
            start = local(int(self._now), self._zone or ZoneInfo("UTC"))
            return Every(seconds, start)
        days = self._days()
        at = self._time()
        if days is None or at is None:
            raise ScheduleError(f"I need an interval, or days and a time.\n{FORMS}")
        self._local()
        return Cron(f"{at.minute} {at.hour} {days}")

    def _days(self) -> str | None:
        """The last three fields of a cron expression, for the days that are named."""
        if self._eat(r"(?:day|daily|everyday)\b"):
            return "* * *"
        if self._eat(r"(?:weekday|working\s+day)s?\b"):
            return "* * 1-5"
        if self._eat(r"weekends?\b"):
            return "* * 0,6"
        of_month = r"(?:month\s+on\s+)?the\s+(\d{1,2})(?:st|nd|rd|th)?\b|(\d{1,2})(?:st|nd|rd|th)\b"
        yearly = self._eat(r"year\s+(?=on\b)")
        for pattern, day, month in DATES:
            if match := self._eat(pattern):
                return _of_year(int(match[day]), month_of(match[month]))
        if yearly is not None:
            raise ScheduleError(f"Name the day of the year, such as 24 Dec.\n{FORMS}")
        if match := self._eat(rf"(?:{of_month})(?:\s+of\s+the\s+month\b)?"):
            return _of_month(int(match[1] or match[2]))
        self._eat(rf"week\s+(?=on\s+(?:{DAY}))")
        found: list[int] = []
        while match := self._eat(rf"(?:(?:,|and\b|&)\s*)?(?:on\s+)?({DAY})s?\b"):
            found.append(weekday(match[1]))
        return (
            f"* * {','.join(str((day + 1) % 7) for day in sorted(set(found)))}" if found else None
        )


def _of_month(day: int) -> str:
    if not 1 <= day <= 28:
        raise ScheduleError("Choose a day from 1 to 28: later ones are not in each month.")
    return f"{day} * *"


def _of_year(day: int, month: int) -> str:
    date_of(LEAP_YEAR, month, day)
    if (day, month) == (29, 2):
        raise ScheduleError("29 Feb is not in each year: choose 28 Feb or 1 Mar.")
    return f"{day} {month} *"


def _passed(moment: datetime, here: datetime, *, is_named: bool) -> str:
    if is_named:
        return f"{wall(moment)} is past; it is {wall(here.replace(second=0))}. Name a later time."
    later = f" or today at {moment.hour + 12}:{moment:%M}" if moment.hour + 12 > here.hour else ""
    later = later if moment.hour < 12 else ""
    return (
        f"{moment:%H:%M} has passed today. Did you mean tomorrow {moment:%H:%M}{later}? "
        "Write the day, too."
    )
