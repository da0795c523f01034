"""The grammar of /remind: it reads what can be meant in one way only, and asks about all else."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from roost.schedules.spec import At, Cron, Every, ScheduleError, Spec
from roost.schedules.times import wall
from roost.schedules.zones import instant, local

TEXT_CHARS_MAX: Final = 1000
FORMS: Final = """\
Write when, then what:
/remind in 20 minutes take the bread out
/remind today 18:00 call Ana
/remind tomorrow 9:00 call Ana
/remind on friday at 5 pm send the report
/remind on 24 Dec at 18:00 wrap the presents
/remind every day 8:30 stretch
/remind every weekday 8:30 stand-up
/remind every monday and thursday at 19:00 training
/remind every 2 hours until done drink water"""
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_UNIT: Final = r"(minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w)\b"
_DAY: Final = "|".join(rf"{day[:3]}(?:{day[3:]})?" for day in _DAYS)
_MONTH: Final = "|".join(rf"{month[:3]}(?:{month[3:]})?" for month in _MONTHS) + "|sept"
_TIME: Final = r"(?:at\s+)?(\d{1,2}):(\d\d)(?:\s*(am|pm)\b)?(?![\d:])"
_HOUR_HALF: Final = r"(?:at\s+)?(\d{1,2})()\s*(am|pm)\b"
_BARE_HOUR: Final = r"at\s+(\d{1,2})(?![\d:.])\b(?!\s*(?:o'?clock|h)\b)"
_NOON: Final = r"(?:at\s+)?noon\b"
_YEAR: Final = r"(?:,?\s+(\d{4}))?\b"
# What stands in front of the words only where the times were not understood to the end.
_LEFT_OVER: Final = (
    rf"(?:at|on|in|by|around|about|next|this|from|until|and|or)\s+(?:\d|the\s+\d|noon|midnight|{_DAY})"
    rf"|(?:today|tonight|tomorrow|yesterday|{_DAY})\b|\d{{1,2}}[:.]\d\d|\d{{1,2}}\s*(?:am|pm)\b|,|&"
    r"|in\s+the\s+(?:morning|afternoon|evening|night)\b|(?:am|pm|o'?clock)\b|(?:every|until)\s"
)


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
        spec = self._every() if self._eat(r"every\b") else self._delay() or self._moment()
        until_done = bool(self._eat(r"until\s+done\b"))
        if until_done and isinstance(spec, At):
            raise ScheduleError(f'"until done" needs an interval, such as every hour.\n{FORMS}')
        if re.match(_LEFT_OVER, self._rest, re.IGNORECASE):
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
        """`in 20 minutes`, `in 1 hour 30 minutes`, `in an hour`, `in 2 days`."""
        match = self._eat(rf"in\s+(\d{{1,4}}|an?)\s*{_UNIT}")
        if match is None:
            return None
        seconds = _number(match[1]) * _UNITS[match[2][0].lower()]
        more = self._eat(rf"(?:and\s+)?(\d{{1,2}})\s*{_UNIT}") if match[2][0] in "hH" else None
        if more is not None:
            seconds += _number(more[1]) * _UNITS[more[2][0].lower()]
        if not seconds:
            raise ScheduleError(f"That is now. Name a time to come.\n{FORMS}")
        if seconds % 86_400 == 0:  # days keep the local time
            here, _ = self._local()
            return At(here.replace(microsecond=0) + timedelta(seconds=seconds))
        return At(local(int(self._now + seconds), self._zone or ZoneInfo("UTC")))

    def _moment(self) -> Spec:
        """A day, or today, and a time: `tomorrow 9:00`, `on 24 Dec at 18:00`, `at 5 pm`."""
        day = self._day()
        at = self._time()
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
        if re.match(rf"(?:on\s+)?(?:today|tomorrow|{_DAY})\b", self._rest, re.IGNORECASE):
            raise ScheduleError(f"Write the day before the time.\n{FORMS}")

    def _day(self) -> date | None:
        """The day that is named, None where none is."""
        if self._eat(r"today\b"):
            return self._local()[0].date()
        if self._eat(r"tomorrow\b"):
            return self._local()[0].date() + timedelta(days=1)
        if match := self._eat(r"(?:on\s+)?(\d{4})-(\d\d)-(\d\d)\b"):
            return _date(int(match[1]), int(match[2]), int(match[3]))
        for pattern, day, month in (
            (
                rf"(?:on\s+)?(?:the\s+)?(\d{{1,2}})(?:st|nd|rd|th)?\.?\s+({_MONTH})\b\.?{_YEAR}",
                1,
                2,
            ),
            (rf"(?:on\s+)?({_MONTH})\b\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?{_YEAR}", 2, 1),
        ):
            if match := self._eat(pattern):
                return self._of_month(int(match[day]), _month(match[month]), match[3])
        if match := self._eat(rf"(?:on\s+|this\s+)?({_DAY})\b"):
            here, _ = self._local()
            ahead = (_weekday(match[1]) - here.weekday()) % 7
            if not ahead:
                raise ScheduleError(f"Today is {match[1]}: write today, or the date.\n{FORMS}")
            return here.date() + timedelta(days=ahead)
        return None

    def _of_month(self, day: int, month: int, year: str | None) -> date:
        """A date; without a year the next one that comes."""
        if year is not None:
            return _date(int(year), month, day)
        today = self._local()[0].date()
        is_over = (month, day) < (today.month, today.day)
        return _date(today.year + is_over, month, day)

    def _time(self) -> time | None:
        """A time of day, None where none is written."""
        if self._eat(_NOON):
            return time(12)
        if match := self._eat(_TIME) or self._eat(_HOUR_HALF):
            return _clock(int(match[1]), int(match[2] or 0), (match[3] or "").lower())
        if match := self._eat(_BARE_HOUR):
            hour = int(match[1])
            if 1 <= hour <= 6:
                raise ScheduleError(f"{hour}:00 or {hour + 12}:00? Write it like this.\n{FORMS}")
            return _clock(hour, 0, "")
        return None

    def _every(self) -> Spec:
        """What comes behind `every`: an interval, or days and a time."""
        if match := self._eat(r"(?:(\d{1,4})\s*)?(minutes?|mins?|hours?|hrs?|h|m)\b"):
            seconds = int(match[1] or 1) * _UNITS[match[2][0].lower()]
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
        if self._eat(r"day\b"):
            return "* * *"
        if self._eat(r"(?:weekday|working\s+day)s?\b"):
            return "* * 1-5"
        if match := self._eat(r"month\s+on\s+the\s+(\d{1,2})(?:st|nd|rd|th)?\b"):
            if not 1 <= int(match[1]) <= 28:
                raise ScheduleError("Choose a day from 1 to 28: later ones are not in each month.")
            return f"{int(match[1])} * *"
        found: list[int] = []
        while match := self._eat(rf"(?:(?:,|and\b|&)\s*)?(?:on\s+)?({_DAY})s?\b"):
            found.append(_weekday(match[1]))
        return (
            f"* * {','.join(str((day + 1) % 7) for day in sorted(set(found)))}" if found else None
        )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 1


def _weekday(name: str) -> int:
    return next(i for i, day in enumerate(_DAYS) if day.startswith(name.lower()[:3]))


def _month(name: str) -> int:
    return next(i for i, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()[:3]))


def _clock(hour: int, minute: int, half: str) -> time:
    if half and not 1 <= hour <= 12:
        raise ScheduleError(f"{hour} {half} is no time: am and pm go with 1 to 12.\n{FORMS}")
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 23 or minute > 59:
        raise ScheduleError(f"{hour}:{minute:02d} is no time: a day has 0:00 to 23:59.\n{FORMS}")
    return time(hour, minute)


def _date(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise ScheduleError(
            f"There is no {day} {_MONTHS[(month - 1) % 12][:3].title()} {year}. "
            f"Check the day, or add the year.\n{FORMS}"
        ) from None


def _passed(moment: datetime, here: datetime, *, is_named: bool) -> str:
    if is_named:
        return f"{wall(moment)} is past; it is {wall(here.replace(second=0))}. Name a later time."
    later = f" or today at {moment.hour + 12}:{moment:%M}" if moment.hour + 12 > here.hour else ""
    later = later if moment.hour < 12 else ""
    return (
        f"{moment:%H:%M} has passed today. Did you mean tomorrow {moment:%H:%M}{later}? "
        "Write the day, too."
    )
