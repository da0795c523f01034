"""What sessions need from storage; the platform's database implements these.

Every method is one committed transaction and is safe to call again after a crash: it returns what
the first call did. What does not exist raises LookupError; what would change a turn that has ended
raises TurnOver.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, get_args

from roost.effects import Effect
from roost.flows.advancing import FlowFacts
from roost.messages import MessageFile, NoteKind
from roost.schedules.keeper import ScheduleKeeper
from roost.turn import Finish, OpenCalls
from roost_workflows.hints.session_hints import NoHints, SessionHints
from roost_workflows.model_calls import Asked, Given, Spent, Usage
from roost_workflows.storage.ends import RecordedStops, Settled
from roost_workflows.storage.flows import FlowRuns, NoFlows
from roost_workflows.storage.tools import Artifacts, PersonNotes
from roost_workflows.storage.waits import NoWaits, Waits

# `skipped` is a call that never began.
CallStatus = Literal["ok", "error", "cancelled", "unknown", "skipped"]
# waiting: for a person, a child or a time; ready: that is over, and the call goes on.
CallState = Literal["planned", "waiting", "ready", "running"] | CallStatus
CALL_ENDED: Final[frozenset[str]] = frozenset(get_args(CallStatus))


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A running turn: ids and counters only, fit for Temporal's history.

    first_step: the step to go on with. open_calls: its calls that have not ended; none for a flow,
    which reads its journal. steps_before: of earlier attempts, which count for no limit.
    """

    turn_id: str
    conversation_id: str
    session_id: str
    number: int
    agent: str
    stop_requested: bool
    worker_deaths: int = 0
    first_step: int = 1
    open_calls: OpenCalls = field(default_factory=OpenCalls)
    steps_before: int = 0


@dataclass(frozen=True, slots=True)
class Postponed:
    """Messages wait, but more may come in the same breath: ask again in `wait_s` seconds."""

    wait_s: float


@dataclass(frozen=True, slots=True)
class TranscriptMessage:
    """One message of the transcript as the model is to see it.

    forwarded_from: whose words the content is, where a user passed it on.
    payload: what came along with a user message and is nobody's words.
    quoted: the quoted passage a user message came with, rendered apart from its text.
    context: in groups, (name, text) of what was said since the agent was last spoken to; None
        elsewhere.
    tool_calls: (call id, tool name, arguments as JSON text) of an assistant message.
    note: what happened to the message, shown to the model after it. note_kind: what to decide by.
    files: the files that it came with, and what was read of them.
    position: its place in the session's transcript; None for what stands in none.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    message_id: str = ""
    forwarded_from: str = ""
    payload: str = ""
    quoted: Mapping[str, Any] | None = None
    context: tuple[tuple[str, str], ...] | None = None
    tool_calls: tuple[tuple[str, str, str], ...] = ()
    tool_call_id: str = ""
    name: str = ""
    status: str = ""
    note_kind: NoteKind = ""
    note: str = ""
    engine_message_id: str = ""
    files: tuple[MessageFile, ...] = ()
    position: int | None = None


@dataclass(frozen=True, slots=True)
class TurnContext:
    """All that one model call needs, read in one transaction. `person_id` scopes notes;
    `cache_salt` keeps caches of different tenants apart; `payload` came along with the turn's
    messages; `end`: see `Asked`; `given`: by whom the task of a child was given, None for a chat.
    """

    turn: TurnRecord
    person_id: str
    person_name: str
    channel: str
    session_key: str
    cache_salt: str
    messages: Sequence[TranscriptMessage]
    steered: int = 0
    end: int = 0
    spent: Spent = field(default_factory=Spent)
    payload: str = ""
    given: Given | None = None


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A tool call the model asked for. `arguments`: canonical JSON; `effect`: the tool's class."""

    call_id: str
    name: str
    arguments: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A committed model call: what it decided, without content."""

    step: int
    finish: Finish
    calls: tuple[PlannedCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelCall:
    """What one model call decided, said and cost. `started_at` is in seconds since the epoch.

    calls: the tool calls to run; only with finish `tools`. limit: one of
        reasons.LIMIT_REASONS where it took the tools away; empty elsewhere.
    """

    finish: Finish
    text: str = ""
    calls: Sequence[PlannedCall] = ()
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    engine_message_id: str = ""
    started_at: float = 0.0
    limit: str = ""
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A tool call about to run. `attempt` starts at 1; `state` is what was stored before this
    attempt. `wait`: what it waits for or has waited for, a WaitKind; else empty.

    key: identifies this call for ever (turn:step:call), handed to the tool as `ctx.key`.
    """

    call_id: str
    name: str
    arguments: str
    effect: Effect
    state: CallState
    attempt: int
    key: str
    result: str = ""
    wait: str = ""


@dataclass(frozen=True, slots=True)
class CallContext:
    """A call of an agent's turn with what it needs to run. spent: by the whole turn."""

    turn: TurnRecord
    call: CallRecord
    facts: FlowFacts
    spent: Spent


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The latest state of a running turn for people; lossy. is_delayed: they are told that once."""

    phase: str
    text: str = ""
    tools: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()
    is_delayed: bool = False


class Turns(Protocol):
    """The life of a turn in storage."""

    async def begin(self, conversation_id: str) -> TurnRecord | Postponed | None:
        """Resume the conversation's running turn, or its waiting one when something it waits for is
        there; else start one from its pending inbox rows, as many as its queue mode takes at once.
        None when there is nothing to do.

        Starting writes the user messages to the transcript and a first progress snapshot in the
        same transaction.
        """
        ...

    async def get(self, turn_id: str) -> TurnRecord:
        """The turn. Raises LookupError."""
        ...

    async def step(self, turn_id: str, step: int) -> StepRecord | None:
        """The step if an earlier attempt committed it."""
        ...

    async def context(self, turn_id: str, step: int) -> TurnContext:
        """Pull messages that arrived meanwhile into the transcript if the conversation steers, then
        read what the model is to see.

        Nothing is pulled while a tool group is open: no user comes between a call and its result.
        """
        ...

    async def commit_step(self, turn_id: str, step: int, call: ModelCall) -> StepRecord:
        """Commit a model call. With finish `tools` the group stays open until `close_group`.

        Any other finish except `stopped` ends the turn: the assistant message, the outbox row and
        the turn's state commit together. `stopped` keeps the partial text for `settle`, which may
        happen in the same transaction. Called again, it returns the first record.
        """
        ...

    async def call(self, turn_id: str, step: int, call_id: str) -> CallRecord:
        """The call as it is stored, without beginning it."""
        ...

    async def call_context(self, turn_id: str, step: int, call_id: str) -> CallContext:
        """The same with what it needs to run, read in one transaction."""
        ...

    async def begin_call(self, turn_id: str, step: int, call_id: str) -> CallRecord:
        """Mark a call running and count the attempt; a finished call comes back unchanged."""
        ...

    async def finish_call(
        self,
        turn_id: str,
        step: int,
        call_id: str,
        *,
        status: CallStatus,
        result: str,
        error: str = "",
        ran_s: float | None = None,
    ) -> None:
        """Store its result, once. error: for operators; ran_s: seconds by a clock nobody sets."""
        ...

    async def close_group(self, turn_id: str, step: int) -> None:
        """Append the assistant message and all results at once; unfinished calls get typed ones."""
        ...

    async def stop_requested(self, turn_id: str) -> bool:
        """Whether a stop is recorded for the turn."""
        ...

    async def worker_died(self, turn_id: str) -> int:
        """Count one more worker that died while it computed for the turn; how many there were, 0
        for a turn that does not run. The one method that counts again when it is called again.
        """
        ...

    async def note_error(self, turn_id: str, error: str) -> None:
        """Keep what went wrong in a running turn, for operators alone: the engine's own words or a
        trace. The latest counts; the next committed step forgets it.
        """
        ...

    async def settle(
        self, turn_id: str, *, outcome: Literal["stopped", "failed"], reason: str
    ) -> Settled:
        """End a turn that has no answer: close the open group with typed results, keep the partial
        text with a note, queue the final status or error; once.

        reason: a code of reasons.FAILURE_REASONS when failed; storage puts it into words.
        """
        ...

    async def progress(self, turn_id: str, snapshot: Snapshot) -> None:
        """Overwrite the turn's progress row unless the turn is over."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the worker is given by the platform's wiring."""

    turns: Turns
    notes: PersonNotes
    hints: SessionHints = field(default_factory=NoHints)
    artifacts: Artifacts | None = None
    waits: Waits = field(default_factory=NoWaits)
    schedules: ScheduleKeeper | None = None
    flows: FlowRuns = field(default_factory=NoFlows)
    stops: RecordedStops | None = None
