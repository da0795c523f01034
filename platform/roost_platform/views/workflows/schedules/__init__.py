"""What operators see of schedules: lists, one schedule, and a calendar."""

from roost_platform.views.workflows.schedules.listing import (
    STATES,
    OccurrenceRow,
    ScheduleDetail,
    ScheduleRow,
    schedule,
    schedules,
)
from roost_platform.views.workflows.schedules.month import CalendarEntry, calendar

__all__ = [
    "STATES",
    "CalendarEntry",
    "OccurrenceRow",
    "ScheduleDetail",
    "ScheduleRow",
    "calendar",
    "schedule",
    "schedules",
]
