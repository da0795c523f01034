"""How every part is, for `/api/status`, `roost status` and the console's health strip."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import func, select

from roost_inference.client.engine_client import EngineClient
from roost_inference.errors import EngineError
from roost_platform.api.schemas import Part, Status
from roost_platform.db import models
from roost_platform.db.stores import Stores
from roost_platform.version import VERSION
from roost_platform.views.health import services

log = logging.getLogger(__name__)

BEATING: Final = ("worker", "courier", "web")
WATCH_INTERVAL_S = 5.0
PROBE_TIMEOUT_S = 3.0


@dataclass(slots=True)
class Overview:
    """Reads heartbeats, and asks the parts that have none: the engine and Temporal."""

    stores: Stores
    engine: EngineClient
    temporal_probe: Callable[[], Awaitable[bool]]
    clock: Callable[[], float] = time.time
    _engine_detail: str = field(default="", init=False)

    async def status(self) -> Status:
        """Everything at once; never raises for a part that is down."""
        engine, temporal = await asyncio.gather(self._engine(), self._temporal())
        async with self.stores.database.read() as session:
            beats = await services(session, BEATING, self.clock())
            counts = {
                "sessions": await _count(session, models.Conversation.id),
                "turns_running": await _count(session, models.Turn.id, state="running"),
                "messages_waiting": await _count(session, models.Inbox.id, state="pending"),
                "deliveries_pending": await _count(session, models.Outbox.id, state="pending"),
                "deliveries_failed": await _count(session, models.Outbox.id, state="failed"),
                "people_waiting": await _count(session, models.Identity.id, access="pending"),
            }
            channels = await _channels(session)
        parts = [temporal, engine]
        parts += [
            Part(name=b.name, up=b.state == "up", detail=b.detail)
            for b in beats
            if b.name in BEATING
        ]
        parts += channels
        return Status(ok=all(p.up for p in parts), version=VERSION, parts=parts, counts=counts)

    async def watch_engine(self) -> None:
        """Beat for the engine, which has no database: it is up when it answers."""
        while True:
            part = await self._engine()
            if part.up:
                try:
                    await self.stores.heartbeats.beat("engine", {"detail": part.detail})
                except Exception:
                    log.exception("the engine's heartbeat was not written")
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def _engine(self) -> Part:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                health = await self.engine.health()
        except (EngineError, TimeoutError) as error:
            return Part(name="engine", up=False, detail=str(error) or "does not answer")
        return Part(name="engine", up=health.get("status") == "ok", detail=_engine_line(health))

    async def _temporal(self) -> Part:
        is_up = await self.temporal_probe()
        return Part(name="temporal", up=is_up, detail="" if is_up else "does not answer")


def _engine_line(health: Mapping[str, Any]) -> str:
    """`model, n running, n waiting`, as far as the engine tells."""
    facts = [str(health.get("model") or health.get("status") or "")]
    facts += [f"{health[name]} {name}" for name in ("running", "waiting") if name in health]
    return ", ".join(fact for fact in facts if fact)


async def _channels(session: Any) -> list[Part]:
    rows = await session.scalars(
        select(models.ChannelState).order_by(
            models.ChannelState.channel, models.ChannelState.account
        )
    )
    return [
        Part(
            name=f"{row.channel} {row.account}",
            up=row.state in ("up", "starting"),
            detail=row.detail or row.state,
        )
        for row in rows
        if row.channel != "console"
    ]


async def _count(session: Any, column: Any, **where: str) -> int:
    query = select(func.count(column))
    for name, value in where.items():
        query = query.where(getattr(column.class_, name) == value)
    return int(await session.scalar(query) or 0)
