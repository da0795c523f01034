"""What a flow's function gets: every step it can take, each kept in the journal."""

import random
import sys
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from roost.agent import Agent
from roost.checks import shown
from roost.context import Person, SessionInfo, plan_lines
from roost.errors import DefinitionError, FlowError, FlowLimit
from roost.flows import decoding
from roost.flows.driving import Run, Shown
from roost.flows.journal import BRANCHES_MAX, Gather, Op, Step
from roost.flows.prompting import subject_of
from roost.flows.tool_arguments import require_tool
from roost.tools import Tool
from roost.waits import (
    APPROVERS,
    WAIT_S_DEFAULT,
    WAIT_S_MAX,
    Approve,
    Approver,
    Ask,
    ContextKind,
    Question,
    Spawn,
)

Seconds = float | timedelta


class Named(Protocol):
    """An agent or a flow."""

    @property
    def name(self) -> str:
        """Its name in the installation."""
        ...


class Facts(Protocol):
    """For whom a flow runs; see FlowFacts."""

    @property
    def key(self) -> str:
        """Identifies the run for ever."""
        ...

    @property
    def person(self) -> Person:
        """Who asked."""
        ...

    @property
    def session(self) -> SessionInfo:
        """Where."""
        ...

    @property
    def payload(self) -> str:
        """What came along with the message."""
        ...


PROMPT_CHARS_MAX: Final = 100_000
MISSING: Final = object()


class Noted:
    """What `compensate` and `progress` give: they are done at once, and may be awaited or not."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


class FlowContext:
    """A flow's steps. What it awaits is kept: after a crash the function runs again from its start,
    and gets the kept results until it comes to a step that has none.

    So the function itself must do the same each time: times and chance come from `now`, `random`
    and `uuid`, and all other work is done by tools.

    key: identifies this run for ever. person, session: for whom it runs, and where. payload: what
    came along with the message and is nobody's words.
    """

    def __init__(self, run: Run, facts: Facts) -> None:
        self._run = run
        self.key = facts.key
        self.person = facts.person
        self.session = facts.session
        self.payload = facts.payload

    def call(self, tool: Tool, /, **arguments: Any) -> Step[Any]:
        """Run a tool. The value has the type that the tool's function says it returns.

        Approvals, effect classes and time limits are those of any call. Raises CallFailed.
        """
        require_tool(tool, "call", arguments)
        return self._step("call", tool.name, arguments, decoding.of_tool(tool), tool)

    def generate(
        self,
        prompt: str,
        /,
        *,
        agent: Agent | None = None,
        instructions: str = "",
        schema: type[Any] | Mapping[str, Any] | None = None,
        **data: Any,
    ) -> Step[Any]:
        """Have the model write a text, from the prompt and the data alone.

        agent: whose instructions and model settings count; its tools are not used.
        schema: a pydantic model or another type, or a JSON schema: the value is of that type.
        Raises GenerateFailed.
        """
        if not prompt.strip():
            raise FlowError("generate: the prompt is empty.")
        form, decode = decoding.of_schema(schema)
        asked: dict[str, Any] = {"prompt": prompt, "data": data}
        if agent is not None:
            asked["agent"] = agent.name
        if instructions:
            asked["instructions"] = instructions
        if form is not None:
            asked["schema"] = form
        step = self._step("generate", subject_of(prompt), asked, decode, agent)
        if len(step.arguments) > PROMPT_CHARS_MAX:
            raise FlowLimit(
                f"{step.words}: prompt and data have {len(step.arguments)} characters, and "
                f"a model call takes at most {PROMPT_CHARS_MAX}."
            )
        return step

    def ask(
        self,
        question: str | Question | Sequence[str | Question],
        options: Sequence[str] = (),
        *,
        free_text: bool = True,
        timeout: Seconds = WAIT_S_DEFAULT,
        default: Any = MISSING,
    ) -> Step[Any]:
        """Ask the person. One question gives the answer as a text; a sequence of up to three is a
        form, and gives a dict of the answers by the questions' texts.

        default: the value where nobody answers in time; without one that raises NoAnswer.
        timeout: in seconds or a timedelta.
        """
        is_form = not isinstance(question, str | Question)
        given = [question] if isinstance(question, str | Question) else list(question)
        if isinstance(options, str):
            raise FlowError(f"ask: options are a list of texts, not {shown(options)}.")
        if options and is_form:
            raise FlowError("ask: options belong to one question; give a form's to its questions.")
        questions = tuple(
            one if isinstance(one, Question) else Question(one, tuple(options), free_text)
            for one in given
        )
        wait = Ask(questions, _seconds(timeout))
        decode = decoding.of_answers(wait, default, is_form=is_form, missing=MISSING)
        asked = {"questions": questions, "timeout_s": wait.timeout_s}
        return self._step("ask", questions[0].text, asked, decode, wait)

    def approve(
        self, text: str, *, approver: Approver = "requester", timeout: Seconds = WAIT_S_DEFAULT
    ) -> Step[bool]:
        """Ask for a yes or a no. Silence is a no."""
        if approver not in APPROVERS:
            raise DefinitionError(f"approver must be one of {', '.join(APPROVERS)}.")
        wait = Approve(text, approver, _seconds(timeout))
        asked = {"text": text, "approver": approver, "timeout_s": wait.timeout_s}
        return self._step("approve", text, asked, decoding.verdict, wait)

    def sleep(self, seconds: Seconds | None = None, *, until: datetime | None = None) -> Step[None]:
        """Wait for some seconds (or a timedelta), or until a time that has a zone; at most 90 days.

        Nothing runs meanwhile.
        """
        if (seconds is None) == (until is None):
            raise FlowError("sleep: give either seconds or until.")
        if until is not None:
            if until.tzinfo is None:
                raise FlowError(f"sleep: until={until.isoformat()} has no time zone.")
            end = until.timestamp()
            step = self._step("sleep", "", {"until": end}, decoding.slept)
            # Judged once, as it begins: by a clock that was set back it would last longer.
            step.refusal = lambda now: decoding.TOO_LONG if end - now > WAIT_S_MAX else ""
            return step
        assert seconds is not None
        length = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
        if not 0 <= length <= WAIT_S_MAX:
            raise FlowLimit(f"{decoding.TOO_LONG} It can't be shorter than 0 seconds.")
        return self._step("sleep", "", {"seconds": length}, decoding.nothing)

    def spawn(
        self,
        agent: Named | str,
        task: str,
        *,
        context: ContextKind = "brief",
        wait: bool = True,
        schema: type[Any] | Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        max_steps: int | None = None,
    ) -> Step[Any]:
        """Give a task to another agent, or a flow, which works in a conversation of its own.

        The value is its answer, or None with `wait=False`: then the answer comes to the
        conversation later. Raises SpawnFailed.
        """
        name = agent if isinstance(agent, str) else agent.name
        form, decode = decoding.of_child(schema, is_waited=wait)
        order = Spawn(name, task, context, wait, form, max_tokens, max_steps)
        asked = {
            "task": task,
            "context": context,
            "wait": wait,
            "schema": form,
            "max_tokens": max_tokens,
            "max_steps": max_steps,
        }
        return self._step("spawn", name, asked, decode, order)

    def gather(self, *branches: Awaitable[Any]) -> Gather:
        """Run steps, or coroutines of your own that take steps, side by side; their values in
        order. All run to their ends; then the first error, in order, is raised.
        """
        if len(branches) > BRANCHES_MAX:
            raise FlowLimit(f"gather runs at most {BRANCHES_MAX} branches at once.")
        return Gather(branches)

    def compensate(self, tool: Tool, /, **arguments: Any) -> Noted:
        """Have this tool run if the flow is stopped or fails later: what it undoes was done.

        The newest one runs first. Nobody can be asked then, so the tool may not need an approval.
        """
        require_tool(tool, "compensate", arguments)
        if tool.approval in ("ask", "deny"):
            raise FlowError(
                f"compensate: {tool.name} needs an approval, and nobody can be asked after a stop."
            )
        step = Step("compensate", tool.name, arguments, decoding.nothing, tool)
        self._run.note(step, lambda: "")
        return Noted()

    def progress(self, text: str = "", *, steps: Sequence[str] = (), done: int = 0) -> Noted:
        """Tell people what the flow is doing; the latest call wins.

        steps: the plan it follows, of which the first `done` are finished.
        """
        plan = plan_lines(steps, done) if steps else ()
        if not plan and self._run.shown is not None:
            plan = self._run.shown.plan
        self._run.shown = Shown(text, plan)
        return Noted()

    def now(self) -> datetime:
        """The time in UTC, the same in every run over this journal."""
        return datetime.fromtimestamp(
            float(self._value("now", lambda: repr(self._run.clock()))), UTC
        )

    def random(self) -> float:
        """A number from 0 to below 1, the same in every run over this journal."""
        return float(self._value("random", lambda: repr(random.random())))

    def uuid(self) -> uuid.UUID:
        """A random id, the same in every run over this journal."""
        return uuid.UUID(self._value("uuid", lambda: str(uuid.uuid4())))

    def _value(self, op: Op, result: Callable[[], str]) -> str:
        return self._run.note(Step(op, "", {}, decoding.nothing), result).result

    def _step(
        self,
        op: Op,
        name: str,
        arguments: Mapping[str, Any],
        decode: Callable[[Any], Any],
        target: object = None,
    ) -> Step[Any]:
        step = Step(op, name, arguments, decode, target)
        caller = sys._getframe(2)
        step.made_at = f"{Path(caller.f_code.co_filename).name}:{caller.f_lineno}"
        self._run.made.append(step)
        return step


def _seconds(length: Seconds) -> float:
    return length.total_seconds() if isinstance(length, timedelta) else float(length)
