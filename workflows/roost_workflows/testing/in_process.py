"""Sessions run by the worker's own callers, as the workflow runs them, without Temporal."""

from dataclasses import dataclass

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from roost.agent import MAX_STEPS_DEFAULT
from roost.errors import StepsExhausted, TurnStopped
from roost.turn import TurnEnd, run_turn
from roost_workflows.agents import AgentRegistry
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.ports import Ports, TurnRecord
from roost_workflows.state import CallInput, GenerateInput, StepResult
from roost_workflows.turn.files import FileReader
from roost_workflows.turn.model_call import ModelCaller, ModelClient
from roost_workflows.turn.progress import Board
from roost_workflows.turn.tool_call import ToolCaller


class InProcessSessions:
    """Runs sessions over these ports. What a model call or a tool raises comes out."""

    def __init__(self, ports: Ports, engine: ModelClient, registry: AgentRegistry) -> None:
        self.ports = ports
        self.registry = registry
        board = Board()
        self.model = ModelCaller(
            *(ports.turns, engine, registry, board, NoHints()), files=FileReader(ports.artifacts)
        )
        self.tools = ToolCaller(ports, registry, board)
        self.inside = ActivityEnvironment()

    async def run(self, conversation_id: str) -> list[TurnEnd | None]:
        """One run of a session: its turns until nothing is to be done; None for each that ended
        without an answer.
        """
        ends: list[TurnEnd | None] = []
        while True:
            turn = await self.ports.turns.begin(conversation_id)
            if not isinstance(turn, TurnRecord):
                return ends
            ends.append(await self._answer(turn))

    async def _answer(self, turn: TurnRecord) -> TurnEnd | None:
        agent, settle = self.registry.get(turn.agent), self.ports.turns.settle
        most = agent.max_steps if agent else MAX_STEPS_DEFAULT
        ports = InProcessTurn(self, turn.turn_id)
        try:
            return await run_turn(
                ports, max_steps=most, first_step=turn.first_step, open_calls=turn.open_calls
            )
        except TurnStopped:
            await settle(turn.turn_id, outcome="stopped", reason="stopped")
        except StepsExhausted:
            await settle(turn.turn_id, outcome="failed", reason="too_many_steps")
        except ApplicationError as error:
            await settle(turn.turn_id, outcome="failed", reason=error.type or "internal")
        return None


@dataclass
class InProcessTurn:
    """The ports of one turn; each looks for a stop first, as the workflow does."""

    sessions: InProcessSessions
    turn_id: str

    async def generate(self, step: int, *, last: bool) -> StepResult:
        """See TurnPorts.generate."""
        await self._check()
        call = GenerateInput(self.turn_id, step, last)
        return await self.sessions.inside.run(self.sessions.model.run, call)

    async def call_tool(self, step: int, call_id: str) -> bool:
        """See TurnPorts.call_tool."""
        await self._check()
        call = CallInput(self.turn_id, step, call_id)
        return await self.sessions.inside.run(self.sessions.tools.run, call)

    async def close_group(self, step: int) -> None:
        """See TurnPorts.close_group."""
        await self._check()
        await self.sessions.ports.turns.close_group(self.turn_id, step)

    async def park(self, step: int) -> bool:
        """See TurnPorts.park."""
        await self._check()
        return await self.sessions.ports.waits.park(self.turn_id)

    async def _check(self) -> None:
        if await self.sessions.ports.turns.stop_requested(self.turn_id):
            raise TurnStopped
