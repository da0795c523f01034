"""One tool call: follow its effect class, run it, commit its outcome."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from roost.agent import Agent
from roost.context import Context
from roost.execution.call import NOT_REPEATED, Outcome, interrupted, refusal, run_tool, verify
from roost.execution.tool_processes import ToolProcesses
from roost.files import Files
from roost.flows.advancing import FlowFacts
from roost.flows.decoding import bounded
from roost.flows.journal import TAKEN_BYTES_MAX
from roost.schedules.keeper import Schedules
from roost.text import RESULT_BYTES_MAX
from roost.tools import Tool
from roost.waits import Wait
from roost_workflows.agents import AgentRegistry
from roost_workflows.model_calls import Spent
from roost_workflows.policies import TOOL_ATTEMPTS_MAX
from roost_workflows.ports import CALL_ENDED, CallRecord, CallState, Ports
from roost_workflows.state import CallInput
from roost_workflows.storage.waits import CallFacts, Gate
from roost_workflows.turn.activity_guard import StopWatch, finish, refuse_deadly, stop_was_asked
from roost_workflows.turn.limits import arguments_hash, refused_call
from roost_workflows.turn.progress import Board, ProgressWriter
from roost_workflows.turn.suspects import Suspects

log = logging.getLogger(__name__)

STOP_CHECK_S: Final = 0.5  # a stop is to be visible within a second, so a check may not take longer
MARKS: Final = {"ok": "✓", "error": "✗", "cancelled": "stopped", "unknown": "?"}
STOPPED: Final = "It was stopped by the user."
NOBODY_ASKED: Final = "Not run: it asks somebody, and nobody can be asked after the end."
CRASHED: Final = "The worker that ran it died."


@dataclass(frozen=True, slots=True)
class Owner:
    """Who calls a tool: an agent, or a flow. can_wait: people may be asked for an approval.

    agent, spent: None for a flow, which has no limits of this kind.
    """

    name: str
    facts: FlowFacts
    can_wait: bool = True
    agent: Agent | None = None
    spent: Spent | None = None


class ToolCaller:
    """Runs the tool calls of turns, over storage and the agents' functions."""

    def __init__(
        self,
        ports: Ports,
        registry: AgentRegistry,
        board: Board,
        processes: ToolProcesses | None = None,
        suspects: Suspects | None = None,
        stops: StopWatch | None = None,
    ) -> None:
        self._stops = stops or StopWatch()
        self._suspects = suspects or Suspects()
        self._processes = processes
        self._turns = ports.turns
        self._notes = ports.notes
        self._artifacts = ports.artifacts
        self._waits = ports.waits
        self._schedules = ports.schedules
        self._registry = registry
        self._board = board

    async def run(self, call: CallInput) -> bool:
        """Run the call unless it has ended, the turn is stopped, or its effect class forbids it;
        whether it waits for something instead.
        """
        read = await self._turns.call_context(call.turn_id, call.step, call.call_id)
        if read.turn.stop_requested:
            return False  # never begun: settling the turn closes it as skipped
        refuse_deadly(read.turn)
        agent = self._registry.agent(read.turn.agent)
        owner = Owner(read.turn.agent, read.facts, agent=agent, spent=read.spent)
        return await self._run(
            call, read.call, owner, agent.tool(read.call.name) if agent else None
        )

    async def run_for(self, call: CallInput, owner: Owner, tool: Tool) -> bool:
        """The same for a tool that a flow calls; whether to stop is asked before."""
        planned = await self._turns.call(call.turn_id, call.step, call.call_id)
        return await self._run(call, planned, owner, tool)

    async def undo(
        self,
        call: CallInput,
        owner: Owner,
        tool: Tool | None,
        begin: Callable[[], Awaitable[int]],
    ) -> None:
        """Run a compensation, also after a stop. begin: marks it running, and says which attempt
        this is, 0 where it has ended.
        """
        planned = await self._turns.call(call.turn_id, call.step, call.call_id)
        if planned.state in CALL_ENDED:
            return
        gate = Gate("run")
        refused = refusal(tool, planned.arguments) if tool else None
        if tool and refused is None:
            facts = call_facts(planned, owner, tool)
            gate = await self._waits.gate(call.turn_id, call.step, call.call_id, facts)
        attempt = await begin()
        if not attempt:
            return
        record = replace(planned, attempt=attempt)
        outcome = Outcome("error", gate.told)
        if gate.verdict == "run":
            outcome = await self._outcome(call, record, owner, tool, refused)
        if outcome.wait is not None:
            outcome = Outcome("error", NOBODY_ASKED)
        await self._finish(call, outcome)

    async def _run(
        self, call: CallInput, planned: CallRecord, owner: Owner, tool: Tool | None
    ) -> bool:
        if planned.state == "waiting":
            return True
        if planned.state in CALL_ENDED:
            return False
        gate, refused = Gate("run"), None
        if tool and planned.wait in ("", "approval"):
            refused = refusal(tool, planned.arguments)
            if refused is None:
                facts = call_facts(planned, owner, tool)
                gate = await self._waits.begin(call.turn_id, call.step, call.call_id, facts)
        if gate.verdict in ("waits", "over"):
            return gate.verdict == "waits"
        if gate.attempt:
            state: CallState = "running" if gate.was_running else "ready"
            record = replace(planned, state=state, attempt=gate.attempt)
        else:
            record = await self._turns.begin_call(call.turn_id, call.step, call.call_id)
            if record.state in CALL_ENDED:
                return False
        clock = asyncio.get_running_loop().time
        began = clock()
        if gate.verdict == "refused":
            outcome = Outcome("error", gate.told)
        else:
            outcome = await self._outcome(call, record, owner, tool, refused)
        if outcome.wait is not None:
            return await self._wait(call, outcome.wait)
        await self._finish(call, outcome, clock() - began)
        return False

    async def _finish(self, call: CallInput, outcome: Outcome, ran_s: float | None = None) -> None:
        await finish(
            self._turns.finish_call(
                call.turn_id,
                call.step,
                call.call_id,
                status=outcome.status,
                result=outcome.text,
                error=outcome.trace,
                ran_s=ran_s,
            )
        )

    async def _wait(self, call: CallInput, wait: Wait) -> bool:
        why_not = await self._waits.open(call.turn_id, call.step, call.call_id, wait)
        if not why_not:
            return True
        await self._finish(call, Outcome("error", why_not))
        return False

    async def _outcome(
        self,
        call: CallInput,
        record: CallRecord,
        owner: Owner,
        tool: Tool | None,
        refused: Outcome | None,
    ) -> Outcome:
        if record.wait and record.wait != "approval":
            waited = await self._waits.outcome(call.turn_id, call.step, call.call_id)
            return waited or Outcome("error", "What it waited for is gone.")
        if tool is None:
            tools = owner.agent.tools if owner.agent else ()
            known = ", ".join(tool.name for tool in tools)
            return Outcome("error", f"There is no tool {record.name!r}. Tools: {known or 'none'}.")
        try:
            async with ProgressWriter(self._turns, self._board, call.turn_id, "tool") as progress:
                known_outcome = await self._after_crash(tool, record)
                if known_outcome is not None:
                    return known_outcome
                if refused is not None:
                    return refused
                agent, spent = owner.agent, owner.spent
                if agent and spent and (told := refused_call(agent, spent, call.call_id)):
                    return Outcome("error", told)
                context = self._context(tool, record, call.turn_id, owner.facts, progress)
                async with self._stops.watching(call.turn_id):
                    outcome = await run_tool(
                        *(tool, record.arguments, context, self._processes),
                        note=lambda: self._suspects.in_thread(call.turn_id),
                        result_bytes=RESULT_BYTES_MAX if agent else TAKEN_BYTES_MAX,
                        is_typed=agent is None,
                    )
                outcome = outcome if agent else bounded(tool.name, outcome)
        except asyncio.CancelledError:
            is_stop = stop_was_asked() and await finish(self._turns.stop_requested(call.turn_id))
            if not is_stop:
                raise
            # The stop may come twice: from the record, and from Temporal.
            outcome = await finish(
                interrupted(tool, record.key, STOPPED, STOP_CHECK_S, processes=self._processes)
            )
        self._board.put(call.turn_id, record.key, f"{tool.label} {MARKS[outcome.status]}")
        return outcome

    async def _after_crash(self, tool: Tool, record: CallRecord) -> Outcome | None:
        """The outcome of an earlier attempt that never ended; None when the call may run again.

        The effect that the call was planned with counts: the code may have changed since.
        """
        if record.state in ("planned", "ready"):
            return None
        if record.effect == "unsafe":
            return Outcome("unknown", f"{CRASHED} {NOT_REPEATED}")
        if record.effect == "verifiable":
            if tool.check is None:
                return Outcome("unknown", f"{CRASHED} {NOT_REPEATED}")
            earlier = await verify(tool, record.key, processes=self._processes)
            if earlier is not None:
                return earlier
        if record.attempt > TOOL_ATTEMPTS_MAX:
            log.error("tool %s ended its worker %d times", record.name, TOOL_ATTEMPTS_MAX)
            return Outcome(
                "error" if record.effect == "pure" else "unknown",
                f"The worker died {TOOL_ATTEMPTS_MAX} times while it ran.",
            )
        return None

    def _context(
        self,
        tool: Tool,
        record: CallRecord,
        turn_id: str,
        facts: FlowFacts,
        progress: ProgressWriter,
    ) -> Context:
        loop = asyncio.get_running_loop()

        def show(text: str) -> None:
            self._board.put(turn_id, record.key, f"{tool.label}: {text}" if text else tool.label)
            progress.show()

        def show_soon(text: str) -> None:  # tools call it from their own threads, too
            loop.call_soon_threadsafe(show, text)

        def plan(steps: tuple[str, ...]) -> None:
            self._board.plan(turn_id, steps)
            progress.show()

        def plan_soon(steps: tuple[str, ...]) -> None:
            loop.call_soon_threadsafe(plan, steps)

        show("")
        return Context(
            key=record.key,
            attempt=record.attempt,
            person=facts.person,
            payload=facts.payload,
            session=facts.session,
            notes=self._notes,
            files=Files(self._artifacts, record.key, turn_id),
            schedules=Schedules(self._schedules, record.key, turn_id),
            on_progress=show_soon,
            on_plan=plan_soon,
        )


def call_facts(planned: CallRecord, owner: Owner, tool: Tool) -> CallFacts:
    """What an approval of the call is bound to."""
    return CallFacts(
        agent=owner.name,
        tool=tool.name,
        tool_hash=tool.definition_hash,
        args_hash=arguments_hash(planned.arguments),
        arguments=planned.arguments,
        effect=tool.effect,
        approval=tool.approval,
        approver=tool.approver,
        can_wait=owner.can_wait,
    )
