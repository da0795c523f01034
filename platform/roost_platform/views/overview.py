"""The stack in one answer: its health and a few counts, for `/api/status` and `roost status`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from roost_platform.db import models
from roost_platform.db.stores import Stores
from roost_platform.version import VERSION
from roost_platform.views.deliveries import count_of
from roost_platform.views.health import HealthView, StackHealth


@dataclass(frozen=True, slots=True)
class StackStatus:
    """The health of the stack, and how much there is of what, by name."""

    version: str
    health: StackHealth
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Overview:
    """Reads the status of the whole stack."""

    stores: Stores
    health: HealthView

    async def status(self) -> StackStatus:
        """Everything at once; a process that is down is part of the result, never an error."""
        health = await self.health.read()
        async with self.stores.database.read() as session:
            counts = {
                "sessions": await _count(session, models.Conversation.id, kind="chat"),
                "turns_running": await _count(session, models.Turn.id, state="running"),
                "messages_waiting": await _count(session, models.Inbox.id, state="pending"),
                "deliveries_pending": await count_of(session, "pending"),
                "deliveries_failed": await count_of(session, "failed"),
                "deliveries_uncertain": await count_of(session, "uncertain"),
                "people_waiting": await _count(session, models.Identity.id, access="pending"),
            }
        return StackStatus(VERSION, health, counts)


async def _count(session: Any, column: Any, **where: str) -> int:
    query = select(func.count(column))
    for name, value in where.items():
        query = query.where(getattr(column.class_, name) == value)
    return int(await session.scalar(query) or 0)
