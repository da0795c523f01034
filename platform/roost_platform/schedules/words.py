"""The words of times in /remind, and those that must not be left in front of a text."""

import re
from datetime import date, time
from typing import Final

from roost.schedules.spec import YEARS, ScheduleError
from roost.schedules.zones import find_zone

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
/remind every year on 24 Dec at 9:00 wrap the presents
/remind every 2 hours until done drink water"""
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_NUMBERS: Final = (
    *("one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
UNITS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
UNIT: Final = r"(minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w)\b"
NUMBER: Final = rf"(\d{{1,4}}|(?:{'|'.join(_NUMBERS)}|an?)\b)"
DAY: Final = "|".join(rf"{day[:3]}(?:{day[3:]})?" for day in _DAYS)
_MONTH: Final = "|".join(rf"{month[:3]}(?:{month[3:]})?" for month in _MONTHS) + "|sept"
_YEAR: Final = r"(?:,?\s+(\d{4}))?\b"
_HALF: Final = r"\s*(?:([ap])\.m\.|([ap])m\b)"
TIME: Final = rf"(?:at\s+)?(\d{{1,2}}):(\d\d)(?:{_HALF})?(?![\d:])"
HOUR_HALF: Final = rf"(?:at\s+)?(\d{{1,2}})(){_HALF}"
BARE_HOUR: Final = r"at\s+(\d{1,2})(?![\d:.])\b(?!\s*(?:o'?clock|h)\b)"
NOON: Final = r"(?:at\s+)?noon\b"
# A day and a month in either order, with their places among the groups.
DATES: Final = (
    (rf"(?:on\s+)?(?:the\s+)?(\d{{1,2}})(?:st|nd|rd|th)?\.?(?:\s+of)?\s+({_MONTH})\b\.?", 1, 2),
    (rf"(?:on\s+)?({_MONTH})\b\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?", 2, 1),
)
WITH_YEAR: Final = tuple((f"{pattern}{_YEAR}", day, month) for pattern, day, month in DATES)
_PERIOD: Final = r"(?:minutes?|hours?|days?|weeks?|months?|years?|weekends?|quarters?)"
_DAYS_OF: Final = r"(?:weekdays?|weekends?|work(?:ing\s+)?days?|week\s+days?)"
# What stands in front of the words only where the times were not understood to the end.
_LEFT_OVER: Final = re.compile(
    rf"(?:(?:not|but|only|and|or|then|plus)\s+)*"
    rf"(?:at|on|in|by|around|about|next|this|from|until|till|til|through|between|before|after|during"
    rf"|and|or|then|plus|not|without)\s+"
    rf"(?:\d|:\d|the\s+\d|the\s+hour|noon|midnight|(?:{DAY})s?\b|(?:{_MONTH})\b|{_DAYS_OF}\b)"
    rf"|(?:in|for|and)\s+(?:the\s+next\s+|another\s+)?(?:{NUMBER}|half)(?:\s+\w+)?\s*{_PERIOD}\b"
    rf"|and\s+(?:a\s+)?half\b|(?:next|this|each|per)\s+{_PERIOD}\b|(?:from\s+now|ago|at\s+night)\b"
    rf"|{NUMBER}\s*(?:times\b|{_PERIOD}\s+(?:from|after|before|later)\b)"
    rf"|(?:today|tonight|tomorrow|yesterday|(?:{DAY})s?)\b|(?:weekdays|weekends)\b"
    r"|\d{1,2}[:.]\d\d|\d{1,2}\s*(?:am|pm)\b|[,;/&+]\s*\d|[,&]|z\b"
    rf"|(?:the\s+)?\d{{1,2}}(?:st|nd|rd|th)?\.?(?:\s+of)?\s+(?:{_MONTH})\b"
    rf"|(?:{_MONTH})\b\.?\s+\d{{1,2}}(?:st|nd|rd|th)?\b|the\s+\d{{1,2}}(?:st|nd|rd|th)\b"
    r"|\d{4}-\d\d-\d\d|\d{1,2}/\d\d\b|\d{1,2}/\d{1,2}/\d|the\s+day\s+(?:after|before)\b"
    r"|in\s+the\s+(?:morning|afternoon|evening|night)\b|(?:[ap]m|[ap]\.m|o'?clock)\b"
    r"|(?:(?:and|then|repeating)\s+)?(?:every|until|till|except|excluding|starting|beginning|daily"
    r"|weekly|monthly|yearly)\s|(?:once|twice)\s+(?:an?|each|every|per)\s"
    r"|(?:noon|midnight)\b|[-\u2013\u2014]\s*\d|to\s+\d{1,2}(?:[:.]\d\d|\s*[ap]m\b|\s*$)"
    r"|\(?(?:utc|gmt|bst|ees?t|ces?t|[ecmp][sd]t|jst|ist|msk|ae[sd]t)\b",
    re.IGNORECASE,
)
_PLACE: Final = re.compile(r"\(([^)]+)\)|((?:[\w-]+[\s/]+){1,3})time\b|(\w+/\w+(?:/\w+)?)")


def has_left_over(text: str) -> bool:
    """Whether the text begins with what reads like a part of a time, or names a time zone."""
    if _LEFT_OVER.match(text):
        return True
    place = _PLACE.match(text)
    return place is not None and find_zone(place[1] or place[2] or place[3]) is not None


def number(text: str) -> int:
    """The number of digits or of a word; `a` and `an` are one."""
    if text.isdecimal():
        return int(text)
    return _NUMBERS.index(text.lower()) + 1 if text.lower() in _NUMBERS else 1


def weekday(name: str) -> int:
    """The day of the week, Monday is 0."""
    return next(i for i, day in enumerate(_DAYS) if day.startswith(name.lower()[:3]))


def month_of(name: str) -> int:
    """The month, January is 1."""
    return next(i for i, month in enumerate(_MONTHS, 1) if month.startswith(name.lower()[:3]))


def clock(hour: int, minute: int, half: str) -> time:
    """The time of day. half: a, p or empty. Raises ScheduleError."""
    if half and not 1 <= hour <= 12:
        raise ScheduleError(f"{hour} {half}m is no time: am and pm go with 1 to 12.\n{FORMS}")
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    if hour > 23 or minute > 59:
        raise ScheduleError(f"{hour}:{minute:02d} is no time: a day has 0:00 to 23:59.\n{FORMS}")
    return time(hour, minute)


def date_of(year: int, month: int, day: int) -> date:
    """The date. Raises ScheduleError for one that does not exist, or that no schedule reaches."""
    if not 1 <= month <= 12:
        raise ScheduleError(f"There is no month {month}. Write 2026-12-24 or 24 Dec.\n{FORMS}")
    named = f"{day} {_MONTHS[month - 1][:3].title()} {year}"
    if not YEARS[0] <= year <= YEARS[1]:
        raise ScheduleError(f"{named} is out of reach. Check the year.\n{FORMS}")
    try:
        return date(year, month, day)
    except ValueError:
        raise ScheduleError(
            f"There is no {named}. Check the day, or add the year.\n{FORMS}"
        ) from None
