"""The watchdog: a turn in which nothing happens for a long time is ended, and people are told."""

import asyncio
import logging
from typing import Protocol

from roost_platform.db.stores import Stores
from roost_platform.db.turns.silence import SilentTurn, SilentTurns
from roost_platform.intake import Doorbell
from roost_platform.rhythm import until_beat
from roost_platform.sweeper import SILENT_S

LOOK_S = 10.0

log = logging.getLogger(__name__)


class EndingDoorbell(Doorbell, Protocol):
    """A doorbell that can also end a session's run."""

    async def end(self, conversation_id: str) -> None:
        """End the conversation's run if one is open; the next ring opens another."""
        ...


class Watchdog:
    """Ends turns whose session is stuck, such as a workflow task that fails for ever.

    A turn counts as stuck only while it could go on: a worker lives, the session can be rung, and
    not every slot of the worker is taken by turns that make progress. So an outage ends nothing:
    the time counts from its end on.
    """

    def __init__(
        self, stores: Stores, doorbell: EndingDoorbell, *, no_progress_s: float, slots: int
    ) -> None:
        self._stores = stores
        self._silent = SilentTurns(stores.database)
        self._doorbell = doorbell
        self._no_progress_s = no_progress_s
        self._slots = slots
        self._since: dict[str, tuple[float, float]] = {}  # by turn: its last progress, and since

    async def run(self) -> None:
        """Look for ever; a look that fails is logged and repeated."""
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("looking for stuck turns failed")
            await asyncio.sleep(until_beat(min(LOOK_S, self._no_progress_s / 4)))

    async def look(self) -> int:
        """Look once; how many turns were ended."""
        now, passed = self._stores.database.now(), self._stores.database.passed
        silent, lively = await self._silent.find(now - min(SILENT_S, self._no_progress_s / 2))
        if not silent or not await self._worker_lives() or lively >= self._slots:
            self._since.clear()
            return 0
        stuck = {turn.turn_id: turn for turn in silent if await self._can_be_rung(turn)}
        self._since = {turn_id: self._since_of(turn, now) for turn_id, turn in stuck.items()}
        ended = 0
        for turn_id, turn in stuck.items():
            if passed.since(self._since[turn_id][1]) >= self._no_progress_s:
                ended += await self._end(turn)
        return ended

    def _since_of(self, turn: SilentTurn, now: float) -> tuple[float, float]:
        known = self._since.get(turn.turn_id)
        return known if known and known[0] == turn.updated_at else (turn.updated_at, now)

    async def _worker_lives(self) -> bool:
        services = await self._stores.heartbeats.all()
        return any(one.service == "worker" and one.is_alive for one in services)

    async def _can_be_rung(self, turn: SilentTurn) -> bool:
        try:
            await self._doorbell.ring(turn.conversation_id)
        except Exception as error:
            log.warning("turn %s is silent and can't be rung: %s", turn.turn_id, error)
            return False
        return True

    async def _end(self, turn: SilentTurn) -> bool:
        """Settle the turn first: what ends its run may fail, and the record is what counts."""
        error = (
            f"No progress for {self._no_progress_s:.0f} s although a worker lives and the session "
            f"was rung. The run of its workflow was ended; Temporal's history says why it stuck."
        )
        if not await self._silent.give_up(turn, error):
            return False
        log.error("turn %s is given up: %s", turn.turn_id, error)
        self._since.pop(turn.turn_id, None)
        try:
            await self._doorbell.end(turn.conversation_id)
            await self._doorbell.ring(turn.conversation_id)
        except Exception as failure:
            log.warning("the run of turn %s is not ended: %s", turn.turn_id, failure)
        return True
