"""Phrases that people write behind /remind: what can mean two things is refused, never guessed."""

from datetime import datetime

import pytest

from roost.schedules.spec import ScheduleError
from roost.schedules.times import check, echo
from roost.schedules.zones import find_zone, instant, zone_of
from roost_platform.schedules.remind import read_reminder

ROME = zone_of("Europe/Rome")
NOW = instant(datetime(2026, 11, 29, 14, 5), ROME)  # a Sunday

UNDERSTOOD = {
    "in half an hour bread": ("Sun 29 Nov 2026 14:35", "bread"),
    "in an hour and a half call": ("Sun 29 Nov 2026 15:35", "call"),
    "in one hour call": ("Sun 29 Nov 2026 15:05", "call"),
    "in ten minutes call": ("Sun 29 Nov 2026 14:15", "call"),
    "in 1 day 2 hours call": ("Mon 30 Nov 2026 16:05", "call"),
    "in 2 weeks pay rent": ("Sun 13 Dec 2026 14:05", "pay rent"),
    "in 500 weeks call": ("Sun 29 Jun 2036 14:05", "call"),
    "tonight 20:00 call Ana": ("Sun 29 Nov 2026 20:00", "call Ana"),
    "tonight at 8 pm call Ana": ("Sun 29 Nov 2026 20:00", "call Ana"),
    "tomorrow at 9:30 p.m. call": ("Mon 30 Nov 2026 21:30", "call"),
    "tomorrow at 9 a.m. call": ("Mon 30 Nov 2026 09:00", "call"),
    "tomorrow 12am fireworks": ("Mon 30 Nov 2026 00:00", "fireworks"),
    "tomorrow 9am: call Ana": ("Mon 30 Nov 2026 09:00", "call Ana"),
    "tomorrow 9:00 10 eggs": ("Mon 30 Nov 2026 09:00", "10 eggs"),
    "tomorrow 9:00 before work call Ana": ("Mon 30 Nov 2026 09:00", "before work call Ana"),
    "tomorrow 9:00 may I call Ana": ("Mon 30 Nov 2026 09:00", "may I call Ana"),
    "tomorrow 9:00 in marble": ("Mon 30 Nov 2026 09:00", "in marble"),
    "tomorrow 9:00 30 minutes of yoga": ("Mon 30 Nov 2026 09:00", "30 minutes of yoga"),
    "tomorrow 9:00 weekend shopping": ("Mon 30 Nov 2026 09:00", "weekend shopping"),
    "tomorrow 9:00 3 x 10 push-ups": ("Mon 30 Nov 2026 09:00", "3 x 10 push-ups"),
    "tomorrow 9:00 not without Ana": ("Mon 30 Nov 2026 09:00", "not without Ana"),
    "tomorrow 09:00 call at 10:00 Ana": ("Mon 30 Nov 2026 09:00", "call at 10:00 Ana"),
    "on the 1st of december at 9:00 rent": ("Tue 1 Dec 2026 09:00", "rent"),
    "on 29 Feb 2028 at 9:00 leap": ("Tue 29 Feb 2028 09:00", "leap"),
    "dec 24th, 2026 at 6pm wrap": ("Thu 24 Dec 2026 18:00", "wrap"),
    "daily at 9:00 pills": ("Mon 30 Nov 2026 09:00", "pills"),
    "everyday at 9:00 pills": ("Mon 30 Nov 2026 09:00", "pills"),
    "every weekend at 10:00 run": ("Sat 5 Dec 2026 10:00", "run"),
    "every week on monday at 9:00 bins": ("Mon 30 Nov 2026 09:00", "bins"),
    "every mon,wed,fri 9:00 gym": ("Mon 30 Nov 2026 09:00", "gym"),
    "every 1st of the month at 9:00 rent": ("Tue 1 Dec 2026 09:00", "rent"),
    "every year on 24 Dec at 9:00 wrap": ("Thu 24 Dec 2026 09:00", "wrap"),
    "every 5 may at 9:00 Ana's birthday": ("Wed 5 May 2027 09:00", "Ana's birthday"),
    "every sunday at 2:30 clocks": ("Sun 6 Dec 2026 02:30", "clocks"),
}
REFUSED = {
    "every 0 minutes drink": "from a minute to a year",
    "every 9999 hours drink": "from a minute to a year",
    "every 30 seconds drink": "I need an interval",
    "every 2 hours 30 minutes drink": "how long",
    "every 2h 30m drink": "how long",
    "every hour on the hour drink": "not sure which time",
    "every hour between 9:00 and 17:00 drink": "not sure which time",
    "every hour on weekdays drink": "not sure which time",
    "every hour at night drink": "not sure which time",
    "every day 9:00 in december pills": "not sure which time",
    "every day 9:00 till friday pills": "not sure which time",
    "every day 9:00 but not on sundays pills": "not sure which time",
    "every day 9:00 without weekends pills": "not sure which time",
    "every day 9:00 ten times pills": "not sure which time",
    "every day 9:00 and 21:00 pills": "not sure which time",
    "every day 9:00; 21:00 pills": "not sure which time",
    "every day 9:00 then 21:00 pills": "not sure which time",
    "at 18:00 24 Dec wrap": "not sure which time",
    "at 18:00 on Dec 24 wrap": "not sure which time",
    "at 18:00 the 24th wrap": "not sure which time",
    "at 18:00 2026-12-24 wrap": "not sure which time",
    "at 18:00 24/12 wrap": "not sure which time",
    "at 18:00 the day after tomorrow wrap": "not sure which time",
    "at 18:00 a week from now wrap": "not sure which time",
    "at 18:00 mondays bins": "not sure which time",
    "at 18:00 weekdays bins": "not sure which time",
    "tomorrow 18:00 and every week bins": "not sure which time",
    "tomorrow 18:00 once a week bins": "not sure which time",
    "tomorrow 18:00Z call": "not sure which time",
    "tomorrow 18:00+02:00 call": "not sure which time",
    "every hour at :15 drink": "not sure which time",
    "every year on monday at 9:00 x": "day of the year",
    "every 29 Feb at 9:00 leap": "29 Feb is not in each year",
    "every 30 Feb at 9:00 x": "There is no 30 Feb",
    "every 31st at 9:00 rent": "later ones are not in each month",
    "every month on the 31st at 9:00 rent": "later ones are not in each month",
    "every other day at 9:00 water": "I need an interval",
    "every 2 weeks on monday at 9:00 x": "I need an interval",
    "every day at 9:00 for a week pills": "not sure which time",
    "every day at 9:00 starting tomorrow pills": "not sure which time",
    "every day at 9:00 except sunday pills": "not sure which time",
    "every day 9:00, 21:00 pills": "not sure which time",
    "every day at 8 am and 8 pm pills": "not sure which time",
    "every day at 25:00 x": "no time",
    "on 30 feb at 9:00 x": "There is no 30 Feb",
    "on 29 Feb 2027 at 9:00 x": "There is no 29 Feb 2027",
    "on 31 April at 9:00 x": "There is no 31 Apr",
    "2026-13-40 9:00 x": "no month 13",
    "0001-01-01 0:10 x": "out of reach",
    "9999-12-31 23:59 x": "out of reach",
    "on 1 jan 2025 at 9:00 rent": "is past",
    "on 1 jan 2040 at 9:00 rent": "over ten years away",
    "in 9999 weeks x": "over ten years away",
    "in 0 minutes x": "That is now",
    "in 2 hours 3 hours x": "not sure how long",
    "in 2 hours at 9:00 x": "not sure which time",
    "today at 13:00 late": "is past",
    "9:00 call": "Did you mean tomorrow 09:00",
    "at 3 call": "3:00 or 15:00",
    "tonight at 8 call Ana": "is not tonight",
    "tonight 9:00 call Ana": "is not tonight",
    "tomorrow 24:00 call": "no time",
    "tomorrow 13 pm call": "no time",
    "tomorrow 9:00-10:00 call": "not sure which time",
    "tomorrow 9:00 \u2013 10:00 call": "not sure which time",
    "tomorrow 9:00 to 10:00 call": "not sure which time",
    "tomorrow 9:00 UTC call": "not sure which time",
    "tomorrow 9:00 EST call": "not sure which time",
    "tomorrow 9:00 New York time call": "not sure which time",
    "tomorrow 9:00 (New York) call": "not sure which time",
    "tomorrow 9:00 America/New_York call": "not sure which time",
    "tomorrow 9:00 or 10:00 call": "not sure which time",
    "friday 17:00 next week report": "not sure which time",
    "friday 17:00 in two weeks report": "not sure which time",
    "next friday 17:00 report": "a day or an interval",
    "sunday 17:00 report": "Today is sunday",
    "24/12 18:00 wrap": "a day or an interval",
    "day after tomorrow 9:00 call": "a day or an interval",
    "yesterday 9:00 x": "a day or an interval",
    "call mom at 15:00": "a day or an interval",
}


@pytest.mark.parametrize("phrase", UNDERSTOOD)
def test_what_has_one_meaning_is_kept_as_it_is_meant(phrase: str) -> None:
    when, text = UNDERSTOOD[phrase]
    found = read_reminder(phrase, NOW, ROME)
    told = echo(check(found.spec, ROME, NOW), ROME)
    assert (told.partition(" (")[0], found.text) == (when, text)


@pytest.mark.parametrize("phrase", REFUSED)
def test_what_may_mean_two_things_or_nothing_is_refused(phrase: str) -> None:
    with pytest.raises(ScheduleError, match=REFUSED[phrase]):
        check(read_reminder(phrase, NOW, ROME).spec, ROME, NOW)


def test_24_hours_are_hours_and_a_day_is_a_day() -> None:
    begin = instant(datetime(2027, 3, 27, 12), ROME)  # an hour is skipped in the night
    spec = read_reminder("in 24 hours call", begin, ROME).spec
    assert check(spec, ROME, begin)[0] == begin + 24 * 3600
    spec = read_reminder("in 1 day call", begin, ROME).spec
    assert check(spec, ROME, begin)[0] == begin + 23 * 3600


@pytest.mark.parametrize(
    ("words", "zone"),
    [
        ("São Paulo", "America/Sao_Paulo"),
        ("Zürich", "Europe/Zurich"),
        ("Istanbul", "Europe/Istanbul"),
        ("Buenos Aires", "America/Buenos_Aires"),
        ("lord howe", "Australia/Lord_Howe"),
        ("Etc/GMT-5", "Etc/GMT-5"),
        ("UTC+2", None),
        ("EST", None),
        ("washington", None),
        ("../../etc/passwd", None),
    ],
)
def test_cities_are_known_by_the_names_that_people_write(words: str, zone: str | None) -> None:
    assert find_zone(words) == zone


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Africa/Cairo", (2027, 4, 30)),
        ("America/Havana", (2027, 3, 14)),
        ("Asia/Beirut", (2027, 3, 28)),
        ("America/Santiago", (2027, 9, 5)),
    ],
)
def test_a_midnight_that_the_clock_skips_comes_at_one(zone: str, day: tuple[int, int, int]) -> None:
    place = zone_of(zone)
    begin = instant(datetime(*day), place) - 20 * 3600
    spec = read_reminder("every day at 0:00 pills", begin, place).spec
    first, second, _ = check(spec, place, begin)
    assert first == instant(datetime(*day, 1), place)
    assert second == instant(datetime(day[0], day[1], day[2]), place) + 23 * 3600
