"""For tests: a worker that runs the sessions that were rung, over a model with a script."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from roost.agent import MAX_STEPS_DEFAULT, Agent
from roost.errors import StepsExhausted, TurnStopped
from roost.turn import TurnEnd, run_turn
from roost_inference.client.assembly import Completed, Delta, ToolCall
from roost_inference.client.engine_client import ChatRequest
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.wiring import worker_ports
from roost_workflows.agents import AgentRegistry
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.ports import TurnRecord
from roost_workflows.state import CallInput, GenerateInput, StepResult
from roost_workflows.turn.files import FileReader
from roost_workflows.turn.model_call import ModelCaller, ModelClient
from roost_workflows.turn.progress import Board
from roost_workflows.turn.tool_call import ToolCaller

ROUNDS_MAX = 200  # sessions that one `work` runs

# What a model says: a text, or calls of tools as (name, arguments).
Says = str | Sequence[tuple[str, Mapping[str, Any]]]
Line = Says | Exception | Callable[[ChatRequest], Says]


@dataclass
class ScriptedModel:
    """A model with a script for each agent, known by its instructions; after it, it says Done."""

    lines: dict[str, list[Line]] = field(default_factory=dict)
    asked: list[ChatRequest] = field(default_factory=list)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        """The next line of the agent's script. Raises what stands in it."""
        self.asked.append(request)
        script = self.lines.get(str(request.messages[0]["content"]), [])
        line = script.pop(0) if script else "Done."
        if isinstance(line, Exception):
            raise line
        says = line(request) if callable(line) else line
        if isinstance(says, str):
            yield Completed(says, (), "stop", "m", "id", 100, 0, 10)
            return
        calls = tuple(
            ToolCall(f"c{n}", name, json.dumps(dict(arguments)))
            for n, (name, arguments) in enumerate(says)
        )
        yield Completed("", calls, "tool_calls", "m", "id", 100, 0, 10)

    def of(self, agent: Agent) -> list[ChatRequest]:
        """What this agent's model was asked."""
        return [one for one in self.asked if str(one.messages[0]["content"]) == agent.instructions]


class InProcessWorker:
    """Runs sessions by the worker's own callers, as the workflow does, without Temporal."""

    def __init__(self, person: Person, *agents: Agent) -> None:
        self.model = ScriptedModel()
        self.registry = AgentRegistry.of(*agents)
        self._stores, self._bell = person.stores, person.doorbell
        self._intake: PlatformIntake = person.intake
        ports, self._board = worker_ports(self._stores, NoHints()), Board()
        self._tools = ToolCaller(ports, self.registry, self._board)
        self._inside = ActivityEnvironment()
        self.use(self.model)

    def use(self, engine: ModelClient) -> None:
        """Ask this engine from here on."""
        self._model = ModelCaller(
            *(self._stores.turns, engine, self.registry, self._board, NoHints()),
            files=FileReader(self._stores.artifacts),
        )

    async def work(self) -> list[TurnEnd | None]:
        """Run what was rung, and what that rings, until nothing is."""
        ends: list[TurnEnd | None] = []
        for _ in range(ROUNDS_MAX):
            await self._intake.drain()
            rung = rung_by(self._bell)
            if not rung:
                return ends
            for conversation_id in rung:
                ends += await self.run_session(conversation_id)
        raise AssertionError("sessions ring one another for ever")

    async def run_session(self, conversation_id: str) -> list[TurnEnd | None]:
        """One run of a session: its turns until nothing is to be done; None for one that ended
        without an answer.
        """
        ends: list[TurnEnd | None] = []
        while True:
            turn = await self._stores.turns.begin(conversation_id)
            if not isinstance(turn, TurnRecord):
                return ends
            ends.append(await self._answer(turn))

    async def _answer(self, turn: TurnRecord) -> TurnEnd | None:
        agent = self.registry.get(turn.agent)
        most = agent.max_steps if agent else MAX_STEPS_DEFAULT
        try:
            return await run_turn(self._ports(turn), max_steps=most, first_step=turn.first_step)
        except TurnStopped:
            await self._stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
        except StepsExhausted:
            await self._stores.turns.settle(turn.turn_id, outcome="failed", reason="too_many_steps")
        except ApplicationError as error:
            reason = error.type or "internal"
            await self._stores.turns.settle(turn.turn_id, outcome="failed", reason=reason)
        return None

    def _ports(self, turn: TurnRecord) -> "_Ports":
        return _Ports(self, turn)


@dataclass
class _Ports:
    worker: InProcessWorker
    turn: TurnRecord

    async def generate(self, step: int, *, last: bool) -> StepResult:
        await self._check()
        call = GenerateInput(self.turn.turn_id, step, last)
        return await self.worker._inside.run(self.worker._model.run, call)

    async def call_tool(self, step: int, call_id: str) -> bool:
        await self._check()
        call = CallInput(self.turn.turn_id, step, call_id)
        return await self.worker._inside.run(self.worker._tools.run, call)

    async def close_group(self, step: int) -> None:
        await self._check()
        await self.worker._stores.turns.close_group(self.turn.turn_id, step)

    async def park(self, step: int) -> bool:
        await self._check()
        return await self.worker._stores.waits.park(self.turn.turn_id)

    async def _check(self) -> None:
        if await self.worker._stores.turns.stop_requested(self.turn.turn_id):
            raise TurnStopped


def rung_by(bell: DoorbellLog) -> list[str]:
    """The conversations that were rung or told to stop, each once; the log is empty then."""
    rung = list(dict.fromkeys([*bell.stopped, *bell.rung]))
    bell.stopped.clear()
    bell.rung.clear()
    return rung
