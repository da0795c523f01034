"""The periods of a budget: days and months in UTC."""

from datetime import UTC, datetime, timedelta
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


def period_bounds(now: float) -> dict[str, float]:
    """The values of the statements that begin a new period: ends of this one and of the next."""
    day, month = period_end("day", now), period_end("month", now)
    assert day is not None and month is not None
    return {
        "day_end": day,
        "month_end": month,
        "next_day_end": day + DAY_S,
        "next_month_end": period_end("month", month) or month,
    }
