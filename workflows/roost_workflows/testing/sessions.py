"""A session's loop over the worker's activities, as SessionWorkflow has it, without Temporal."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from roost.errors import StepsExhausted, TurnStopped
from roost.turn import TurnEnd, run_turn
from roost_workflows.state import (
    BegunTurn,
    CallInput,
    GenerateInput,
    GroupInput,
    SettleInput,
    StepResult,
)
from roost_workflows.turn.activities import Activities

ATTEMPTS_MAX: Final = 5


class RunFailed(Exception):
    """A turn could not be begun or ended. The session's run fails; the next ring opens another."""


@dataclass(frozen=True, slots=True)
class Tries:
    """How often an activity is tried, and the pause between two attempts in seconds."""

    most: int = ATTEMPTS_MAX
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What a session did. wait_s: nothing yet, ask again after so many seconds; end: how its turn
    ended or that it waits, None for a turn without an answer.
    """

    wait_s: float = 0.0
    end: TurnEnd | None = None


class SessionTurn:
    """The ports of one turn. Each call looks for a stop first, as the workflow does.

    asks: whether storage is asked for a recorded stop before each call; else only `stop` counts.
    """

    def __init__(
        self, activities: Activities, turn_id: str, tries: Tries = Tries(), *, asks: bool = True
    ) -> None:
        self._activities = activities
        self._turn_id = turn_id
        self._tries = tries
        self._asks = asks
        self._live: dict[ActivityEnvironment, None] = {}
        self.stopped = False

    def stop(self) -> None:
        """Start nothing more, and cancel what runs."""
        self.stopped = True
        for inside in list(self._live):
            inside.cancel()

    async def generate(self, step: int, *, last: bool) -> StepResult:
        """See TurnPorts.generate."""
        call = GenerateInput(self._turn_id, step, last)
        result: StepResult = await self._call(self._activities.generate, call)
        return result

    async def call_tool(self, step: int, call_id: str) -> bool:
        """See TurnPorts.call_tool."""
        call = CallInput(self._turn_id, step, call_id)
        return bool(await self._call(self._activities.call_tool, call))

    async def close_group(self, step: int) -> None:
        """See TurnPorts.close_group."""
        await self._call(self._activities.close_group, GroupInput(self._turn_id, step))

    async def park(self, step: int) -> bool:
        """See TurnPorts.park. It is not cancelled: the next begin finds a stop that comes now."""
        await self._look()
        group = GroupInput(self._turn_id, step)
        return bool(await perform(self._activities.park, group, self._tries))

    async def _call(self, activity: Callable[[Any], Any], argument: object) -> Any:
        await self._look()
        try:
            result = await perform(activity, argument, self._tries, self._live)
        except (ApplicationError, asyncio.CancelledError):
            if self.stopped:
                raise TurnStopped from None
            raise
        if self.stopped:
            raise TurnStopped
        return result

    async def _look(self) -> None:
        if self._asks and not self.stopped:
            asked = self._activities.stop_requested
            self.stopped = await perform(asked, self._turn_id, self._tries)
        if self.stopped:
            raise TurnStopped


class Session:
    """The session of one conversation.

    stops: is set when a stop is signalled, which cancels what runs; without it storage is asked
        for a recorded stop before every call.
    """

    def __init__(
        self,
        activities: Activities,
        conversation_id: str,
        *,
        tries: Tries = Tries(),
        stops: asyncio.Event | None = None,
    ) -> None:
        self._activities = activities
        self._conversation_id = conversation_id
        self._tries = tries
        self._stops = stops

    async def run(self) -> list[TurnEnd | None]:
        """Run turns until none can go on now; the end of each."""
        ends: list[TurnEnd | None] = []
        while (ran := await self.turn()) is not None and not ran.wait_s:
            ends.append(ran.end)
        return ends

    async def turn(self) -> Ran | None:
        """Begin or resume one turn and run it until it ends or waits; None when there is none.
        Raises RunFailed.
        """
        begun: BegunTurn | None = await self._perform(
            self._activities.begin_turn, self._conversation_id
        )
        if begun is None:
            return None
        if begun.wait_s:
            return Ran(begun.wait_s)
        asks = self._stops is None
        turn = SessionTurn(self._activities, begun.turn_id, self._tries, asks=asks)
        turn.stopped = begun.stop_requested
        try:
            async with self._watched(turn, begun.turn_id):
                end = await run_turn(
                    turn,
                    max_steps=begun.max_steps,
                    first_step=begun.first_step,
                    open_calls=begun.open_calls,
                )
                return Ran(end=end)
        except TurnStopped:
            await self._settle(SettleInput(begun.turn_id, "stopped", "stopped"))
        except StepsExhausted:
            await self._settle(SettleInput(begun.turn_id, "failed", "too_many_steps"))
        except ApplicationError as error:
            await self._settle(SettleInput(begun.turn_id, "failed", error.type or "internal"))
        return Ran()

    @asynccontextmanager
    async def _watched(self, turn: SessionTurn, turn_id: str) -> AsyncIterator[None]:
        """Stop the turn once a stop is signalled that storage knows of."""
        if self._stops is None:
            yield
            return
        watch = asyncio.create_task(self._watch(turn, turn_id, self._stops))
        try:
            yield
        finally:
            watch.cancel()

    async def _watch(self, turn: SessionTurn, turn_id: str, stops: asyncio.Event) -> None:
        while not turn.stopped:
            await stops.wait()
            stops.clear()
            if await self._perform(self._activities.stop_requested, turn_id):
                turn.stop()

    async def _settle(self, end: SettleInput) -> None:
        if await self._perform(self._activities.settle, end):
            await self._perform(self._activities.undo, end.turn_id)
            await self._perform(self._activities.settle, replace(end, is_undone=True))

    async def _perform(self, activity: Callable[[Any], Any], argument: object) -> Any:
        try:
            return await perform(activity, argument, self._tries)
        except ApplicationError as error:
            raise RunFailed(error.type or "internal") from error


async def perform(
    activity: Callable[[Any], Any],
    argument: object,
    tries: Tries = Tries(),
    live: dict[ActivityEnvironment, None] | None = None,
) -> Any:
    """Run an activity as Temporal does. Raises its last error.

    live: holds the activity's environment while it runs, by which it can be cancelled.
    """
    for attempt in range(1, tries.most + 1):
        inside, now = ActivityEnvironment(), datetime.now(UTC)
        inside.info = replace(inside.info, attempt=attempt, scheduled_time=now)
        if live is not None:
            live[inside] = None
        try:
            return await inside.run(activity, argument)
        except ApplicationError as error:
            if error.non_retryable or attempt == tries.most:
                raise
        finally:
            if live is not None:
                del live[inside]
        await asyncio.sleep(tries.pause_s)
    raise AssertionError("not reached")
