"""Agents in a test: the real turn loop and real tools, a scripted model, people of the test."""

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from roost.agent import Agent
from roost.context import Context, Person, SessionInfo
from roost.execution.call import Outcome, refusal, run_tool
from roost.messages import LocalMessage
from roost.prompt import build_messages
from roost.schedules.keeper import Schedules
from roost.schedules.memory import MemorySchedules
from roost.testing.people import Answers, Approvals, Children, NobodyThere, People
from roost.tools import Tool
from roost.turn import Finish, run_turn


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call the scripted model makes; `arguments` is JSON text."""

    name: str
    arguments: str


def call(name: str, /, **arguments: Any) -> Call:
    """A tool call with these arguments."""
    return Call(name, json.dumps(arguments))


Reply = str | Call | Sequence[Call]
Messages = list[dict[str, Any]]


class ScriptedModel:
    """Gives its replies in order: a text, a call or several calls, or a function of the messages
    that returns one.

    requests: the messages of every model call, as an engine would get them.
    """

    def __init__(self, *replies: Reply | Callable[[Messages], Reply]) -> None:
        self._replies = iter(replies)
        self.requests: list[Messages] = []

    def reply(self, messages: Messages) -> Reply:
        """The next reply. Raises AssertionError when there is none left."""
        self.requests.append(messages)
        try:
            reply = next(self._replies)
        except StopIteration:
            raise AssertionError("the scripted model was asked more often than planned") from None
        return reply(messages) if callable(reply) else reply


@dataclass(frozen=True, slots=True)
class MemoryNote:
    """A note in memory."""

    id: int
    text: str
    created_at: float


@dataclass(slots=True)
class MemoryNotes:
    """Notes in memory, per person."""

    _notes: dict[str, dict[str, MemoryNote]] = field(default_factory=dict)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def add(self, person_id: str, text: str, key: str) -> MemoryNote:
        """Keep a note, once for each `key`."""
        notes = self._notes.setdefault(person_id, {})
        if key not in notes:
            notes[key] = MemoryNote(next(self._ids), text, time.time())
        return notes[key]

    async def list(self, person_id: str) -> Sequence[MemoryNote]:
        """The person's notes, oldest first."""
        return tuple(self._notes.get(person_id, {}).values())

    async def remove(self, person_id: str, note_id: int) -> bool:
        """Delete a note; False when the person has no such note."""
        notes = self._notes.get(person_id, {})
        keys = [key for key, note in notes.items() if note.id == note_id]
        for key in keys:
            del notes[key]
        return bool(keys)


@dataclass(frozen=True, slots=True)
class RanCall:
    """A tool call of a finished turn and how it ended."""

    name: str
    arguments: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Run:
    """A turn that ended, or that waits for what the test does not give (finish `waiting`).

    messages: give them to the next run to continue the conversation. asked: what people were asked.
    """

    text: str
    finish: Finish
    steps: int
    calls: tuple[RanCall, ...]
    messages: tuple[LocalMessage, ...]
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Step:
    finish: Finish
    call_ids: tuple[str, ...] = ()


class _LocalTurn:
    """A turn's ports over plain lists."""

    def __init__(
        self,
        agent: Agent,
        model: ScriptedModel,
        messages: list[LocalMessage],
        notes: MemoryNotes,
        schedules: MemorySchedules,
        people: People,
    ) -> None:
        self.agent = agent
        self.people = people
        self.model = model
        self.messages = messages
        self.notes = notes
        self.schedules = schedules
        self.calls: dict[str, Call] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.text = ""

    async def generate(self, step: int, *, last: bool) -> _Step:
        """Take the model's next reply."""
        built = build_messages(self.agent.instructions, self.messages, last_step=last)
        reply = self.model.reply(built)
        if isinstance(reply, str) or last:
            self.text = reply if isinstance(reply, str) else ""
            self.messages.append(LocalMessage("assistant", self.text))
            return _Step("answer" if self.text.strip() else "empty")
        calls = [reply] if isinstance(reply, Call) else list(reply)
        ids = {f"call_{step}_{index}": one for index, one in enumerate(calls)}
        self.calls |= ids
        return _Step("tools", tuple(ids))

    async def call_tool(self, step: int, call_id: str) -> bool:
        """Run the tool, or answer that there is none."""
        call = self.calls[call_id]
        tool = self.agent.tool(call.name)
        if tool is None:
            self.outcomes[call_id] = Outcome("error", f"There is no tool {call.name!r}.")
            return False
        try:
            self.outcomes[call_id] = await self._outcome(tool, call, f"local:{step}:{call_id}")
        except NobodyThere:
            return True
        return False

    async def _outcome(self, tool: Tool, call: Call, key: str) -> Outcome:
        if (refused := refusal(tool, call.arguments)) is not None:
            return refused
        if tool.approval == "deny":
            return Outcome("error", f"Not run: policy does not allow {tool.name}.")
        if tool.approval == "ask" and not self.people.verdict(tool.name):
            return Outcome("error", "Not run: the person said no.")
        context = Context(
            key=key,
            person=Person("tester", "Tester"),
            session=SessionInfo("local", "local", "console"),
            notes=self.notes,
            schedules=Schedules(self.schedules, key),
        )
        outcome = await run_tool(tool, call.arguments, context)
        return outcome if outcome.wait is None else self.people.outcome(outcome.wait)

    async def park(self, step: int) -> bool:
        """The test gives no more: the turn waits."""
        return True

    async def close_group(self, step: int) -> None:
        """Append the calls and their results to the messages."""
        ids = [call_id for call_id in self.calls if call_id.startswith(f"call_{step}_")]
        made = tuple((one, self.calls[one].name, self.calls[one].arguments) for one in ids)
        self.messages.append(LocalMessage("assistant", "", tool_calls=made))
        for one in ids:
            outcome = self.outcomes[one]
            self.messages.append(
                LocalMessage(
                    "tool",
                    outcome.text,
                    tool_call_id=one,
                    name=self.calls[one].name,
                    status=outcome.status,
                )
            )


async def run_agent(
    agent: Agent,
    text: str,
    *,
    model: ScriptedModel,
    messages: Sequence[LocalMessage] = (),
    notes: MemoryNotes | None = None,
    schedules: MemorySchedules | None = None,
    answers: Answers = (),
    approvals: Approvals = (),
    children: Children | None = None,
) -> Run:
    """Run one turn of `agent` on `text` with real tools and the scripted model.

    answers, approvals, children: what people answer and decide where tools ask them, and what other
    agents answer; where these end, the run ends with finish `waiting`.
    """
    people = People(answers, approvals, children)
    said = [*messages, LocalMessage("user", text)]
    turn = _LocalTurn(
        agent, model, said, notes or MemoryNotes(), schedules or MemorySchedules(), people
    )
    end = await run_turn(turn, max_steps=agent.max_steps)
    ran = tuple(
        RanCall(one.name, one.arguments, turn.outcomes[call_id])
        for call_id, one in turn.calls.items()
        if call_id in turn.outcomes
    )
    asked = tuple(people.asked)
    return Run(turn.text, end.finish, end.steps, ran, tuple(turn.messages), asked)
