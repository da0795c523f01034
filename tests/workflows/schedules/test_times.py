"""Times of schedules: clocks that change, leap days, and specs that are refused."""

import itertools
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.schedules.spec import At, Cron, Every, ScheduleError, Spec, read_spec
from roost.schedules.times import check, echo, next_time, next_times, when
from roost.schedules.zones import find_zone, instant, local, zone_of

ROME, NEW_YORK, LORD_HOWE = map(zone_of, ("Europe/Rome", "America/New_York", "Australia/Lord_Howe"))
# (zone, the day on which the clock skips, the day on which an hour or half of one comes twice)
CHANGES = (
    (ROME, datetime(2027, 3, 28), datetime(2027, 10, 31)),
    (NEW_YORK, datetime(2027, 3, 14), datetime(2027, 11, 7)),
    (LORD_HOWE, datetime(2027, 10, 3), datetime(2027, 4, 4)),
)
Change = tuple[ZoneInfo, datetime, datetime]
changes = st.sampled_from(CHANGES)
minutes = st.integers(0, 24 * 60 - 1)


def at(zone: ZoneInfo, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> float:
    return instant(datetime(year, month, day, hour, minute), zone)


@given(changes, st.booleans(), minutes)
def test_a_wall_time_fires_once_on_the_days_when_the_clock_changes(
    change: Change, skips: bool, minute: int
) -> None:
    zone, spring, autumn = change
    day = spring if skips else autumn
    wall = day + timedelta(minutes=minute)
    begin, end = instant(day, zone), instant(day + timedelta(days=1), zone) - 1
    specs: tuple[Spec, ...] = (
        At(wall),
        Every(86_400, wall - timedelta(days=9)),
        Cron(f"{wall.minute} {wall.hour} * * *"),
    )
    fired = [[one for one in next_times(spec, zone, begin - 1, 3) if one <= end] for spec in specs]
    assert fired[0] == fired[1] == fired[2]
    assert len(fired[0]) == 1
    shown = local(fired[0][0], zone).replace(tzinfo=None)
    # As written, or at the first instant after the jump.
    assert shown == wall or (skips and wall < shown <= wall + timedelta(hours=1))


@given(changes, minutes)
def test_a_skipped_time_is_the_very_first_that_exists(change: Change, minute: int) -> None:
    zone, spring, _ = change
    wall = spring + timedelta(minutes=minute)
    moment = instant(wall, zone)
    if local(moment, zone).replace(tzinfo=None) != wall:
        assert local(moment - 1, zone).replace(tzinfo=None) < wall
        assert local(moment, zone).utcoffset() != local(moment - 1, zone).utcoffset()


@given(changes, st.integers(1, 23 * 60), st.integers(0, 3 * 86_400))
def test_intervals_below_a_day_never_change_with_the_clock(
    change: Change, every: int, after: int
) -> None:
    zone, spring, _ = change
    spec = Every(every * 60, spring - timedelta(days=1))
    found = next_times(spec, zone, instant(spring, zone) - 86_400 + after, 5)
    assert {later - earlier for earlier, later in itertools.pairwise(found)} == {every * 60.0}


@given(st.sampled_from([zone for zone, *_ in CHANGES]), st.integers(0, 10 * 365))
def test_leap_days_come_in_leap_years_alone(zone: ZoneInfo, days: int) -> None:
    after = at(zone, 2026, 1, 1) + days * 86_400
    (found,) = next_times(Cron("0 9 29 2 *"), zone, after)
    shown = local(found, zone)
    assert (shown.month, shown.day, shown.hour) == (2, 29, 9)
    assert shown.year - local(after, zone).year <= 4


@given(changes, st.integers(0, 6 * 3600))
def test_the_next_time_is_always_later(change: Change, seconds: int) -> None:
    zone, spring, autumn = change
    for day in (spring, autumn):
        after = instant(day, zone) + seconds
        for spec in (Cron("30 2 * * *"), Cron("0,30 1-3 * * *"), Cron("*/15 * * * *")):
            found = next_times(spec, zone, after, 8)
            assert found == sorted(set(found)) and found[0] > after


def test_reminder_in_the_skipped_hour_fires_once() -> None:
    found = next_times(Cron("30 2 * * *"), NEW_YORK, at(NEW_YORK, 2027, 3, 13, 12), 2)
    assert [when(one, NEW_YORK) for one in found] == [
        "Sun 14 Mar 2027 03:00",
        "Mon 15 Mar 2027 02:30",
    ]


def test_repeated_hour_does_not_repeat_it() -> None:
    first = at(NEW_YORK, 2027, 11, 7, 1, 30)
    found = next_times(Cron("30 1 * * *"), NEW_YORK, at(NEW_YORK, 2027, 11, 6, 12), 2)
    assert found[0] == first and when(found[1], NEW_YORK) == "Mon 8 Nov 2027 01:30"
    for after in (first, first + 1800, first + 3599):  # within the second pass, too
        assert when(next_times(Cron("30 1 * * *"), NEW_YORK, after)[0], NEW_YORK).startswith("Mon")


def test_days_of_month_and_week_are_either_as_in_vixie_cron() -> None:
    found = next_times(Cron("0 9 15 * 1"), ROME, at(ROME, 2026, 12, 13), 3)
    assert [when(one, ROME)[:10] for one in found] == ["Mon 14 Dec", "Tue 15 Dec", "Mon 21 Dec"]


def test_an_interval_ends() -> None:
    spec = Every(3600, datetime(2026, 12, 1, 9), datetime(2026, 12, 1, 11))
    assert len(next_times(spec, ROME, at(ROME, 2026, 11, 1), 10)) == 3
    assert next_time(spec, ROME, at(ROME, 2026, 12, 1, 11)) is None


def test_an_instant_keeps_its_own_offset() -> None:
    second_pass = datetime.fromisoformat("2027-11-07T01:40:00-05:00")
    assert instant(second_pass, NEW_YORK) == at(NEW_YORK, 2027, 11, 7, 1, 40) + 3600


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"at": "2026-11-29T08:59"}, "is past"),
        ({"at": "2027-02-30T09:00"}, "a date that exists"),
        ({"at": "2099-01-01T09:00"}, "ten years"),
        ({"cron": "0 9 30 2 *"}, "no time that exists"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "0 25 * * *"}, "no time that exists"),
        ({"cron": "@daily"}, "five fields"),
        ({"cron": "0 9 * * 1#6"}, "no time that exists"),
        ({"every_s": 59}, "from a minute to a year"),
        ({"every_s": 90.5}, "whole number"),
        ({"every_s": True}, "whole number"),
        ({"every_s": float("nan")}, "whole number"),
        ({"every_s": 60, "start": "2026-12-02T09:00", "end": "2026-12-01T09:00"}, "no time"),
        ({}, "three ways"),
        ({"at": "2026-12-01T09:00", "cron": "* * * * *"}, "three ways"),
    ],
)
def test_what_cannot_be_is_refused_with_the_mend(spec: dict[str, Any], told: str) -> None:
    now = at(ROME, 2026, 11, 29, 9)
    with pytest.raises(ScheduleError, match=told):
        check(read_spec(spec, ROME, now), ROME, now)


@pytest.mark.parametrize("cron", ["*/2 * * * *", "0,59 0,23 * * *", "58,3 8 * * 1", "0,4 9 1 1 *"])
def test_checks_are_five_minutes_apart(cron: str) -> None:
    now = at(ROME, 2026, 11, 29, 9)
    spec = read_spec({"cron": cron}, ROME, now)
    assert check(spec, ROME, now)
    if cron != "58,3 8 * * 1":
        with pytest.raises(ScheduleError, match="5 minutes"):
            check(spec, ROME, now, is_check=True)


def test_the_echo_names_zone_and_next_times() -> None:
    now = at(ROME, 2026, 11, 29, 9)
    assert echo(check(Cron("0 9 * * *"), ROME, now), ROME) == (
        "Mon 30 Nov 2026 09:00 (Europe/Rome), then Tue 1 Dec 2026 09:00 and Wed 2 Dec 2026 09:00"
    )
    assert echo(check(At(datetime(2026, 12, 24, 18)), ROME, now), ROME) == (
        "Thu 24 Dec 2026 18:00 (Europe/Rome)"
    )


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("rome", "Europe/Rome"),
        ("Europe/rome", "Europe/Rome"),
        ("New York", "America/New_York"),
        ("new_york", "America/New_York"),
        ("america/new york", "America/New_York"),
        ("Tokyo.", "Asia/Tokyo"),
        ("utc", "UTC"),
        ("Port-au-Prince", "America/Port-au-Prince"),
        ("EST", None),
        ("+1", None),
        ("", None),
        ("../../etc/passwd", None),
        ("x" * 10_000, None),
    ],
)
def test_zones_are_found_by_name_and_city(text: str, zone: str | None) -> None:
    assert find_zone(text) == zone
