"""Telling the engine what sessions wait for: best effort, latest wins, never in a turn's way."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from roost_inference.client.sessions import EngineSessions, Wait
from roost_inference.errors import EngineError, NoSessions

log = logging.getLogger(__name__)

AT_ONCE_MAX: Final = 4
WAITING_MAX: Final = 1000  # sessions with something to be told; the oldest are left untold beyond
TIMEOUT_S: Final = 5.0
# An engine that is away, and one that knows no sessions, are left alone for so long.
AWAY_S: Final = 5.0
UNABLE_S: Final = 600.0

Session = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Order:
    kind: Wait | Literal["prefetch", "close"]
    ttl_s: float = 0.0


class EngineOrders:
    """Orders over HTTP, a few at once, one at a time for each session and only its latest.

    Lives on one event loop; `close` it there.
    """

    def __init__(
        self, sessions: EngineSessions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._waiting: OrderedDict[Session, _Order] = OrderedDict()
        self._busy: set[Session] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._silent_until = 0.0
        self._told_problem = ""

    def waits(self, session_id: str, tenant: str, wait: Wait, ttl_s: float) -> None:
        self._put((session_id, tenant), _Order(wait, ttl_s))

    def expected(self, session_id: str, tenant: str) -> None:
        self._put((session_id, tenant), _Order("prefetch"))

    def closed(self, session_id: str, tenant: str) -> None:
        self._put((session_id, tenant), _Order("close"))

    def _put(self, session: Session, order: _Order) -> None:
        if self._clock() < self._silent_until:
            return
        self._waiting[session] = order
        self._waiting.move_to_end(session)
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)
        if len(self._workers) < AT_ONCE_MAX:
            self._workers.add(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        try:
            while (session := self._next()) is not None:
                await self._carry_out(session, self._waiting.pop(session))
        finally:
            # At once: an order given from here on needs a worker of its own.
            self._workers.discard(asyncio.current_task())

    async def _carry_out(self, session: Session, order: _Order) -> None:
        self._busy.add(session)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._send(session, order)
            self._told_problem = ""
        except NoSessions:
            self._leave_alone(UNABLE_S, "it knows nothing of sessions")
        except (EngineError, TimeoutError) as error:
            self._leave_alone(AWAY_S, str(error) or "it does not answer")
        finally:
            self._busy.discard(session)

    def _next(self) -> Session | None:
        """The oldest session nobody is busy with; whoever is busy comes back for its next order."""
        return next((session for session in self._waiting if session not in self._busy), None)

    async def _send(self, session: Session, order: _Order) -> None:
        if order.kind == "prefetch":
            await self._sessions.prefetch(*session)
        elif order.kind == "close":
            await self._sessions.close(*session)
        else:
            await self._sessions.pin(*session, order.kind, order.ttl_s)

    def _leave_alone(self, seconds: float, problem: str) -> None:
        """Ask nothing for a while, and say so once."""
        self._silent_until = self._clock() + seconds
        self._waiting.clear()
        if problem != self._told_problem:
            self._told_problem = problem
            log.info("the engine is not told what sessions wait for: %s", problem)

    async def drain(self) -> None:
        """Wait until all that was to be told has been, or has failed."""
        while self._workers:
            await asyncio.wait(self._workers)

    async def close(self) -> None:
        """Drop what is still to be told: pins expire by themselves."""
        self._waiting.clear()
        for worker in tuple(self._workers):
            worker.cancel()
        await self.drain()
