"""The parts of Temporal that sessions use; a signal that reached it survives every process."""

import asyncio
import random
from dataclasses import dataclass, field

from roost.errors import StepsExhausted, TurnStopped
from roost.turn import run_turn
from roost_platform.chaos.sim.agent import SimTurn
from roost_platform.chaos.sim.life import Life
from roost_platform.db.stores import Stores
from roost_workflows.ports import Postponed

MAX_STEPS = 6
RETRY_S = 1.0
POSTPONED_LEAST_S = 0.05


@dataclass(slots=True)
class Session:
    """An open workflow."""

    rung: bool = True


@dataclass(slots=True)
class SimTemporal:
    """Open workflows by conversation; `news` wakes the worker."""

    open: dict[str, Session] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self, conversation_id: str) -> None:
        """Open the conversation's workflow if it is closed, and signal it."""
        self.open.setdefault(conversation_id, Session()).rung = True
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
        await self._life.point()
        drawn = self._rng.random()
        if drawn < self._lost / 2:
            raise ConnectionError("the doorbell is out of order")
        if drawn < self._lost:
            return
        self._temporal.ring(conversation_id)
        if drawn > 0.9:
            self._temporal.ring(conversation_id)
        await self._life.point()

    async def stop(self, conversation_id: str) -> None:
        """Ring a session whose stop is recorded."""
        await self.ring(conversation_id)


class SimWorker:
    """Runs every open session in one process; sessions of a dead worker go on in the next."""

    def __init__(self, life: Life, temporal: SimTemporal, stores: Stores) -> None:
        self._life = life
        self._temporal = temporal
        self._stores = stores
        self._running: set[str] = set()

    async def run(self) -> None:
        """Take up sessions until the process dies."""
        while True:
            self._temporal.news.clear()
            for conversation_id in list(self._temporal.open):
                if conversation_id not in self._running:
                    self._running.add(conversation_id)
                    self._life.spawn(self._session(conversation_id))
            await self._temporal.news.wait()

    async def _session(self, conversation_id: str) -> None:
        session = self._temporal.open[conversation_id]
        while True:
            session.rung = False
            try:
                if await self._turn(conversation_id):
                    continue
            except Exception:
                # An activity's retry: the same call again, later.
                await asyncio.sleep(RETRY_S)
                continue
            if not session.rung:
                break
        # There is no await since the check, as in the workflow.
        del self._temporal.open[conversation_id]
        self._running.discard(conversation_id)

    async def _turn(self, conversation_id: str) -> bool:
        turns = self._stores.turns
        begun = await turns.begin(conversation_id)
        if begun is None:
            return False
        if isinstance(begun, Postponed):
            await asyncio.sleep(max(begun.wait_s, POSTPONED_LEAST_S))
            return True
        try:
            await run_turn(
                SimTurn(self._stores, begun), max_steps=MAX_STEPS, first_step=begun.first_step
            )
        except TurnStopped:
            await turns.settle(begun.turn_id, outcome="stopped", reason="stopped")
        except StepsExhausted:
            await turns.settle(begun.turn_id, outcome="failed", reason="too_many_steps")
        return True
