"""Stopping many turns at once: all that run, those of one agent, or those of one channel."""

import logging
from dataclasses import dataclass

from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.locks import OPEN_STATES
from roost_platform.db.stores import Stores
from roost_platform.errors import NotFound
from roost_platform.intake import PlatformIntake

STOPPED_MAX = 1000  # turns that one request stops; the rest by the next one

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BulkStop:
    """What a bulk stop did. stopped: turns that were told to stop. left: those beyond the bound."""

    stopped: int
    left: int

    @property
    def words(self) -> str:
        """The result in a sentence."""
        turns = f"{self.stopped} turn{'' if self.stopped == 1 else 's'}"
        rest = f" {self.left} more run: stop again." if self.left else ""
        return f"Stopping {turns}.{rest}" if self.stopped else "Nothing runs there."


async def running(stores: Stores, *, agent: str = "", channel: str = "") -> list[str]:
    """The conversations in which a turn runs or waits, the oldest turn first; empty means any."""
    statement = (
        select(models.Turn.conversation_id)
        .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
        .where(models.Turn.state.in_(OPEN_STATES), models.Turn.stop_requested_at.is_(None))
        .order_by(models.Turn.started_at)
    )
    if agent:
        statement = statement.where(models.Turn.agent == agent)
    if channel:
        statement = statement.where(models.Conversation.channel == channel)
    async with stores.database.read() as session:
        return list(await session.scalars(statement))


async def stop_running(
    stores: Stores, intake: PlatformIntake, by: str, ip: str, *, agent: str = "", channel: str = ""
) -> BulkStop:
    """Stop each turn as a stop in its own chat does; each is audited, and the request as well."""
    found = await running(stores, agent=agent, channel=channel)
    stopped = 0
    for conversation_id in found[:STOPPED_MAX]:
        try:
            result = await intake.request_stop(conversation_id, by, ip)
        except NotFound:  # it was deleted meanwhile
            continue
        stopped += result.turn_id is not None
    done = BulkStop(stopped, max(0, len(found) - STOPPED_MAX))
    detail = {"agent": agent, "channel": channel, "stopped": stopped, "left": done.left}
    await stores.audit.write(by, "conversation.stop_many", "", detail, ip)
    log.info("%s stopped %d turns (agent %r, channel %r)", by, stopped, agent, channel)
    return done
