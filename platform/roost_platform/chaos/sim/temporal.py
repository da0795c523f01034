"""The parts of Temporal that sessions use; a signal that reached it survives every process."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from roost.execution.threads import without_threads
from roost_platform.chaos.agents import Surroundings, surroundings
from roost_platform.chaos.sim.life import Life
from roost_platform.chaos.sim.model import RuleModel
from roost_platform.db.stores import Stores
from roost_platform.testing.workers import activities_of
from roost_workflows.agents import AgentRegistry
from roost_workflows.testing.sessions import RunFailed, Session, Tries

TRIES = Tries(most=1000, pause_s=1.0)
POSTPONED_LEAST_S = 0.05


@dataclass(slots=True)
class Run:
    """An open workflow. stops: set by a signal that a stop is recorded."""

    rung: bool = True
    stops: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class SimTemporal:
    """Open workflows by conversation; `news` wakes the worker."""

    open: dict[str, Run] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self, conversation_id: str) -> None:
        """Open the conversation's workflow if it is closed, and signal it."""
        self.open.setdefault(conversation_id, Run()).rung = True
        self.news.set()

    def stop(self, conversation_id: str) -> None:
        """Let the conversation's workflow look for a recorded stop; open it if it is closed."""
        self.open.setdefault(conversation_id, Run()).stops.set()
        self.news.set()


class SimDoorbell:
    """Signal-with-start over a network that may lose the signal, with or without saying so."""

    def __init__(self, life: Life, temporal: SimTemporal, rng: random.Random, lost: float) -> None:
        self._life = life
        self._temporal = temporal
        self._rng = rng
        self._lost = lost

    async def ring(self, conversation_id: str) -> None:
        """Ring a session; the signal may get lost, silently or with an error, or come twice."""
        await self._signal(self._temporal.ring, conversation_id)

    async def stop(self, conversation_id: str) -> None:
        """Ring a session whose stop is recorded; the signal may get lost as well."""
        await self._signal(self._temporal.stop, conversation_id)

    async def _signal(self, signal: Callable[[str], None], conversation_id: str) -> None:
        await self._life.point()
        drawn = self._rng.random()
        if drawn < self._lost / 2:
            raise ConnectionError("the doorbell is out of order")
        if drawn < self._lost:
            return
        signal(conversation_id)
        if drawn > 0.9:
            signal(conversation_id)
        await self._life.point()


class SimWorker:
    """Runs every open session in one process; sessions of a dead worker go on in the next.

    act: what a tool's effect does outside; it survives the process.
    """

    def __init__(
        self,
        life: Life,
        temporal: SimTemporal,
        stores: Stores,
        registry: AgentRegistry,
        act: Callable[[str], None],
    ) -> None:
        self._life = life
        self._temporal = temporal
        self._stores = stores
        self._act = act
        self._running: set[str] = set()
        self._activities = activities_of(stores, RuleModel(), registry)

    async def run(self) -> None:
        """Take up sessions until the process dies."""
        without_threads.set(True)
        surroundings.set(Surroundings(self._take_effect, self._stores.database.now))
        while True:
            self._temporal.news.clear()
            for conversation_id in list(self._temporal.open):
                if conversation_id not in self._running:
                    self._running.add(conversation_id)
                    self._life.spawn(self._session(conversation_id))
            await self._temporal.news.wait()

    async def _take_effect(self, key: str) -> None:
        await self._life.point()
        self._act(key)
        await self._life.point()

    async def _session(self, conversation_id: str) -> None:
        run = self._temporal.open[conversation_id]
        session = Session(self._activities, conversation_id, tries=TRIES, stops=run.stops)
        while True:
            run.rung = False
            try:
                ran = await session.turn()
            except RunFailed:
                break  # the run failed; the sweeper opens another
            if ran is None:
                if not run.rung:
                    break
            elif ran.wait_s:
                await asyncio.sleep(max(ran.wait_s, POSTPONED_LEAST_S))
        # There is no await since the check, as in the workflow.
        del self._temporal.open[conversation_id]
        self._running.discard(conversation_id)
