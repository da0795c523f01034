"""The records that the store in memory keeps: conversations, turns, steps and calls."""

from dataclasses import dataclass, field, replace

from roost.turn import Finish, OpenCalls
from roost_workflows.model_calls import Asked, Spent, Usage
from roost_workflows.ports import (
    CALL_ENDED,
    CallState,
    PlannedCall,
    Snapshot,
    TranscriptMessage,
    TurnRecord,
)


@dataclass(slots=True)
class StoredCall:
    """A tool call and what became of it."""

    planned: PlannedCall
    state: CallState = "planned"
    attempts: int = 0
    result: str = ""
    error: str = ""


@dataclass(slots=True)
class StoredStep:
    """A committed model call."""

    finish: Finish
    text: str
    calls: dict[str, StoredCall]
    usage: Usage
    is_open: bool
    asked: Asked | None = None


@dataclass(slots=True)
class StoredTurn:
    """A turn and all that happened in it. state: running | done | stopped | failed."""

    record: TurnRecord
    steps: dict[int, StoredStep] = field(default_factory=dict)
    state: str = "running"
    reason: str = ""
    error: str = ""
    snapshots: list[Snapshot] = field(default_factory=list)

    @property
    def spent(self) -> Spent:
        """What it has used so far."""
        steps = self.steps.values()
        return Spent(
            tuple(
                (one.planned.call_id, one.planned.name, one.planned.arguments)
                for _, stored in sorted(self.steps.items())
                for one in stored.calls.values()
            ),
            sum(s.usage.prompt_tokens + s.usage.completion_tokens for s in steps),
            sum(s.usage.duration_s for s in steps),
        )

    @property
    def resumed(self) -> TurnRecord:
        """The turn with where it goes on."""
        last = max(self.steps, default=0)
        if not last or not self.steps[last].is_open:
            return replace(self.record, first_step=last + 1)
        calls = self.steps[last].calls
        ready = tuple(id for id, call in calls.items() if call.state not in CALL_ENDED)
        return replace(self.record, first_step=last, open_calls=OpenCalls(ready))


@dataclass(frozen=True, slots=True)
class Sent:
    """A queued outbox message."""

    conversation_id: str
    turn_id: str
    kind: str
    text: str


@dataclass(slots=True)
class StoredConversation:
    """A conversation: what waits, what was said, its turns by id."""

    pending: list[TranscriptMessage] = field(default_factory=list)
    transcript: list[TranscriptMessage] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
