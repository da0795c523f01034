"""What a committed transaction did, in figures for those who measure; never what people wrote."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

log = logging.getLogger(__name__)

_KEY = "facts"


@dataclass(frozen=True, slots=True)
class MessageAccepted:
    """An event was stored. state: pending, held, ignored, …"""

    channel: str
    state: str


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A turn is over. outcome: done | stopped | failed, reason: its code. Times in seconds, epoch;
    queued_at is when the first message that it answers was received.
    """

    turn_id: str
    conversation_id: str
    agent: str
    outcome: str
    reason: str
    queued_at: float
    started_at: float
    finished_at: float


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """A model call was committed."""

    turn_id: str
    conversation_id: str
    step: int
    model: str
    finish: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    first_token_s: float | None
    started_at: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A tool call ended. status: ok | error | cancelled | unknown | skipped."""

    turn_id: str
    conversation_id: str
    step: int
    call_id: str
    name: str
    status: str
    started_at: float
    finished_at: float


@dataclass(frozen=True, slots=True)
class SendAttempted:
    """One try to send a part ended. outcome: sent | not_sent | ambiguous | failed."""

    outcome: str


@dataclass(frozen=True, slots=True)
class DeliveryEnded:
    """A message to a chat is finished. state: sent | failed | cancelled."""

    outbox_id: str
    turn_id: str | None
    conversation_id: str
    channel: str
    kind: str
    state: str
    created_at: float
    finished_at: float


Fact = MessageAccepted | TurnEnded | ModelCalled | ToolCalled | SendAttempted | DeliveryEnded
Listener = Callable[[Fact], None]

_listeners: list[Listener] = []


def listen(listener: Listener) -> Callable[[], None]:
    """Have this process's facts told to a listener, which must not block; returns what ends it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def record(session: AsyncSession, fact: Fact) -> None:
    """Have a fact told when the transaction commits; costs nothing where nobody listens."""
    if _listeners:
        session.info.setdefault(_KEY, []).append(fact)


def tell_listeners(session: AsyncSession) -> None:
    """Tell the facts of a transaction that has committed. A listener's error disturbs nothing."""
    for fact in session.info.pop(_KEY, ()):
        for listener in tuple(_listeners):
            try:
                listener(fact)
            except Exception:
                log.exception("a figure was not taken")
