"""What the checks of a schedule use up in a day of its zone, and the rest that follows."""

from datetime import datetime, time
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.schedules.zones import instant, local
from roost_platform.db import models
from roost_platform.db.enqueue import enqueue
from roost_platform.db.schedules.keeping import spec_of
from roost_platform.db.schedules.options import TOKENS_A_DAY
from roost_platform.db.turns.scheduled.titles import title_of

RESTS: Final = (
    "The check “{title}” has used its {most} tokens of today. It rests until tomorrow; "
    "/schedules changes or deletes it."
)


async def is_spent(session: AsyncSession, schedule: models.Schedule, most: int, now: float) -> bool:
    """Whether a check has used up its tokens of today, with the agents that worked for it.

    most: of every schedule in a day. Once used up, the chat is told; it is locked.
    """
    most = min(most, schedule.options.get(TOKENS_A_DAY) or most)
    _, zone = spec_of(schedule)
    today = local(now, zone).date()
    begun = (
        models.Occurrence.schedule_id == schedule.id,
        models.Occurrence.fired_at >= instant(datetime.combine(today, time()), zone),
    )
    turns = (
        select(models.Inbox.turn_id)
        .join(models.Occurrence, models.Occurrence.inbox_id == models.Inbox.id)
        .where(*begun)
    )
    step, below = models.TurnStep, models.Budget
    own = select(func.sum(step.prompt_tokens + step.completion_tokens)).where(
        step.turn_id.in_(turns)
    )
    of_agents = select(func.sum(below.tokens)).where(below.root_turn_id.in_(turns))
    used = (await session.scalar(own) or 0) + (await session.scalar(of_agents) or 0)
    if used < most:
        return False
    await enqueue(
        session,
        await session.get_one(models.Conversation, schedule.conversation_id),
        kind="notice",
        body=RESTS.format(title=title_of(schedule), most=f"{most:,}"),
        dedupe_key=f"spent:{schedule.id}:{today}",
        now=now,
    )
    return True
