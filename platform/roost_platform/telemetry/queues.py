"""How long the queues in the database are, for /metrics."""

import time
from collections.abc import Mapping

from sqlalchemy import func, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database


async def queue_depths(database: Database) -> Mapping[str, float]:
    """The figures named in figures.QUEUES, read in one transaction."""
    inbox, outbox, part = models.Inbox, models.Outbox, models.Part
    waiting = select(inbox.state, func.count()).where(inbox.state.in_(("pending", "held")))
    unfinished = select(
        func.count(), func.count(outbox.conversation_id.distinct()), func.min(outbox.created_at)
    ).where(outbox.state == "pending")
    running = select(func.count()).where(models.Turn.state == "running")
    uncertain = select(func.count()).where(part.state == "ambiguous")
    async with database.read() as session:
        states: dict[str, int] = {
            state: count for state, count in await session.execute(waiting.group_by(inbox.state))
        }
        messages, lanes, oldest = (await session.execute(unfinished)).one()
        return {
            "inbox_pending": states.get("pending", 0),
            "inbox_held": states.get("held", 0),
            "turns_running": await session.scalar(running) or 0,
            "outbox_pending": messages,
            "outbox_lanes": lanes,
            "outbox_uncertain": await session.scalar(uncertain) or 0,
            "outbox_oldest_seconds": max(time.time() - oldest, 0.0) if oldest else 0.0,
        }
