"""The records that the store in memory keeps: conversations, turns, steps and calls."""

from dataclasses import dataclass, field

from roost.turn import Finish
from roost_workflows.model_calls import Asked, Usage
from roost_workflows.ports import (
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
