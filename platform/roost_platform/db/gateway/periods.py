"""The periods of a budget: days and months in UTC."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

Period = Literal["", "day", "month"]
PERIODS: Final = ("", "day", "month")
DAY_S: Final = 86_400.0


def period_end(period: str, now: float) -> float | None:
    """When the period that holds `now` ends, in seconds since the epoch; None for no period."""
    at = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return (at + timedelta(days=1)).timestamp()
    if period == "month":
        return (at.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()
    return None


def period_bounds(now: float) -> Mapping[str, float]:
    """The values of the statements that begin a new period: ends of this one and of the next."""
    return _bounds_of_day(int(now // DAY_S))


@lru_cache(maxsize=8)  # every call asks, and a day has one answer
def _bounds_of_day(day: int) -> Mapping[str, float]:
    end = (day + 1) * DAY_S
    month = period_end("month", day * DAY_S)
    assert month is not None
    return {
        "day_end": end,
        "month_end": month,
        "next_day_end": end + DAY_S,
        "next_month_end": period_end("month", month) or month,
    }
