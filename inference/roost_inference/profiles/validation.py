"""Measures a running engine by requests of its own, behind all others: speed, loads, equality."""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from roost_inference.errors import EngineError
from roost_inference.profiles.records import Figures
from roost_inference.request import (
    EngineSession,
    EngineStats,
    Event,
    FinishEvent,
    Listener,
    ModelInfo,
    Request,
    SamplingParams,
    ServiceClass,
    TextEvent,
)

TEXT: Final = "The ferry leaves the old harbour at nine, and number {} waits for the next tram. "
PROMPT_TOKENS_MAX: Final = 512
ANSWER_TOKENS: Final = 48
ROUNDS: Final = 3
REQUEST_S: Final = 120.0
LOOK_S: Final = 0.05


class Disturbed(Exception):
    """Somebody else's request came, or the engine is busy: the figures would say nothing."""


class SessionsPort(Protocol):
    """The part of the session control that the validation needs."""

    def offload(self, session: EngineSession) -> dict[str, Any]:
        """Give back the session's cells; its KV is kept below the device."""
        ...

    def close(self, session: EngineSession) -> dict[str, Any]:
        """Give back the session's cells and pins, and forget it."""
        ...


class MeasuredEngine(Protocol):
    """What is measured; EnginePort is one."""

    @property
    def model(self) -> ModelInfo:
        """The loaded model."""
        ...

    @property
    def store(self) -> object | None:
        """The tiers below the device, None if there are none."""
        ...

    @property
    def session_control(self) -> SessionsPort:
        """Offloads and closes sessions."""
        ...

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids."""
        ...

    def submit(self, request: Request, listener: Listener) -> None:
        """Queue a request."""
        ...

    def abort(self, request_id: str) -> None:
        """Stop a request."""
        ...

    def stats(self) -> EngineStats:
        """Counters and gauges."""
        ...


def is_idle(stats: EngineStats) -> bool:
    """Whether nobody is served and nobody waits."""
    return stats.running == 0 and stats.waiting == 0


def measure(
    engine: MeasuredEngine, stopped: Callable[[], bool], now: Callable[[], float] = time.time
) -> Figures:
    """The best of a few rounds. Raises Disturbed as soon as somebody else wants the engine or
    `stopped` says so, EngineError if the engine refuses. Leaves no session behind."""
    size = min(PROMPT_TOKENS_MAX, engine.model.context_length // 2 - ANSWER_TOKENS)
    if size < 16:
        raise Disturbed("the context is too short to measure in")
    rounds = [_Round(engine, stopped, number, size).run() for number in range(ROUNDS)]
    loads = [one.load_ms for one in rounds if one.load_ms is not None]
    return Figures(
        decode=max(one.decode for one in rounds),
        prefill=max(one.prefill for one in rounds),
        compute_ms=min(one.compute_ms for one in rounds),
        load_ms=min(loads) if loads else None,
        is_equal=all(one.is_equal for one in rounds),
        at=now(),
    )


class _Round:
    """One prompt twice, in a session of its own: computed, then from the tier it was moved to."""

    def __init__(
        self, engine: MeasuredEngine, stopped: Callable[[], bool], number: int, size: int
    ) -> None:
        self._engine = engine
        self._stopped = stopped
        self._prompt = engine.tokenize(TEXT.format(number) * size)[:size]
        # A salt of its own: nothing of it is shared with a tenant or kept from an earlier start.
        self._session = EngineSession(f"validation-{number}", secrets.token_hex(16))

    def run(self) -> Figures:
        try:
            computed, tokens = self._ask()
            again, repeated = None, tokens
            if self._engine.store is not None:
                self._engine.session_control.offload(self._session)
                again, repeated = self._ask()
        finally:
            with contextlib.suppress(EngineError):  # unknown, if the engine never got to it
                self._engine.session_control.close(self._session)
        first_s = _first_token_s(computed)
        was_loaded = again is not None and again.usage.cached_tokens > 0
        return Figures(
            decode=(computed.usage.completion_tokens - 1)
            / max(computed.timings.total_s - computed.timings.queue_s - first_s, 1e-6),
            prefill=len(self._prompt) / max(first_s, 1e-6),
            compute_ms=first_s * 1000,
            load_ms=_first_token_s(again) * 1000 if again is not None and was_loaded else None,
            is_equal=tokens == repeated,
            at=0.0,
        )

    def _ask(self) -> tuple[FinishEvent, list[int]]:
        """One answer to its end, given up as soon as anybody else is served or waits."""
        id = f"validation-{secrets.token_hex(8)}"
        done = threading.Event()
        tokens: list[int] = []
        last: list[FinishEvent] = []

        def listen(event: Event) -> None:
            if isinstance(event, TextEvent):
                tokens.extend(event.tokens)
            else:
                last.append(event)
                done.set()

        before = self._engine.stats()
        if not is_idle(before):
            raise Disturbed("the engine is busy")
        self._engine.submit(
            Request(
                id,
                self._prompt,
                ANSWER_TOKENS,
                SamplingParams(temperature=0.0),
                session=self._session,
                tenant="validation",
                priority=ServiceClass.BACKGROUND,
                ignore_eos=True,
            ),
            listen,
        )
        deadline = time.monotonic() + REQUEST_S
        while not done.wait(LOOK_S):
            stats = self._engine.stats()
            is_alone = stats.running + stats.waiting <= 1
            if self._stopped() or not is_alone or time.monotonic() > deadline:
                self._engine.abort(id)
                done.wait(REQUEST_S)
                raise Disturbed("somebody else is served, or the engine stops")
        ended = sum(self._engine.stats().requests_total.values())
        if ended - sum(before.requests_total.values()) > 1:
            raise Disturbed("somebody else was served meanwhile")
        if last[0].error is not None:
            raise last[0].error
        return last[0], tokens


def _first_token_s(event: FinishEvent) -> float:
    """Seconds from admission to the first token."""
    return max((event.timings.first_token_s or event.timings.total_s) - event.timings.queue_s, 0.0)
