"""The end of a flow without an answer: its function hears of a stop, and compensations run."""

import logging

from roost.flow import Flow
from roost.flows.journal import ENDED
from roost.tools import Tool
from roost_workflows.state import CallInput
from roost_workflows.storage.flows import FlowRecord, FlowRuns
from roost_workflows.turn.activity_guard import finish
from roost_workflows.turn.flow.advancing import new_entry
from roost_workflows.turn.flow.guard import guarded_advance
from roost_workflows.turn.suspects import Suspects
from roost_workflows.turn.tool_call import Owner, ToolCaller

log = logging.getLogger(__name__)


class Undoer:
    """Undoes what flows did, the newest first."""

    def __init__(self, flows: FlowRuns, tools: ToolCaller, suspects: Suspects) -> None:
        self._flows = flows
        self._tools = tools
        self._suspects = suspects

    async def is_needed(self, turn_id: str) -> bool:
        """Whether the flow has anything to hear or to undo before it ends."""
        record = await self._flows.read(turn_id)
        if record.input is None:
            return False
        return record.is_stopped or any(
            entry.op == "compensate" and entry.state not in ENDED for entry in record.journal
        )

    async def run(self, turn_id: str, flow: Flow) -> None:
        """Run every compensation that has not ended; one that fails stops no other."""
        record = await self._flows.read(turn_id)
        how = await guarded_advance(flow, record, self._suspects, stopped=True)
        registered = [new_entry(entry, how) for entry in how.new]
        if record.is_stopped and not record.is_undoing and registered:
            await finish(self._flows.add(turn_id, len(record.entries), registered))
            record = await self._flows.read(turn_id)
        for stored in reversed(record.entries):
            if stored.entry.op != "compensate" or stored.entry.state in ENDED:
                continue
            step = how.undo.get(stored.entry.path)
            found = step.target if step is not None else flow.tool(stored.entry.name)
            tool = found if isinstance(found, Tool) else None
            place = CallInput(turn_id, stored.step, stored.entry.path)
            await self._undo(record, place, flow, tool)

    async def _undo(
        self, record: FlowRecord, place: CallInput, flow: Flow, tool: Tool | None
    ) -> None:
        owner = Owner(flow.name, record.facts, can_wait=False)
        await self._tools.undo(
            *(place, owner, tool),
            begin=lambda: self._flows.begin_undo(place.turn_id, place.call_id),
        )
