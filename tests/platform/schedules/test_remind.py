"""The grammar of /remind: accepted forms, and what is asked about instead of being guessed."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.schedules.spec import ScheduleError
from roost.schedules.times import check, echo
from roost.schedules.zones import instant, zone_of
from roost_platform.schedules.remind import ZoneNeeded, read_reminder
from roost_platform.schedules.words import FORMS

ROME = zone_of("Europe/Rome")
NOW = instant(datetime(2026, 11, 29, 14, 5), ROME)  # a Sunday

ACCEPTED = {
    "tomorrow 9:00 call Ana": ("Mon 30 Nov 2026 09:00", "call Ana"),
    "me tomorrow at 9 to call Ana": ("Mon 30 Nov 2026 09:00", "call Ana"),
    "Tomorrow at 9 PM call Ana": ("Mon 30 Nov 2026 21:00", "call Ana"),
    "in 20 minutes take the bread out": ("Sun 29 Nov 2026 14:25", "take the bread out"),
    "in 20min bread": ("Sun 29 Nov 2026 14:25", "bread"),
    "in 1 hour and 30 minutes bread": ("Sun 29 Nov 2026 15:35", "bread"),
    "in an hour bread": ("Sun 29 Nov 2026 15:05", "bread"),
    "in 2 days bread": ("Tue 1 Dec 2026 14:05", "bread"),
    "in a week bread": ("Sun 6 Dec 2026 14:05", "bread"),
    "on 24 Dec at 18:00 wrap": ("Thu 24 Dec 2026 18:00", "wrap"),
    "on 24 December 2027 18:00 wrap": ("Fri 24 Dec 2027 18:00", "wrap"),
    "Dec 24th at 6 pm wrap": ("Thu 24 Dec 2026 18:00", "wrap"),
    "on the 3rd of": None,
    "24 Jan 8:00 skis": ("Sun 24 Jan 2027 08:00", "skis"),
    "2027-01-02 8:00 skis": ("Sat 2 Jan 2027 08:00", "skis"),
    "at 18:00 call": ("Sun 29 Nov 2026 18:00", "call"),
    "18:00 call 5 people": ("Sun 29 Nov 2026 18:00", "call 5 people"),
    "today noon": None,
    "on friday at 5 pm report": ("Fri 4 Dec 2026 17:00", "report"),
    "fri 12 am report": ("Fri 4 Dec 2026 00:00", "report"),
    "tomorrow noon eat": ("Mon 30 Nov 2026 12:00", "eat"),
    "every day 8:30 stretch": ("Mon 30 Nov 2026 08:30", "stretch"),
    "every weekday 8:30 stand-up": ("Mon 30 Nov 2026 08:30", "stand-up"),
    "every monday and thursday at 19:00 run": ("Mon 30 Nov 2026 19:00", "run"),
    "every sat, sun 10:00 rest": ("Sat 5 Dec 2026 10:00", "rest"),
    "every month on the 1st at 9:00 rent": ("Tue 1 Dec 2026 09:00", "rent"),
    "every 2 hours drink": ("Sun 29 Nov 2026 16:05", "drink"),
    "every hour until done drink": ("Sun 29 Nov 2026 15:05", "drink"),
}

REFUSED = {
    "": "day or an interval",
    "tomorrow call Ana": "a time",
    "call Ana tomorrow 9:00": "a time",
    "at 9 call": "has passed today. Did you mean tomorrow 09:00 or today at 21:00",
    "at 14:00 call": "has passed today. Did you mean tomorrow 14:00\\?",
    "today 9:00 call": "is past",
    "tomorrow at 5 call": "5:00 or 17:00",
    "tomorrow 9 call": "a time",
    "tomorrow 9:00": "What shall I",
    "at 18:00 tomorrow call": "day before the time",
    "at 18:00 on friday call": "day before the time",
    "sunday 18:00 call": "Today is sunday",
    "next friday 18:00 call": "a time",
    "in the morning call": "a time",
    "tonight call": "a time",
    "24/12 18:00 call": "a time",
    "on 30 Feb at 9:00 call": "no 30 Feb",
    "on 29 Feb at 9:00 call": "no 29 Feb 2027",
    "tomorrow 25:00 call": "no time",
    "tomorrow 9:75 call": "no time",
    "tomorrow 13 pm call": "am and pm",
    "tomorrow 9:00 or 10:00 call": "which time",
    "tomorrow 9:00 in the evening call": "which time",
    "in 0 minutes call": "That is now",
    "in 2 days at 9:00 call": "which time",
    "in 1.5 hours call": "a time",
    "every 15:00 call": "interval, or days",
    "every morning call": "interval, or days",
    "every month on the 31st at 9:00 rent": "1 to 28",
    "every day call": "interval, or days",
    "every monday or tuesday 9:00 call": "interval, or days",
    "tomorrow 9:00 until done call": "until done",
    "tomorrow 9:00 " + "x" * 1001: "at most 1000",
    "tomorrow 9:000 call": "a time",
    "on 24 Dec 2020 at 9:00 call": "is past",
}


@pytest.mark.parametrize("text", [text for text, found in ACCEPTED.items() if found])
def test_each_accepted_form_means_one_time(text: str) -> None:
    found = read_reminder(text, NOW, ROME)
    times = check(found.spec, ROME, NOW)
    assert (echo(times[:1], ROME), found.text) == (
        f"{ACCEPTED[text][0]} (Europe/Rome)",  # type: ignore[index]
        ACCEPTED[text][1],  # type: ignore[index]
    )
    assert found.until_done == ("until done" in text)


@pytest.mark.parametrize("text", REFUSED)
def test_what_may_mean_two_things_is_asked_about(text: str) -> None:
    with pytest.raises(ScheduleError, match=REFUSED[text]):
        read_reminder(text, NOW, ROME)


def test_the_forms_that_are_shown_are_accepted() -> None:
    for line in FORMS.splitlines()[1:]:
        found = read_reminder(line.removeprefix("/remind "), NOW, ROME)
        assert check(found.spec, ROME, NOW)


def test_a_delay_needs_no_zone_and_a_time_of_day_does() -> None:
    found = read_reminder("in 20 minutes bread", NOW, None)
    assert check(found.spec, zone_of("UTC"), NOW) == [NOW + 1200]
    for text in ("tomorrow 9:00 call", "in 2 days call", "every day 8:30 stretch"):
        with pytest.raises(ZoneNeeded):
            read_reminder(text, NOW, None)


def test_a_delay_within_the_repeated_hour_is_that_long() -> None:
    zone = zone_of("America/New_York")
    now = instant(datetime(2027, 11, 7, 1, 30), zone) + 3600  # the second 01:30
    assert check(read_reminder("in 20 minutes x", now, zone).spec, zone, now) == [now + 1200]


@given(st.text(max_size=200))
def test_any_text_is_read_or_asked_about(text: str) -> None:
    for beginning in ("", "tomorrow 9:00 ", "every ", "in 3 ", "on 24 Dec "):
        try:
            found = read_reminder(beginning + text, NOW, ROME)
        except ScheduleError as error:
            assert str(error)
        else:
            assert found.text and check(found.spec, ROME, NOW)
