"""The activities of a session, which Temporal calls by name."""

from temporalio import activity

from roost.agent import MAX_STEPS_DEFAULT
from roost.execution.tool_processes import ToolProcesses
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
from roost_workflows.turn.activity_guard import beating, finish, private
from roost_workflows.turn.files import FileReader
from roost_workflows.turn.model_call import ModelCaller, ModelClient
from roost_workflows.turn.progress import Board
from roost_workflows.turn.suspects import Suspects
from roost_workflows.turn.tool_call import ToolCaller


class Activities:
    """Everything a session does outside its workflow."""

    def __init__(
        self,
        ports: Ports,
        engine: ModelClient,
        registry: AgentRegistry,
        processes: ToolProcesses | None = None,
        suspects: Suspects | None = None,
        *,
        images: bool = False,
    ) -> None:
        self._suspects = suspects or Suspects()
        self.turns = ports.turns
        self._waits = ports.waits
        self._registry = registry
        self._board = Board()
        self._model = ModelCaller(
            *(ports.turns, engine, registry, self._board, ports.hints, self._suspects),
            FileReader(ports.artifacts, images=images),
        )
        self._tools = ToolCaller(ports, registry, self._board, processes, self._suspects)

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
        return BegunTurn.of(turn, agent.max_steps if agent else MAX_STEPS_DEFAULT)

    @activity.defn(name=names.ACTIVITY_GENERATE)
    @private
    async def generate(self, call: GenerateInput) -> StepResult:
        """Make one model call."""
        async with beating():
            return await self._suspects.watched(call.turn_id, self._model.run(call))

    @activity.defn(name=names.ACTIVITY_CALL_TOOL)
    @private
    async def call_tool(self, call: CallInput) -> bool:
        """Run one tool call; whether it waits for something instead."""
        async with beating():
            return await self._suspects.watched(call.turn_id, self._tools.run(call))

    @activity.defn(name=names.ACTIVITY_CLOSE_GROUP)
    @private
    async def close_group(self, group: GroupInput) -> None:
        """Commit the results of a step."""
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
    async def settle(self, end: SettleInput) -> None:
        """End a turn that has no answer."""
        await self.turns.settle(end.turn_id, outcome=end.outcome, reason=end.reason)
        self._board.forget(end.turn_id)
