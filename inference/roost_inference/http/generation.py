"""An answer that is being generated: the engine thread makes it, the event loop reads it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from roost_inference.prompt.call_markup import ParsedCall
from roost_inference.request import (
    KvOffer,
    PromptToken,
    SpeculationFigures,
    Timings,
    TokenLogprob,
    Usage,
)

WireFinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Text for the reader, and the logprobs of the tokens since the last piece; the tokens
    themselves, too, where they are asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    tokens: tuple[int, ...] = ()
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a choice that did not fail. stop_reason: which stop string or stop token of the
    request ended it. offer: see FinishEvent."""

    reason: WireFinishReason
    usage: Usage
    timings: Timings | None = None
    speculation: SpeculationFigures | None = None
    figures: Mapping[str, object] = field(default_factory=dict)
    stop_reason: str | int | None = None
    choice: int = 0
    prompt_logprobs: Sequence[PromptToken | None] | None = None
    offer: KvOffer | str | None = None


Piece = TextPiece | ParsedCall | Finished


@dataclass(frozen=True, slots=True)
class CompletedAnswer:
    """An answer that has ended: `content` and `calls` as the client sees them, `text` and `tokens`
    as the model generated them.

    whole: no stop string cut it; cached_tokens: tokens of its prompt that were not computed;
    choice: which of the request's answers it is.
    """

    content: str
    calls: Sequence[tuple[str, str]]
    text: str
    tokens: tuple[int, ...]
    whole: bool
    cached_tokens: int = 0
    choice: int = 0


Remember = Callable[[CompletedAnswer], None]


class Generation(Protocol):
    """An answer of any engine, as the server sees it.

    opening: the tag of a reasoning block that the prompt has opened, else empty. build: of the
    engine, for the answer's fingerprint. prompt_tokens: those of the prompt, where they are known.
    """

    id: str
    build: str
    model: str
    opening: str
    prompt_tokens: Sequence[int]

    def pieces(self) -> AsyncGenerator[list[Piece], None]:
        """Yields what is ready, in lists; the last item of each choice is Finished.

        Raises EngineError if the answer fails after it has begun.
        """
        ...

    def cancel(self) -> None:
        """Stop it within one step. Does nothing once it has finished."""
        ...


class LoopNotifier:
    """Wakes readers on the event loop from the engine thread, all those of a step at once: each
    wake-up costs the engine a change of threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._notified: deque[asyncio.Event] = deque()
        self._is_scheduled = False

    def notify(self, reader: asyncio.Event) -> None:
        """Wake a reader soon. The engine thread calls it."""
        self._notified.append(reader)
        if not self._is_scheduled and not self.loop.is_closed():
            self._is_scheduled = True
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        # First, so that a reader that is added from here on is woken below or by another call.
        self._is_scheduled = False
        while self._notified:
            self._notified.popleft().set()
