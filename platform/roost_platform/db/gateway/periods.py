"""The periods of a budget: days and months in UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

Period = Literal["", "day", "month"]
PERIODS: Final = ("", "day", "month")


def period_end(period: str, now: float) -> float | None:
    """When the period that holds `now` ends, in seconds since the epoch; None for no period."""
    at = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return (at + timedelta(days=1)).timestamp()
    if period == "month":
        return (at.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp()
    return None
