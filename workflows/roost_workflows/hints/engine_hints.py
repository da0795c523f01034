"""Hints sent to an engine over HTTP: best effort, the latest wins, no turn waits for them."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from roost_inference.client.sessions import EngineSession, EngineSessions, Wait
from roost_inference.errors import EngineError, NoSessions, UnknownSession

log = logging.getLogger(__name__)

AT_ONCE_MAX: Final = 4
WAITING_MAX: Final = 1000  # sessions with a hint to be sent; beyond, the oldest hints are dropped
TIMEOUT_S: Final = 5.0
# For so long no hints go to an engine that does not answer, and to one that keeps no sessions.
AWAY_S: Final = 5.0
UNABLE_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Hint:
    kind: Wait | Literal["prefetch", "close"]
    ttl_s: float = 0.0


class EngineHints:
    """Sends hints, a few at once, one at a time for each session and only its latest.

    Lives on one event loop; `close` it there.
    """

    def __init__(
        self, sessions: EngineSessions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._waiting: OrderedDict[EngineSession, _Hint] = OrderedDict()
        self._busy: set[EngineSession] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._quiet_until = 0.0
        self._logged_problem = ""

    def waits(self, session: EngineSession, wait: Wait, ttl_s: float) -> None:
        """The session waits for this, for `ttl_s` seconds at most."""
        self._put(session, _Hint(wait, ttl_s))

    def continues(self, session: EngineSession) -> None:
        """A message has arrived: the session is about to go on."""
        self._put(session, _Hint("prefetch"))

    def ended(self, session: EngineSession) -> None:
        """Nothing more is expected of the session."""
        self._put(session, _Hint("close"))

    def _put(self, session: EngineSession, hint: _Hint) -> None:
        if self._clock() < self._quiet_until:
            return
        self._waiting[session] = hint
        self._waiting.move_to_end(session)
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)
        if len(self._workers) < AT_ONCE_MAX:
            self._workers.add(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        try:
            while (session := self._next()) is not None:
                await self._send_one(session, self._waiting.pop(session))
        finally:
            # Without delay: a hint that comes from here on needs a worker of its own.
            self._workers.discard(asyncio.current_task())

    async def _send_one(self, session: EngineSession, hint: _Hint) -> None:
        self._busy.add(session)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._send(session, hint)
            self._logged_problem = ""
        except UnknownSession:
            pass  # The engine forgot the session or never met it: there is nothing to hint at.
        except NoSessions:
            self._leave_alone(UNABLE_S, "it knows nothing of sessions")
        except (EngineError, TimeoutError) as error:
            self._leave_alone(AWAY_S, str(error) or "it does not answer")
        finally:
            self._busy.discard(session)

    def _next(self) -> EngineSession | None:
        """The oldest session without a busy task; a busy task comes back for the next hint."""
        return next((session for session in self._waiting if session not in self._busy), None)

    async def _send(self, session: EngineSession, hint: _Hint) -> None:
        if hint.kind == "prefetch":
            await self._sessions.prefetch(session)
        elif hint.kind == "close":
            await self._sessions.close(session)
        else:
            await self._sessions.pin(session, hint.kind, hint.ttl_s)

    def _leave_alone(self, seconds: float, problem: str) -> None:
        """Ask nothing for a while, and say so once."""
        self._quiet_until = self._clock() + seconds
        self._waiting.clear()
        if problem != self._logged_problem:
            self._logged_problem = problem
            log.info("the engine gets no hints about its sessions: %s", problem)

    async def drain(self) -> None:
        """Wait until every hint is sent or has failed."""
        while self._workers:
            await asyncio.wait(self._workers)

    async def close(self) -> None:
        """Drop the hints that are not sent: pins expire by themselves."""
        self._waiting.clear()
        for worker in tuple(self._workers):
            worker.cancel()
        await self.drain()
