"""Settings of schedules: what checks may cost."""

from pydantic import Field

from roost_platform.schedules.limits import CHECK_TOKENS_A_DAY
from roost_platform.settings.sections import Section


class SchedulesConfig(Section):
    """What runs at its time without being asked."""

    check_tokens_a_day: int = Field(
        default=CHECK_TOKENS_A_DAY,
        ge=1000,
        description="Tokens, read and written, that the checks of one schedule may use in a day of "
        "its zone. Then it rests until the next day, and its chat is told once. A schedule may "
        "have a lower bound of its own, `tokens_a_day`.",
    )
