"""The session workflow: one per conversation, open only while there is something to answer."""

import asyncio
from dataclasses import replace
from typing import Any, Literal, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError
from temporalio.workflow import ActivityConfig, ActivityHandle

from roost.errors import StepsExhausted, TurnStopped
from roost.turn import run_turn
from roost_workflows import names, policies
from roost_workflows.state import (
    BegunTurn,
    CallInput,
    GenerateInput,
    GroupInput,
    SessionInput,
    SettleInput,
    StepResult,
)

Result = TypeVar("Result")


class ActivityTurn:
    """A turn's ports as activities. Every call goes through `_call`, which checks for a stop."""

    def __init__(self, begun: BegunTurn) -> None:
        self.turn_id = begun.turn_id
        self.stopped = begun.stop_requested
        # A dict keeps its order: a replay must cancel in the same one.
        self._live: dict[ActivityHandle[Any], None] = {}

    def stop(self) -> None:
        """Start nothing more and cancel what runs; cancelled activities first commit what they
        have.
        """
        self.stopped = True
        for handle in self._live:
            handle.cancel()

    async def generate(self, step: int, *, last: bool) -> StepResult:
        """Call the model. Raises TurnStopped."""
        call = GenerateInput(self.turn_id, step, last)
        return await self._call(names.ACTIVITY_GENERATE, call, policies.GENERATE, StepResult)

    async def call_tool(self, step: int, call_id: str) -> bool:
        """Run one tool call; whether it waits for something instead. Raises TurnStopped."""
        call = CallInput(self.turn_id, step, call_id)
        # Histories of older code have no result here.
        waits: bool | None = await self._call(
            names.ACTIVITY_CALL_TOOL,
            call,
            policies.CALL_TOOL,
            bool | None,  # type: ignore[arg-type]
        )
        return bool(waits)

    async def close_group(self, step: int) -> None:
        """Commit the results of the step. Raises TurnStopped."""
        group = GroupInput(self.turn_id, step)
        await self._call(names.ACTIVITY_CLOSE_GROUP, group, policies.CONTROL, type(None))

    async def park(self, step: int) -> bool:
        """Let the turn wait in storage unless something it waits for is there. Raises TurnStopped.

        A stop that comes meanwhile settles what waits by itself; the next begin finds it.
        """
        if self.stopped:
            raise TurnStopped
        parked: bool = await workflow.execute_local_activity(
            names.ACTIVITY_PARK, GroupInput(self.turn_id, step), result_type=bool, **policies.SHORT
        )
        return parked

    async def _call(
        self, name: str, argument: object, policy: ActivityConfig, result_type: type[Result]
    ) -> Result:
        """Check for a stop, run the activity, check again.

        A cancelled activity that returns its partial result swallows the cancellation; without the
        second check the loop would go on to the next activity.
        """
        if self.stopped:
            raise TurnStopped
        handle: ActivityHandle[Any] = workflow.start_activity(
            name, argument, result_type=result_type, **policy
        )
        self._live[handle] = None
        try:
            result: Result = await handle
        except (ActivityError, asyncio.CancelledError):
            if self.stopped:
                raise TurnStopped from None
            raise
        finally:
            self._live.pop(handle, None)
        if self.stopped:
            raise TurnStopped
        return result


@workflow.defn(name=names.WORKFLOW_TYPE)
class SessionWorkflow:
    """Answers what waits in a conversation's inbox, turn by turn, and closes when nothing does.

    Signals carry nothing: `ring` means look for work, `stop` means look for a recorded stop. A
    signal that is lost, doubled or late does no harm, because storage knows what is pending and
    which turn was stopped.
    """

    @workflow.init
    def __init__(self, session: SessionInput) -> None:
        self._conversation_id = session.conversation_id
        self._rung = False
        self._stop_rung = False

    @workflow.signal(name=names.SIGNAL_RING)
    def ring(self) -> None:
        """Look for work."""
        self._rung = True

    @workflow.signal(name=names.SIGNAL_STOP)
    def stop(self) -> None:
        """Look for a recorded stop."""
        self._stop_rung = True

    @workflow.run
    async def run(self, session: SessionInput) -> None:
        """Run turns until the inbox is empty."""
        while True:
            self._rung = False
            begun = await self._begin()
            if begun is None:
                if not self._rung:
                    # There is no await since the check. A ring that reaches the server before this
                    # return makes the return fail and repeat; a later ring opens the next run.
                    return
            elif begun.wait_s:
                await workflow.sleep(begun.wait_s)  # rings meanwhile change nothing: we look after
            else:
                await self._answer(begun)
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(session)

    async def _begin(self) -> BegunTurn | None:
        begun: BegunTurn | None
        if workflow.patched(names.PATCH_LOCAL_BEGIN):
            begun = await workflow.execute_local_activity(
                names.ACTIVITY_BEGIN,
                self._conversation_id,
                result_type=BegunTurn | None,  # type: ignore[arg-type]
                **policies.SHORT,
            )
        else:  # runs that began before
            begun = await workflow.execute_activity(
                names.ACTIVITY_BEGIN,
                self._conversation_id,
                result_type=BegunTurn | None,  # type: ignore[arg-type]
                **policies.CONTROL,
            )
        return begun

    async def _answer(self, begun: BegunTurn) -> None:
        turn = ActivityTurn(begun)
        watch = asyncio.create_task(self._watch_stop(turn))
        try:
            await run_turn(
                turn,
                max_steps=begun.max_steps,
                first_step=begun.first_step,
                open_calls=begun.open_calls,
            )
        except TurnStopped:
            await self._settle(turn, "stopped", "stopped")
        except StepsExhausted:
            await self._settle(turn, "failed", "too_many_steps")
        except ActivityError as error:
            await self._settle(turn, "failed", reason_of(error))
        except Exception:
            # A fault of code. Raised on, it would end this run, and the next would meet it again.
            workflow.logger.exception("turn %s: the loop failed", turn.turn_id)
            await self._settle(turn, "failed", "internal")
        finally:
            watch.cancel()

    async def _watch_stop(self, turn: ActivityTurn) -> None:
        """Stop the turn once its stop is recorded; the signal alone may be a late one for an
        earlier turn.
        """
        while not turn.stopped:
            await workflow.wait_condition(lambda: self._stop_rung)
            self._stop_rung = False
            try:
                recorded = await workflow.execute_local_activity(
                    names.ACTIVITY_STOP_REQUESTED,
                    turn.turn_id,
                    result_type=bool,
                    **policies.STOP_CHECK,
                )
            except ActivityError:
                return  # cancelled with the turn: the policy tries until then
            if recorded:
                turn.stop()

    async def _settle(
        self, turn: ActivityTurn, outcome: Literal["stopped", "failed"], reason: str
    ) -> None:
        end = SettleInput(turn.turn_id, outcome, reason)
        if workflow.patched(names.PATCH_LOCAL_SETTLE):
            # Histories of older code have no result here.
            must_undo: bool | None = await workflow.execute_local_activity(
                names.ACTIVITY_SETTLE,
                end,
                result_type=bool | None,  # type: ignore[arg-type]
                **policies.SHORT,
            )
            if must_undo:
                await self._undo_and_settle(end)
        else:  # runs that began before
            await workflow.execute_activity(names.ACTIVITY_SETTLE, end, **policies.CONTROL)

    async def _undo_and_settle(self, end: SettleInput) -> None:
        """Let a flow undo its work, then end its turn, also where it could not be undone."""
        try:
            await workflow.execute_activity(names.ACTIVITY_UNDO, end.turn_id, **policies.CALL_TOOL)
        except ActivityError:
            workflow.logger.exception("turn %s: the flow is not undone", end.turn_id)
        undone = replace(end, is_undone=True)
        await workflow.execute_local_activity(names.ACTIVITY_SETTLE, undone, **policies.SHORT)


def reason_of(error: ActivityError) -> str:
    """The reason code of a failed activity."""
    if isinstance(error.cause, ApplicationError):
        return error.cause.type or "internal"
    if isinstance(error.cause, TimeoutError):
        return "timeout"
    return "internal"
