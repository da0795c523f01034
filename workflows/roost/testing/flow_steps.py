"""Runs the steps of a flow of a test, and keeps their results as storage would."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from roost.agent import Agent
from roost.context import Context, Person, SessionInfo
from roost.execution.call import Outcome, interrupted, refusal, run_tool, verify
from roost.flow import Flow
from roost.flows.decoding import bounded
from roost.flows.journal import ENDED, TAKEN_BYTES_MAX, Entry, EntryState, Step
from roost.flows.prompting import TRIES_MAX, again, misfit, prompt_of, without_fence
from roost.testing.agents import MemoryNotes, ScriptedModel
from roost.testing.people import NobodyThere, People
from roost.tools import Tool
from roost.waits import Approve, Ask, Spawn

CRASHED: Final = "The process that ran it died."


class Killed(BaseException):
    """The process of the flow died."""


class LocalSteps:
    """The journal as JSON text, as storage has it, and what runs its steps."""

    def __init__(
        self,
        flow: Flow,
        people: People,
        model: ScriptedModel,
        notes: MemoryNotes,
        journal: Sequence[Entry],
        *,
        kills: frozenset[int],
        now: float,
    ) -> None:
        self.people = people
        self.now = now
        self.undone: list[tuple[str, str]] = []
        self.commits = 0
        self._flow = flow
        self._model = model
        self._notes = notes
        self._kills = kills
        self._is_dead = False
        self._due: dict[str, float] = {}
        self._attempts: dict[str, int] = {}
        # What people, the model and other agents said is theirs: no kill makes them say it again.
        self._said: dict[str, Outcome] = {}
        self._kept = _dump(journal)

    @property
    def journal(self) -> tuple[Entry, ...]:
        """The entries as they are kept."""
        return tuple(Entry(**entry) for entry in json.loads(self._kept))

    @property
    def ended(self) -> int:
        """How many steps have ended."""
        return sum(entry.state in ENDED for entry in self.journal)

    def revive(self) -> None:
        """Let another process go on."""
        self._is_dead = False

    def add(self, entries: Sequence[Entry]) -> None:
        """Keep new entries. Raises Killed."""
        self._commit([*self.journal, *entries])

    def jump(self) -> bool:
        """Let time pass until the next sleep ends; False when nothing sleeps."""
        sleeping = {
            path: due for path, due in self._due.items() if self._entry(path).state == "waiting"
        }
        if not sleeping:
            return False
        self.now = max(self.now, min(sleeping.values()))
        return True

    async def run(self, path: str, step: Step[Any]) -> bool:
        """Run the step; whether its entry changed."""
        entry = self._entry(path)
        before = self._kept
        if step.op == "sleep":
            self._sleep(entry)
            return before != self._kept
        try:
            outcome = await self._outcome(entry, step)
        except NobodyThere:
            if entry.state != "waiting":
                self._set(path, "waiting")
            return False
        self._set(path, outcome.status, outcome.text)
        return True

    async def undo(self, steps: Mapping[str, Step[Any]]) -> None:
        """Run the compensations that have not ended, the newest first.

        steps: the live ones. Code that was edited may not come to all that were registered.
        """
        for entry in reversed(self.journal):
            if entry.op != "compensate" or entry.state in ENDED:
                continue
            live = steps.get(entry.path)
            tool = live.target if live is not None else self._flow.tool(entry.name)
            outcome = Outcome("error", f"There is no tool {entry.name!r}.")
            if tool is not None:
                outcome = await self._call(entry, tool, is_undoing=True)
            self._set(entry.path, outcome.status, outcome.text)
            self.undone.append((entry.name, outcome.status))

    def _sleep(self, entry: Entry) -> None:
        asked = json.loads(entry.arguments)
        if entry.state == "planned":
            due = asked["until"] if "until" in asked else self.now + asked["seconds"]
            self._set(entry.path, "waiting")
            self._due[entry.path] = due
        elif self._due.setdefault(entry.path, self.now) <= self.now:
            self._set(entry.path, "ok")

    async def _outcome(self, entry: Entry, step: Step[Any]) -> Outcome:
        """The outcome of a step. Raises NobodyThere while it waits."""
        if step.op == "call":
            return await self._call(entry, step.target)
        if entry.path not in self._said:
            self._said[entry.path] = self._say(entry, step)
        return self._said[entry.path]

    def _say(self, entry: Entry, step: Step[Any]) -> Outcome:
        match step.op:
            case "ask":
                assert isinstance(step.target, Ask)
                answers = self.people.answers(step.target)
                return Outcome("ok", json.dumps({"answers": answers}))
            case "approve":
                assert isinstance(step.target, Approve)
                approved = self.people.verdict(step.target.text)
                return Outcome("ok", json.dumps({"approved": approved}))
            case "spawn":
                assert isinstance(step.target, Spawn)
                return self.people.child(step.target)
            case _:
                return self._generate(entry, step)

    def _generate(self, entry: Entry, step: Step[Any]) -> Outcome:
        agent = step.target if isinstance(step.target, Agent) else None
        messages = prompt_of(entry.arguments, agent)
        why = ""
        for _ in range(TRIES_MAX):
            reply = self._model.reply(messages)
            if not isinstance(reply, str):
                raise AssertionError("a flow's generate has no tools: the reply must be a text")
            text = without_fence(reply) if "schema" in json.loads(entry.arguments) else reply
            why = misfit(step, text)
            if not why:
                return Outcome("ok", text)
            messages = [*messages, *again(text, why)]
        return Outcome("error", why)

    async def _call(self, entry: Entry, tool: object, *, is_undoing: bool = False) -> Outcome:
        assert isinstance(tool, Tool)
        key = f"local:{entry.path}"
        if entry.state == "running" and (known := await self._after_crash(tool, key)) is not None:
            return known
        if (refused := refusal(tool, entry.arguments)) is not None:
            return refused
        if tool.approval == "deny":
            return Outcome("error", f"Not run: policy does not allow {tool.name}.")
        if tool.approval == "ask" and not is_undoing:
            if entry.path not in self._said:
                said = "approved" if self.people.verdict(tool.name) else "denied"
                self._said[entry.path] = Outcome("ok", said)
            if self._said[entry.path].text == "denied":
                return Outcome("error", "Not run: the person said no.")
        self._attempts[entry.path] = self._attempts.get(entry.path, 0) + 1
        self._set(entry.path, "running")
        context = Context(
            key=key,
            person=Person("tester", "Tester"),
            session=SessionInfo("local", "local", "console"),
            notes=self._notes,
            attempt=self._attempts[entry.path],
        )
        arguments = entry.arguments
        outcome = await run_tool(
            tool, arguments, context, result_bytes=TAKEN_BYTES_MAX, is_typed=True
        )
        if outcome.wait is not None:
            return self.people.outcome(outcome.wait)
        return bounded(entry.name, outcome)

    async def _after_crash(self, tool: Tool, key: str) -> Outcome | None:
        """As the platform judges a call whose process died: by its effect."""
        if tool.effect in ("pure", "idempotent"):
            return None
        if tool.effect == "verifiable":
            return await verify(tool, key)
        return await interrupted(tool, key, CRASHED)

    def _entry(self, path: str) -> Entry:
        return next(entry for entry in self.journal if entry.path == path)

    def _set(self, path: str, state: EntryState, result: str = "") -> None:
        self._commit(
            replace(entry, state=state, result=result) if entry.path == path else entry
            for entry in self.journal
        )

    def _commit(self, entries: Any) -> None:
        if self._is_dead:
            raise Killed
        self.commits += 1
        if self.commits in self._kills:
            self._is_dead = True
            raise Killed
        self._kept = _dump(entries)


def _dump(entries: Any) -> str:
    return json.dumps([asdict(entry) for entry in entries])
