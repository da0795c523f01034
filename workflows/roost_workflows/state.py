"""What crosses Temporal's history: ids, counters and short enumerations, never content."""

from dataclasses import dataclass, field
from typing import Literal

from roost.turn import Finish, OpenCalls
from roost_workflows.ports import StepRecord, TurnRecord

WAIT_LEAST_S = 0.01  # a timer of no length would be no timer


@dataclass(frozen=True, slots=True)
class SessionInput:
    """The argument of a session's run. Everything else is pulled from storage, so nothing is
    carried over.
    """

    conversation_id: str


@dataclass(frozen=True, slots=True)
class BegunTurn:
    """A turn to run, with what its agent sets for it.

    wait_s: there is no turn yet, ask again after this many seconds. Histories of older code do
        not have the field.
    first_step: where a turn that has waited goes on; nor have they this one.
    open_calls: the calls of that step that have not ended; nor have they this one.
    """

    turn_id: str
    stop_requested: bool
    max_steps: int
    wait_s: float = 0.0
    first_step: int = 1
    open_calls: OpenCalls = field(default_factory=OpenCalls)

    @classmethod
    def of(cls, turn: TurnRecord, max_steps: int) -> "BegunTurn":
        """The turn with its agent's step limit, which counts from its latest attempt."""
        max_steps += turn.steps_before
        is_within = turn.first_step <= max_steps
        return cls(
            turn.turn_id,
            turn.stop_requested,
            max_steps,
            first_step=turn.first_step if is_within else max_steps,
            open_calls=turn.open_calls if is_within else OpenCalls(),
        )

    @classmethod
    def postponed(cls, wait_s: float) -> "BegunTurn":
        """No turn yet: ask again after `wait_s` seconds."""
        return cls("", False, 0, max(wait_s, WAIT_LEAST_S))


@dataclass(frozen=True, slots=True)
class GenerateInput:
    """One model call. `last`: the turn's budget of steps ends here, so tools are withheld."""

    turn_id: str
    step: int
    last: bool


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a model call decided. Call ids are ours; names and arguments stay in storage."""

    finish: Finish
    call_ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: StepRecord) -> "StepResult":
        """The decision of a committed step."""
        return cls(record.finish, tuple(call.call_id for call in record.calls))


@dataclass(frozen=True, slots=True)
class CallInput:
    """One tool call of a step."""

    turn_id: str
    step: int
    call_id: str


@dataclass(frozen=True, slots=True)
class GroupInput:
    """The tool group of a step."""

    turn_id: str
    step: int


@dataclass(frozen=True, slots=True)
class SettleInput:
    """The end of a turn that has no answer. `reason` is one of reasons.FAILURE_REASONS.

    is_undone: a flow has undone what it could, and ends now. Histories of older code do not have
        the field.
    """

    turn_id: str
    outcome: Literal["stopped", "failed"]
    reason: str
    is_undone: bool = False
