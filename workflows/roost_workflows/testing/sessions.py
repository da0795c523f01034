"""A session's loop over the real activities, without Temporal: for tests that kill and replay."""

from typing import Any, Final

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from roost.errors import StepsExhausted, TurnStopped
from roost.turn import run_turn
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


class ActivityPorts:
    """A turn's ports over activities."""

    def __init__(self, activities: Activities, turn_id: str) -> None:
        self._activities = activities
        self._turn_id = turn_id

    async def generate(self, step: int, *, last: bool) -> StepResult:
        """Call the model, or advance the flow."""
        call = GenerateInput(self._turn_id, step, last)
        result: StepResult = await perform(self._activities.generate, call)
        if result.finish == "stopped":
            raise TurnStopped
        return result

    async def call_tool(self, step: int, call_id: str) -> bool:
        """Run a call, or an entry."""
        call = CallInput(self._turn_id, step, call_id)
        return bool(await perform(self._activities.call_tool, call))

    async def close_group(self, step: int) -> None:
        """Commit the results of the step."""
        await perform(self._activities.close_group, GroupInput(self._turn_id, step))

    async def park(self, step: int) -> bool:
        """Let the turn wait."""
        return bool(await perform(self._activities.park, GroupInput(self._turn_id, step)))


async def run_session(activities: Activities, conversation_id: str) -> bool:
    """Begin or resume one turn and run it until it ends or waits; False when there is none."""
    begun = await perform(activities.begin_turn, conversation_id)
    if begun is None:
        return False
    assert isinstance(begun, BegunTurn)
    try:
        if begun.stop_requested:
            raise TurnStopped
        await run_turn(
            ActivityPorts(activities, begun.turn_id),
            max_steps=begun.max_steps,
            first_step=begun.first_step,
            open_calls=begun.open_calls,
        )
    except TurnStopped:
        await _settle(activities, SettleInput(begun.turn_id, "stopped", "stopped"))
    except StepsExhausted:
        await _settle(activities, SettleInput(begun.turn_id, "failed", "too_many_steps"))
    except ApplicationError as error:
        await _settle(activities, SettleInput(begun.turn_id, "failed", error.type or "internal"))
    return True


async def perform(activity: Any, argument: object) -> Any:
    """Run an activity as Temporal does, with a few attempts."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            return await ActivityEnvironment().run(activity, argument)
        except ApplicationError as error:
            if error.non_retryable or attempt == ATTEMPTS_MAX - 1:
                raise
    raise AssertionError("not reached")


async def _settle(activities: Activities, end: SettleInput) -> None:
    if await perform(activities.settle, end):
        await perform(activities.undo, end.turn_id)
        undone = SettleInput(end.turn_id, end.outcome, end.reason, is_undone=True)
        await perform(activities.settle, undone)
