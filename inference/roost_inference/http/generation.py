"""An answer that is being generated: the engine thread makes it, the event loop reads it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from roost_inference.errors import EngineError, EngineUnavailable
from roost_inference.http.engine_port import EnginePort
from roost_inference.prompt.tool_calls import ParsedCall, ToolCallParser
from roost_inference.request import (
    Event,
    FinishEvent,
    Listener,
    Request,
    SpeculationFigures,
    TextEvent,
    Timings,
    TokenLogprob,
    Usage,
)

WireFinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Text for the reader, and the logprobs of the tokens since the last piece."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer that did not fail. stop_string: which one of the request ended it."""

    reason: WireFinishReason
    usage: Usage
    timings: Timings | None = None
    speculation: SpeculationFigures | None = None
    figures: Mapping[str, object] = field(default_factory=dict)
    stop_string: str | None = None


Piece = TextPiece | ParsedCall | Finished


@dataclass(frozen=True, slots=True)
class CompletedAnswer:
    """An answer that has ended: `content` and `calls` as the client sees them, `text` and `tokens`
    as the model generated them.

    whole: no stop string cut it; cached_tokens: tokens of its prompt that were not computed.
    """

    content: str
    calls: Sequence[tuple[str, str]]
    text: str
    tokens: tuple[int, ...]
    whole: bool
    cached_tokens: int = 0


Remember = Callable[[CompletedAnswer], None]


class Generation(Protocol):
    """An answer of any engine, as the server sees it.

    opening: the tag of a reasoning block that the prompt has opened, else empty. build: of the
    engine, for the answer's fingerprint.
    """

    id: str
    build: str
    model: str
    opening: str

    def pieces(self) -> AsyncGenerator[list[Piece], None]:
        """Yields what is ready, in lists; the last item of the last list is Finished.

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


class EngineGeneration:
    """A Generation of an EnginePort. Call `submit` first.

    max_tokens of the request bounds the queue between the threads.
    """

    def __init__(
        self,
        engine: EnginePort,
        request: Request,
        *,
        notifier: LoopNotifier,
        parse_calls: bool,
        observe: Listener = lambda event: None,
        remember: Remember = lambda answer: None,
        figures: Mapping[str, object] | None = None,
        opening: str = "",
    ) -> None:
        self.opening = opening
        self._remember = remember
        self._figures = figures or {}
        self._texts: list[str] = []
        self._tokens: list[int] = []
        self._contents: list[str] = []
        self._parsed_calls: list[tuple[str, str]] = []
        self.id = request.id
        self.model = engine.model.name
        self.build = f"{engine.model.name} {engine.model.build}"
        self._engine = engine
        self._request = request
        self._observe = observe
        self._parser = ToolCallParser() if parse_calls else None
        self._calls = 0
        self._events: deque[Event] = deque()
        self._logprobs: list[TokenLogprob] = []
        self._ready = asyncio.Event()
        self._notifier = notifier
        self._finished = False

    def submit(self) -> None:
        """Queue the request; any thread may call it. Raises what EnginePort.submit raises."""
        self._engine.submit(self._request, self._listen)

    def cancel(self) -> None:
        """See Generation."""
        if not self._finished:
            self._engine.abort(self.id)

    def _listen(self, event: Event) -> None:
        """Take an event; the engine thread calls it."""
        self._observe(event)
        if isinstance(event, TextEvent):
            self._texts.append(event.text)
            self._tokens += event.tokens
        self._events.append(event)
        self._notifier.notify(self._ready)

    async def pieces(self) -> AsyncGenerator[list[Piece], None]:
        """See Generation."""
        while not self._finished:
            await self._ready.wait()
            self._ready.clear()
            pieces: list[Piece] = []
            failure: EngineError | None = None
            while self._events:
                try:
                    pieces += self._take(self._events.popleft())
                except EngineError as error:
                    failure = error
            if pieces:
                yield _joined(pieces)
            if failure is not None:
                raise failure

    def _take(self, event: Event) -> list[Piece]:
        if isinstance(event, FinishEvent):
            self._finished = True
            return self._finish(event)
        self._logprobs += event.logprobs
        return self._parse(event)

    def _parse(self, event: TextEvent) -> list[Piece]:
        if self._parser is None:
            return [self._text(event.text)]
        pieces: list[Piece] = []
        for part in self._parser.feed(event.text):
            if isinstance(part, ParsedCall):
                self._calls += 1
                self._parsed_calls.append((part.name, part.arguments))
                pieces.append(part)
            else:
                pieces.append(self._text(part))
        return pieces

    def _text(self, text: str) -> TextPiece:
        self._contents.append(text)
        logprobs, self._logprobs = tuple(self._logprobs), []
        return TextPiece(text, logprobs)

    def _finish(self, event: FinishEvent) -> list[Piece]:
        if event.reason == "error":
            raise event.error or EngineError()
        if event.reason == "abort":
            raise EngineUnavailable("The answer was aborted by the engine")
        pieces: list[Piece] = []
        reason: WireFinishReason = event.reason
        rest = ""
        if self._parser is not None:
            rest = self._parser.finish(cut_off=event.reason == "length")
            if event.reason == "stop" and self._calls:
                reason = "tool_calls"
        if rest or self._logprobs:
            pieces.append(self._text(rest))
        self._remember(
            CompletedAnswer(
                "".join(self._contents),
                self._parsed_calls,
                "".join(self._texts),
                tuple(self._tokens),
                whole=event.stop_string is None,
                cached_tokens=event.usage.cached_tokens,
            )
        )
        figures = {**self._figures, **({"kv": event.kv} if event.kv else {})}
        end = Finished(
            reason, event.usage, event.timings, event.speculation, figures, event.stop_string
        )
        return [*pieces, end]


def _joined(pieces: list[Piece]) -> list[Piece]:
    """The pieces with neighbouring texts joined: a slow reader gets fewer, longer chunks."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, TextPiece) and isinstance(last, TextPiece):
            joined[-1] = TextPiece(last.text + piece.text, last.logprobs + piece.logprobs)
        else:
            joined.append(piece)
    return joined
