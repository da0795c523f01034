"""Snapshots of running turns: ten writes a second for each at most, fifty for all; latest wins.

Of an engine that fails or is silent for long, people are told beside them.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from types import TracebackType
from typing import Final, Self

from temporalio.exceptions import ApplicationError

from roost_inference.errors import EngineError, EngineUnavailable, QueueFull
from roost_workflows.policies import ENGINE_ATTEMPTS_MAX
from roost_workflows.ports import Snapshot, Turns

log = logging.getLogger(__name__)

WRITE_EVERY_S: Final = 0.1
# Where many turns run, each is written less often: progress must not slow the answers down.
WRITES_PER_S_MAX: Final = 50
# A snapshot is written again even unchanged: one older than 30 s means a lost worker.
REFRESH_EVERY_S: Final = 10.0
BOARD_TURNS_MAX: Final = 1000
LINES_MAX: Final = 32
PLAN_MAX: Final = 32  # steps of a plan
# A model call that fails for so long is told in a message of its own: all its attempts together may
# take ten minutes, and not every chat shows what goes on meanwhile.
DELAY_TOLD_S: Final = 60.0
# Longer, because an engine that has much to read is silent as well.
SILENCE_TOLD_S: Final = 90.0
CALLS_REMEMBERED_MAX: Final = 10_000


class Board:
    """The tool lines of the turns that this process runs; the oldest turn is forgotten first."""

    def __init__(self) -> None:
        self._turns: OrderedDict[str, OrderedDict[str, str]] = OrderedDict()
        self._plans: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self.writers = 0  # turns being written now

    @property
    def write_every_s(self) -> float:
        """Seconds between two writes of one turn."""
        return max(WRITE_EVERY_S, self.writers / WRITES_PER_S_MAX)

    def put(self, turn_id: str, call_key: str, line: str) -> None:
        """Show a line for a tool call; it replaces the call's line before."""
        lines = self._turns.setdefault(turn_id, OrderedDict())
        self._turns.move_to_end(turn_id)
        lines[call_key] = line
        while len(lines) > LINES_MAX:
            lines.popitem(last=False)
        while len(self._turns) > BOARD_TURNS_MAX:
            self._turns.popitem(last=False)

    def plan(self, turn_id: str, steps: tuple[str, ...]) -> None:
        """Show the turn's plan, a line for each step; it replaces the plan before."""
        self._plans[turn_id] = steps[:PLAN_MAX]
        self._plans.move_to_end(turn_id)
        while len(self._plans) > BOARD_TURNS_MAX:
            self._plans.popitem(last=False)

    def steps(self, turn_id: str) -> tuple[str, ...]:
        """The lines of the turn's plan."""
        return self._plans.get(turn_id, ())

    def lines(self, turn_id: str) -> tuple[str, ...]:
        """The lines of the turn's tool calls."""
        return tuple(self._turns.get(turn_id, {}).values())

    def forget(self, turn_id: str) -> None:
        """Drop what is shown of the turn."""
        self._turns.pop(turn_id, None)
        self._plans.pop(turn_id, None)


class ProgressWriter:
    """Writes the latest snapshot of a turn while the block runs. Never fails the turn."""

    def __init__(self, turns: Turns, board: Board, turn_id: str, phase: str) -> None:
        self._turns = turns
        self._board = board
        self._turn_id = turn_id
        self._phase = phase
        self._text = ""
        self._silent_since: float | None = None
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def waits_for_engine(self) -> None:
        """An engine is asked. People are told where it is silent for SILENCE_TOLD_S."""
        self._silent_since = time.monotonic()

    def hears_engine(self) -> None:
        """The engine has begun to answer."""
        self._silent_since = None

    def show(self, *, phase: str | None = None, text: str | None = None) -> None:
        """Change the phase or the text of the next snapshot."""
        self._phase = self._phase if phase is None else phase
        self._text = self._text if text is None else text
        self._changed.set()

    async def __aenter__(self) -> Self:
        self._changed.set()
        self._board.writers += 1
        self._task = asyncio.create_task(self._write_changes())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A running write is not cancelled: that would cost the connection.
        self._closed.set()
        self._changed.set()
        try:
            if self._task is not None:
                await self._task
        finally:
            self._board.writers -= 1

    async def _write_changes(self) -> None:
        # The wait comes first: an answer that comes at once costs no write.
        while not await _set_within(self._closed, self._board.write_every_s):
            self._changed.clear()
            lines, steps = self._board.lines(self._turn_id), self._board.steps(self._turn_id)
            snapshot = Snapshot(self._phase, self._text, lines, steps, self._is_delayed())
            try:
                await self._turns.progress(self._turn_id, snapshot)
            except Exception as error:
                # Progress is lossy by contract; the answer's own commit reports a failing storage.
                log.warning("progress of turn %s not written: %r", self._turn_id, error)
            if self._closed.is_set():  # its change was cleared before the write
                return
            await _set_within(self._changed, REFRESH_EVERY_S)

    def _is_delayed(self) -> bool:
        since = self._silent_since
        return since is not None and time.monotonic() - since >= SILENCE_TOLD_S


class Outages:
    """The model calls that fail at present, each with when its first attempt in this process began,
    by a clock that nobody sets.
    """

    def __init__(self, turns: Turns, board: Board) -> None:
        self._turns = turns
        self._board = board
        self._began: OrderedDict[str, float] = OrderedDict()

    async def failed(
        self,
        turn_id: str,
        error: EngineError,
        failure: ApplicationError,
        *,
        attempt: int,
        began: float,
        now: float,
    ) -> None:
        """Show why nothing happens until the next attempt; lossy, as all progress is.

        failure: what Temporal is told, with how long it waits. began: of this attempt.
        """
        began = self._began.setdefault(turn_id, began)
        while len(self._began) > CALLS_REMEMBERED_MAX:
            self._began.popitem(last=False)
        if failure.non_retryable or attempt >= ENGINE_ATTEMPTS_MAX:
            return  # the turn's end is told
        wait = failure.next_retry_delay
        waited_s = now - began + (wait.total_seconds() if wait is not None else 0.0)
        is_away = isinstance(error, EngineUnavailable | QueueFull)
        snapshot = Snapshot(
            phase="unreachable" if is_away else "thinking",
            tools=self._board.lines(turn_id),
            is_delayed=waited_s >= DELAY_TOLD_S,
        )
        if not (is_away or snapshot.is_delayed):
            return
        try:
            await self._turns.progress(turn_id, snapshot)
        except Exception as problem:
            log.warning("progress of turn %s not written: %r", turn_id, problem)

    def over(self, turn_id: str) -> None:
        """A model call of the turn succeeded."""
        self._began.pop(turn_id, None)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
