"""Running one entry of a flow's journal: a tool, a model call, or a wait that opens or is over."""

import json
from typing import Any

from roost.execution.call import Outcome
from roost.flow import Flow
from roost.flows.journal import ENDED, Step
from roost.tools import Tool
from roost.waits import Approve, Ask, Sleep, Spawn, Wait
from roost_workflows.policies import WORKER_DEATHS_MAX
from roost_workflows.ports import Ports
from roost_workflows.state import CallInput
from roost_workflows.storage.flows import FlowRecord, StoredEntry
from roost_workflows.turn.activity_guard import finish
from roost_workflows.turn.flow.advancing import FlowAdvancer
from roost_workflows.turn.flow.generating import Generator
from roost_workflows.turn.tool_call import Owner, ToolCaller


class EntryCaller:
    """Runs entries. What waits is seen by the next advance."""

    def __init__(
        self,
        ports: Ports,
        advancer: FlowAdvancer,
        tools: ToolCaller,
        generator: Generator,
    ) -> None:
        self._flows = ports.flows
        self._turns = ports.turns
        self._waits = ports.waits
        self._advancer = advancer
        self._tools = tools
        self._generator = generator

    async def run(self, call: CallInput, flow: Flow) -> None:
        """Run the entry of this path unless it has ended, waits, or the flow is stopped."""
        record = await self._flows.read(call.turn_id)
        stored = record.stored(call.call_id)
        if record.is_stopped or record.worker_deaths >= WORKER_DEATHS_MAX or stored is None:
            return  # the next advance ends the turn
        if stored.entry.state in ENDED or stored.entry.state == "waiting":
            return
        step = await self._advancer.step_of(flow, record, stored.entry.path)
        if step is None:
            return  # the code does not take this step any more; the next advance says so
        place = CallInput(call.turn_id, stored.step, stored.entry.path)
        if step.op == "generate":
            await self._generator.run(record, stored, step)
        elif step.op == "call":
            assert isinstance(step.target, Tool)
            await self._tools.run_for(place, Owner(flow.name, record.facts), step.target)
        elif stored.entry.state == "ready":
            await self._end_wait(record, stored, place)
        else:
            await self._open(place, wait_of(stored, step, record.now), record.now)

    async def _end_wait(self, record: FlowRecord, stored: StoredEntry, place: CallInput) -> None:
        if stored.wait != "child":
            await finish(self._flows.finish_wait(record.turn_id, stored.entry.path))
            return
        outcome = await self._waits.outcome(place.turn_id, place.step, place.call_id)
        await self._finish(place, outcome or Outcome("error", "What it waited for is gone."))

    async def _open(self, place: CallInput, wait: Wait, now: float) -> None:
        if isinstance(wait, Sleep) and wait.until <= now:
            await self._finish(place, Outcome("ok", ""))
            return
        why_not = await self._waits.open(place.turn_id, place.step, place.call_id, wait)
        if why_not:
            await self._finish(place, Outcome("error", why_not))

    async def _finish(self, place: CallInput, outcome: Outcome) -> None:
        await finish(
            self._turns.finish_call(
                *(place.turn_id, place.step, place.call_id),
                status=outcome.status,
                result=outcome.text,
                error=outcome.trace,
            )
        )


def wait_of(stored: StoredEntry, step: Step[Any], now: float) -> Wait:
    """What the entry waits for, as it begins to wait."""
    if isinstance(step.target, Ask | Approve | Spawn):
        return step.target
    asked = json.loads(stored.entry.arguments)
    return Sleep(asked["until"] if "until" in asked else now + asked["seconds"])
