"""For tests: a worker that runs the sessions that were rung, over a model with a script."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roost.agent import Agent
from roost.flow import Flow
from roost.turn import TurnEnd
from roost_inference.client.assembly import Completed, Delta, ToolCall
from roost_inference.client.engine_client import ChatRequest
from roost_platform.db.stores import Stores
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.wiring.worker import worker_ports
from roost_workflows.agents import AgentRegistry
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.testing.sessions import Session, SessionTurn
from roost_workflows.turn.activities import Activities
from roost_workflows.turn.model_call import ModelClient

ROUNDS_MAX = 200  # sessions that one `work` runs


class Killed(BaseException):
    """The worker died here: nothing of it goes on, and no activity is tried again."""


# What a model says: a text, or calls of tools as (name, arguments).
Says = str | Sequence[tuple[str, Mapping[str, Any]]]
Line = Says | BaseException | Callable[[ChatRequest], Says]


@dataclass
class ScriptedModel:
    """A model with a script for each agent, known by its instructions; after it, it says Done.

    texts: the script of agents that have none of their own.
    """

    lines: dict[str, list[Line]] = field(default_factory=dict)
    texts: list[Line] = field(default_factory=list)
    asked: list[ChatRequest] = field(default_factory=list)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        """The next line of the agent's script. Raises what stands in it."""
        self.asked.append(request)
        script = self.lines.get(str(request.messages[0]["content"]), self.texts)
        line = script.pop(0) if script else "Done."
        if isinstance(line, BaseException):
            raise line
        says = line(request) if callable(line) else line
        if isinstance(says, str):
            yield Delta(says)
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


def activities_of(stores: Stores, engine: ModelClient, registry: AgentRegistry) -> Activities:
    """A worker's activities over these stores."""
    return Activities(worker_ports(stores, NoHints()), engine, registry)


class InProcessWorker:
    """Runs the sessions of a person's chat and of the agents that work for it."""

    def __init__(
        self, person: Person, *agents: Agent | Flow, engine: ModelClient | None = None
    ) -> None:
        self.model = ScriptedModel()
        self.registry = AgentRegistry.of(*agents)
        self._activities = activities_of(person.stores, engine or self.model, self.registry)
        self._bell, self._intake = person.doorbell, person.intake

    async def work(self) -> list[TurnEnd | None]:
        """Run what was rung, and what that rings, until nothing is; the end of each turn, None for
        one without an answer.
        """
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
        """Run one session, rung or not."""
        return await Session(self._activities, conversation_id).run()

    def turn(self, turn_id: str) -> SessionTurn:
        """The ports of a turn, for a test that takes its steps by hand."""
        return SessionTurn(self._activities, turn_id)


def rung_by(bell: DoorbellLog) -> list[str]:
    """The conversations that were rung or told to stop, each once; the log is empty then."""
    rung = list(dict.fromkeys([*bell.stopped, *bell.rung]))
    bell.stopped.clear()
    bell.rung.clear()
    return rung
