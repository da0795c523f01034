"""The parts of Temporal that sessions use; a signal that reached it survives every process."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from roost.errors import StepsExhausted, TurnStopped
from roost.turn import run_turn
from roost_platform.chaos.agents import REGISTRY, Surroundings, surroundings
from roost_platform.chaos.sim.agent import NoEngine, SimTurn
from roost_platform.chaos.sim.life import Life
from roost_platform.db.stores import Stores
from roost_platform.wiring import worker_ports
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.state import SettleInput
from roost_workflows.testing.performing import ActivityFailed, perform
from roost_workflows.turn.activities import Activities

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
    """Runs every open session in one process; sessions of a dead worker go on in the next.

    act: what a tool's effect does outside; it survives the process.
    """

    def __init__(
        self, life: Life, temporal: SimTemporal, stores: Stores, act: Callable[[str], None]
    ) -> None:
        self._life = life
        self._temporal = temporal
        self._stores = stores
        self._act = act
        self._running: set[str] = set()
        self._activities = Activities(worker_ports(stores, NoHints()), NoEngine(), REGISTRY)

    async def run(self) -> None:
        """Take up sessions until the process dies."""
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
        begun = await perform(self._activities.begin_turn, conversation_id)
        if begun is None:
            return False
        if begun.wait_s:
            await asyncio.sleep(max(begun.wait_s, POSTPONED_LEAST_S))
            return True
        turn = SimTurn(
            self._activities, self._stores, begun.turn_id, is_stopped=begun.stop_requested
        )
        try:
            await run_turn(
                turn,
                max_steps=begun.max_steps,
                first_step=begun.first_step,
                open_calls=begun.open_calls,
            )
        except TurnStopped:
            await self._settle(SettleInput(begun.turn_id, "stopped", "stopped"))
        except StepsExhausted:
            await self._settle(SettleInput(begun.turn_id, "failed", "too_many_steps"))
        except ActivityFailed as error:
            await self._settle(SettleInput(begun.turn_id, "failed", error.reason))
        return True

    async def _settle(self, end: SettleInput) -> None:
        if await perform(self._activities.settle, end):
            await perform(self._activities.undo, end.turn_id)
            await perform(self._activities.settle, replace(end, is_undone=True))
