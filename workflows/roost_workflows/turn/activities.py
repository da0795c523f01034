"""The activities of a session, which Temporal calls by name."""

from typing import Final

from temporalio import activity

from roost.agent import MAX_STEPS_DEFAULT
from roost.execution.tool_processes import ToolProcesses
from roost.flow import Flow
from roost.flows.journal import STEPS_MAX
from roost_workflows import names
from roost_workflows.agents import AgentRegistry
from roost_workflows.ports import Ports, Postponed
from roost_workflows.state import (
    BegunTurn,
    CallInput,
    GenerateInput,
    GroupInput,
    SettleInput,
    StepResult,
)
from roost_workflows.turn.activity_guard import StopWatch, beating, finish, private
from roost_workflows.turn.files import FileReader
from roost_workflows.turn.flow.advancing import FlowAdvancer
from roost_workflows.turn.flow.entries import EntryCaller
from roost_workflows.turn.flow.generating import Generator
from roost_workflows.turn.flow.undoing import Undoer
from roost_workflows.turn.model_call import ModelCaller, ModelClient
from roost_workflows.turn.progress import Board
from roost_workflows.turn.suspects import Suspects
from roost_workflows.turn.tool_call import ToolCaller

# Advances of a flow in one run of its session: each has a new entry or follows the end of one.
ADVANCES_MAX: Final = 2 * STEPS_MAX


class Activities:
    """Everything a session does outside its workflow."""

    def __init__(
        self,
        ports: Ports,
        engine: ModelClient,
        registry: AgentRegistry,
        processes: ToolProcesses | None = None,
        suspects: Suspects | None = None,
        stops: StopWatch | None = None,
        *,
        images: bool = False,
    ) -> None:
        self._suspects = suspects or Suspects()
        self.turns = ports.turns
        self._waits = ports.waits
        self._registry = registry
        self._board = Board()
        stops = stops or StopWatch()
        self._model = ModelCaller(
            *(ports.turns, engine, registry, self._board, ports.hints, self._suspects),
            *(FileReader(ports.artifacts, images=images), stops),
        )
        self._tools = ToolCaller(ports, registry, self._board, processes, self._suspects, stops)
        self._advancer = FlowAdvancer(ports.flows, ports.turns, self._board, self._suspects)
        generator = Generator(ports.flows, ports.turns, engine, self._board)
        self._entries = EntryCaller(ports, self._advancer, self._tools, generator)
        self._undoer = Undoer(ports.flows, self._tools, self._suspects)

    @activity.defn(name=names.ACTIVITY_BEGIN)
    @private
    async def begin_turn(self, conversation_id: str) -> BegunTurn | None:
        """Begin or resume the conversation's turn; None when nothing waits."""
        turn = await self.turns.begin(conversation_id)
        if turn is None:
            return None
        if isinstance(turn, Postponed):
            return BegunTurn.postponed(turn.wait_s)
        agent = self._registry.get(turn.agent)
        if isinstance(agent, Flow):
            return BegunTurn.of(turn, turn.first_step + ADVANCES_MAX)
        return BegunTurn.of(turn, agent.max_steps if agent else MAX_STEPS_DEFAULT)

    @activity.defn(name=names.ACTIVITY_GENERATE)
    @private
    async def generate(self, call: GenerateInput) -> StepResult:
        """Make one model call, or let a flow come as far as it can."""
        async with beating():
            if (flow := await self._flow(call.turn_id)) is not None:
                return await self._advancer.run(call, flow)
            return await self._suspects.watched(call.turn_id, self._model.run(call))

    @activity.defn(name=names.ACTIVITY_CALL_TOOL)
    @private
    async def call_tool(self, call: CallInput) -> bool:
        """Run one tool call, or an entry of a flow; whether it waits for something instead."""
        async with beating():
            if (flow := await self._flow(call.turn_id)) is not None:
                await self._suspects.watched(call.turn_id, self._entries.run(call, flow))
                return False  # the next advance sees whether it waits
            return await self._suspects.watched(call.turn_id, self._tools.run(call))

    @activity.defn(name=names.ACTIVITY_CLOSE_GROUP)
    @private
    async def close_group(self, group: GroupInput) -> None:
        """Commit the results of a step; a flow's are in its journal already."""
        if await self._flow(group.turn_id) is not None:
            return
        await finish(self.turns.close_group(group.turn_id, group.step))

    @activity.defn(name=names.ACTIVITY_PARK)
    @private
    async def park(self, group: GroupInput) -> bool:
        """Let the turn wait in storage unless something can go on."""
        parked = await self._waits.park(group.turn_id)
        if parked:
            self._board.forget(group.turn_id)
        return parked

    @activity.defn(name=names.ACTIVITY_STOP_REQUESTED)
    @private
    async def stop_requested(self, turn_id: str) -> bool:
        """Whether a stop is recorded for the turn."""
        return await self.turns.stop_requested(turn_id)

    @activity.defn(name=names.ACTIVITY_SETTLE)
    @private
    async def settle(self, end: SettleInput) -> bool:
        """End a turn that has no answer; True for a flow that must undo something before."""
        is_flow = not end.is_undone and await self._flow(end.turn_id) is not None
        if is_flow and await self._undoer.is_needed(end.turn_id):
            return True
        await self.turns.settle(end.turn_id, outcome=end.outcome, reason=end.reason)
        self._board.forget(end.turn_id)
        return False

    @activity.defn(name=names.ACTIVITY_UNDO)
    @private
    async def undo(self, turn_id: str) -> None:
        """Let a flow undo its work, the newest first."""
        async with beating():
            flow = await self._flow(turn_id)
            if flow is not None:
                await self._suspects.watched(turn_id, self._undoer.run(turn_id, flow))

    async def _flow(self, turn_id: str) -> Flow | None:
        """The flow that the turn is; None for an agent's."""
        if not self._registry.flows:
            return None
        return self._registry.flow((await self.turns.get(turn_id)).agent)
