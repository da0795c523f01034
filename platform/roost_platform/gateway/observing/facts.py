"""What became of calls, and what is true now; never what was asked or answered."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from roost_platform.gateway.keys.ports import Spent
from roost_platform.gateway.request import Family, ModelRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallEnded:
    """A call that was admitted is over. model: as the client named it. agent: empty for clients.

    traceparent: the client's trace, as W3C's header has it; empty without one. ended_at: seconds
    since the epoch.
    """

    family: Family
    model: str
    spent: Spent
    ended_at: float
    agent: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A request was answered with an error and nothing else. code: the error's."""

    code: str


@dataclass(frozen=True, slots=True)
class RequestRouted:
    """A request over several engines has come to a step. engine: its name, of the settings.

    step: `sent`, `begun`, `ended` or `failed` at an engine that answers; `asked`, `offered`,
    `no offer` or `released` at one that reads prompts for it.
    """

    engine: str
    step: str


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """running: calls that each provider answers now. waiting: calls that were taken in and that no
    provider answers yet. cooling_s: how long each target of the settings is still passed over, 0
    for one in use; cooldowns: how often that began.
    """

    running: Mapping[str, int]
    waiting: int
    cooling_s: Mapping[str, float]
    cooldowns: Mapping[str, int]


Fact = CallEnded | RequestRefused | RequestRouted
Listener = Callable[[Fact], None]

_listeners: list[Listener] = []


def listen(listener: Listener) -> Callable[[], None]:
    """Have this process's facts told to a listener, which must not block; returns what ends it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def tell(fact: Fact) -> None:
    """Tell a fact. A listener's error disturbs nothing."""
    for listener in tuple(_listeners):
        try:
            listener(fact)
        except Exception:
            log.exception("a figure of the gateway was not taken")


def tell_step(step: str, engine: str) -> None:
    """Tell how far a request over several engines has come."""
    tell(RequestRouted(engine, step))


def tell_end(request: ModelRequest, spent: Spent, headers: Mapping[str, str]) -> None:
    """Tell that a client's call is over; costs nothing where nobody listens."""
    if _listeners:
        traceparent = headers.get("traceparent", "")
        tell(CallEnded(request.family, request.model, spent, time.time(), traceparent=traceparent))
