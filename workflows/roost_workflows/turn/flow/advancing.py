"""One advance of a flow as an activity: it says what can run now, waits, or ends the turn."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from temporalio.exceptions import ApplicationError

from roost.errors import FlowEdited, NoAnswer
from roost.flow import Flow, WrongInput
from roost.flows.advancing import Advance
from roost.flows.driving import Shown
from roost.flows.journal import Entry, Step
from roost.tools import Tool
from roost_workflows.policies import WORKER_DEATHS_MAX
from roost_workflows.ports import Snapshot, Turns
from roost_workflows.state import GenerateInput, StepResult
from roost_workflows.storage.flows import FlowRecord, FlowRuns, NewEntry
from roost_workflows.turn.activity_guard import finish, note_error
from roost_workflows.turn.failures import trace_of
from roost_workflows.turn.flow.guard import guarded_advance
from roost_workflows.turn.progress import Board
from roost_workflows.turn.suspects import Suspects

log = logging.getLogger(__name__)

CONFLICTS_MAX: Final = 5  # of two workers that advance one flow, one of which counts as dead
KEPT_MAX: Final = 256  # flows whose live steps this process remembers
EDITED: Final = (
    "Flow {name!r} was edited while it ran: {error}. {fork}Start it anew with "
    "`roost flow start {name}`{back}. Edits behind the step that a flow has reached do no harm."
)
FORK: Final = (
    "The results of steps 1 to {kept} fit the code as it is now: `roost flow fork {turn_id} --at "
    "{at}` begins a new run with them and goes on from {kept}. "
)
BACK: Final = ", or put the code back as it was and run `roost retry {turn_id}`"


class FlowAdvancer:
    """Advances flows, and finds the live step of an entry again."""

    def __init__(
        self,
        flows: FlowRuns,
        turns: Turns,
        board: Board,
        suspects: Suspects,
    ) -> None:
        self._flows = flows
        self._turns = turns
        self._board = board
        self._suspects = suspects
        self._kept: OrderedDict[str, Mapping[str, Step[Any]]] = OrderedDict()

    async def run(self, call: GenerateInput, flow: Flow) -> StepResult:
        """Advance the flow once. Raises ApplicationError, with the reason of the turn's failure."""
        for _ in range(CONFLICTS_MAX):
            record = await self._flows.read(call.turn_id)
            if record.is_stopped:
                return StepResult("stopped")
            if record.worker_deaths >= WORKER_DEATHS_MAX:
                raise ApplicationError("worker_died", type="worker_died", non_retryable=True)
            if record.is_undoing:
                raise failure("flow_failed")
            if record.input is None:
                try:
                    values = flow.parse(record.message)
                except WrongInput as error:
                    if record.is_child:  # its words would pass for what the flow answers
                        await note_error(self._turns, call.turn_id, str(error))
                        raise failure("flow_input") from None
                    return StepResult(await finish(self._flows.answer(call.turn_id, str(error))))
                await self._flows.begin(call.turn_id, flow.name, flow.code_hash, values)
                continue
            how = await guarded_advance(flow, record, self._suspects)
            result = await self._commit(flow, record, how)
            if result is not None:
                return result
        raise RuntimeError("the journal was changed by another worker again and again")

    async def step_of(self, flow: Flow, record: FlowRecord, path: str) -> Step[Any] | None:
        """The live step of an entry that has not ended, None where the code does not take it."""
        kept = self._kept.get(record.turn_id, {})
        if path in kept:
            return kept[path]
        how = await guarded_advance(flow, record, self._suspects)
        return how.steps.get(path)

    async def _commit(self, flow: Flow, record: FlowRecord, how: Advance) -> StepResult | None:
        """Keep what is new, and say what comes now; None where the journal changed meanwhile."""
        turn_id = record.turn_id
        if how.new:
            entries = [new_entry(entry, how) for entry in how.new]
            if not await finish(self._flows.add(turn_id, len(record.entries), entries)):
                return None
        if how.shown is not None:
            await self._show(turn_id, how.shown)
        if how.state == "done":
            self._kept.pop(turn_id, None)
            return StepResult(await finish(self._flows.answer(turn_id, how.text)))
        if how.error is not None:
            await self._fail(flow, record, how.error)
        self._keep(turn_id, how.steps)
        states = {entry.path: entry.state for entry in (*record.journal, *how.new)}
        ready = tuple(path for path in how.steps if states[path] != "waiting")
        return StepResult("tools", ready) if ready else StepResult("waiting")

    async def _show(self, turn_id: str, shown: Shown) -> None:
        """Show people how far it is; lossy, as all progress."""
        key = f"{turn_id}:flow"
        if shown.text in self._board.lines(turn_id) and shown.plan == self._board.steps(turn_id):
            return
        self._board.put(turn_id, key, shown.text)
        self._board.plan(turn_id, shown.plan)
        lines, steps = self._board.lines(turn_id), self._board.steps(turn_id)
        try:
            await self._turns.progress(turn_id, Snapshot("tool", "", lines, steps))
        except Exception as error:
            log.warning("progress of turn %s not written: %r", turn_id, error)

    async def _fail(self, flow: Flow, record: FlowRecord, error: BaseException) -> None:
        turn_id = record.turn_id
        reason, told = "flow_failed", trace_of(error)
        if isinstance(error, FlowEdited):
            reason, told = "flow_edited", edited_words(record, error)
        elif isinstance(error, NoAnswer):
            reason = "flow_unanswered"
        log.error("flow %s, turn %s: %s: %s", flow.name, turn_id, reason, type(error).__name__)
        await note_error(self._turns, turn_id, told)
        raise failure(reason)

    def _keep(self, turn_id: str, steps: Mapping[str, Step[Any]]) -> None:
        self._kept[turn_id] = steps
        self._kept.move_to_end(turn_id)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)


def new_entry(entry: Entry, how: Advance) -> NewEntry:
    """The entry with the effect of its tool."""
    step = how.steps.get(entry.path) or how.undo.get(entry.path)
    tool = step.target if step is not None else None
    return NewEntry(entry, tool.effect if isinstance(tool, Tool) else "pure")


def edited_words(record: FlowRecord, error: FlowEdited) -> str:
    """What operators read of an edit: the step, and where a fork can go on.

    A flow that undoes its work keeps nothing that it did outside.
    """
    at = error.step
    undoes = any(one.entry.op == "compensate" for one in record.entries)
    if undoes:
        at = min([at, *(one.step for one in record.entries if one.acts)])
    fork = FORK.format(kept=at - 1, at=at, turn_id=record.turn_id) if at > 1 else ""
    back = "" if undoes else BACK.format(turn_id=record.turn_id)
    return EDITED.format(name=record.name, error=error, fork=fork, back=back)


def failure(reason: str) -> ApplicationError:
    """The end of a turn by this reason."""
    return ApplicationError(reason, type=reason, non_retryable=True)
