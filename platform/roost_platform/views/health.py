"""How the stack is: the one view behind the console's strip, `/api/status` and `roost status`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_inference.errors import EngineError
from roost_platform.db import models
from roost_platform.db.services import is_alive
from roost_platform.db.stores import Stores
from roost_platform.views.channels import (
    OURS,
    REMOVED,
    SEEN_BY_OPERATORS,
    Accounts,
    ChannelHealth,
    channels,
)
from roost_platform.views.problems import engine_refusal

BEATING: Final = ("worker", "courier", "web")  # processes that write heartbeats
PROBE_TIMEOUT_S: Final = 2.0  # the engine and Temporal have no heartbeat: they are asked


class EngineHealth(Protocol):
    """What the health view asks of the engine's client."""

    async def health(self) -> Mapping[str, Any]:
        """The engine's `/health` as JSON; raises EngineError when it can't be reached."""
        ...


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """One process. state: up | down."""

    name: str
    state: str
    detail: str = ""
    started_at: float | None = None

    @property
    def is_up(self) -> bool:
        """Whether it answers or beats."""
        return self.state == "up"


@dataclass(frozen=True, slots=True)
class StackHealth:
    """Every process and every connected account at one moment.

    engine: what the engine's own `/health` says; empty when it does not answer.
    """

    services: tuple[ServiceHealth, ...]
    channels: tuple[ChannelHealth, ...]
    engine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_up(self) -> bool:
        """Whether every process and every account works."""
        return all(one.is_up for one in self.services) and all(one.is_up for one in self.channels)


@dataclass(frozen=True, slots=True)
class HealthView:
    """Reads heartbeats and account states, and asks the engine and Temporal.

    engine, temporal_probe: None where there is none to ask; it is then left out.
    accounts: the configured ones; None where they are not known. Others are left out.
    clock: seconds since the epoch.
    """

    stores: Stores
    engine: EngineHealth | None = None
    temporal_probe: Callable[[], Awaitable[bool]] | None = None
    clock: Callable[[], float] = time.time
    accounts: Accounts | None = None

    async def read(self) -> StackHealth:
        """Everything at once; a process that is down is part of the result, never an error."""
        temporal, (engine, figures) = await asyncio.gather(self._temporal(), self._engine())
        now = self.clock()
        async with self.stores.database.read() as session:
            beats = await beating_services(session, now)
            accounts = await channels(session, now, self.accounts)
            refusal = await engine_refusal(session, now)
        if refusal:  # it answers, but not to us
            engine = [
                replace(one, state="down", detail=refusal) for one in engine if one.is_up
            ] or (engine)
        return StackHealth(
            services=(*temporal, *engine, *beats),
            channels=tuple(
                account
                for account in accounts
                if account.channel != OURS and account.state != REMOVED
            ),
            engine=figures,
        )

    async def _temporal(self) -> Sequence[ServiceHealth]:
        if self.temporal_probe is None:
            return ()
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                answers = await self.temporal_probe()
        except Exception:  # a probe that fails says the same as one that answers no
            answers = False
        state = ("up", "answers") if answers else ("down", "does not answer")
        return (ServiceHealth("temporal", *state),)

    async def _engine(self) -> tuple[Sequence[ServiceHealth], Mapping[str, Any]]:
        if self.engine is None:
            return (), {}
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                health = await self.engine.health()
        except (EngineError, TimeoutError) as error:
            return (ServiceHealth("engine", "down", str(error) or "does not answer"),), {}
        state = "up" if health.get("status") == "ok" else "down"
        return (ServiceHealth("engine", state, engine_line(health)),), health


def plain_service(one: ServiceHealth) -> ServiceHealth:
    """A process for viewers: of one that is down only that it is."""
    return one if one.is_up else replace(one, detail=SEEN_BY_OPERATORS)


async def beating_services(session: AsyncSession, now: float) -> tuple[ServiceHealth, ...]:
    """The processes of BEATING by their heartbeats, in that order."""
    rows = {row.service: row for row in await session.scalars(select(models.ServiceHeartbeat))}
    services = []
    for name in BEATING:
        row = rows.get(name)
        if row is None:
            services.append(ServiceHealth(name, "down", "not seen yet"))
        elif is_alive(row.seen_at, now):
            services.append(ServiceHealth(name, "up", f"version {row.version}", row.started_at))
        else:
            silence = f"no sign of life for {round(now - row.seen_at)} s"
            services.append(ServiceHealth(name, "down", silence, row.started_at))
    return tuple(services)


def engine_line(health: Mapping[str, Any]) -> str:
    """`model, n running, n waiting`, as far as the engine tells."""
    facts = [str(health.get("model") or health.get("status") or "")]
    facts += [f"{health[name]} {name}" for name in ("running", "waiting") if name in health]
    return ", ".join(fact for fact in facts if fact)
