"""The due-clock: what is to happen at a time of day happens then, once, in whatever process runs.

It sleeps until the next due time or until something is committed; an idle database is not asked.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from roost_platform.db.base.engine import Database
from roost_platform.db.due.questions import DueQuestions
from roost_platform.db.due.schedules import DueSchedules
from roost_platform.db.due.sleeps import DueSleeps
from roost_platform.db.due.stalls import StalledAgents
from roost_platform.schedules.limits import CHECK_TOKENS_A_DAY
from roost_platform.settings.schedules import SchedulesConfig

IDLE_S: Final = 300.0  # how often it looks without news while nothing is due
LOOK_S: Final = 1.0  # how often it reads the time while something will be due: the clock may jump
PAUSE_S: Final = 0.05  # between two looks at a database in which much is committed
BATCH_MAX: Final = 50  # rows of one source that are settled before the other sources' turn
PUT_BACK_S: Final = 0.5  # a clock that reads earlier than before by more was put back
FAILED_S: Final = 1.0  # the pause after a source that failed
AGAIN_S: Final = 30.0  # before it is asked again, if nothing is committed

log = logging.getLogger(__name__)


class DueSource(Protocol):
    """Rows that become due. Two clocks may ask the same source at the same time."""

    async def next_due(self) -> float | None:
        """When the next row is due, in seconds since the epoch; None while there is none."""
        ...

    async def fire(self, now: float, limit: int) -> Sequence[str]:
        """Settle up to `limit` rows that are due at `now`; the conversations to ring.

        Each row is claimed by comparing and setting it in the transaction that writes its effect;
        a row that somebody else holds is left for the next look.
        """
        ...


class DueClock:
    """Asks its sources when something is due, and lets them settle it then.

    ring: told which conversations can go on, after the commit; a ring that is lost is made up for
    by the sweeper.
    """

    def __init__(
        self,
        database: Database,
        sources: Sequence[DueSource],
        ring: Callable[[Sequence[str]], None],
    ) -> None:
        self._database = database
        self._sources = sources
        self._ring = ring

    async def run(self) -> None:
        """Watch for ever; a source that fails is logged and asked again."""
        while True:
            version = await self._database.version()  # before reading: no commit is missed
            due = await self._next_due()
            if due is not None and due <= self._database.now():
                await self.fire()
            else:
                await self._rest(version, due)
            await asyncio.sleep(PAUSE_S)

    async def fire(self) -> int:
        """Settle what is due now, one batch of each source; how many conversations were rung."""
        rung = 0
        for source in self._sources:
            try:
                conversations = await source.fire(self._database.now(), BATCH_MAX)
            except Exception:
                log.exception("%s failed", type(source).__name__)
                await asyncio.sleep(FAILED_S)
                continue
            self._ring(conversations)
            rung += len(conversations)
        return rung

    async def _next_due(self) -> float | None:
        times = []
        for source in self._sources:
            try:
                times.append(await source.next_due())
            except Exception:
                log.exception("%s failed", type(source).__name__)
                await asyncio.sleep(FAILED_S)
                times.append(self._database.now() + AGAIN_S)
        return min((due for due in times if due is not None), default=None)

    async def _rest(self, version: int, due: float | None) -> None:
        """Wait for a commit, the due time, or a clock that is put back; only the time is read
        meanwhile.
        """
        if due is None:
            await self._database.changed_since(version, IDLE_S)
            return
        before = now = self._database.now()
        while due > now >= before - PUT_BACK_S:
            if await self._database.changed_since(version, min(due - now, LOOK_S)) != version:
                return
            before, now = now, self._database.now()


def due_sources(database: Database, check_tokens: int = CHECK_TOKENS_A_DAY) -> list[DueSource]:
    """All sources. check_tokens: what the checks of one schedule may use in a day."""
    return [
        DueSleeps(database),
        DueQuestions(database),
        DueSchedules(database, check_tokens),
        StalledAgents(database),
    ]


def due_clock(
    database: Database, ring: Callable[[Sequence[str]], None], config: SchedulesConfig
) -> DueClock:
    """The clock over all sources."""
    return DueClock(database, due_sources(database, config.check_tokens_a_day), ring)
