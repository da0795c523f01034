"""One answer in the making: the engine thread emits its events, the event loop reads them."""

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
    """The end of an answer that did not fail."""

    reason: WireFinishReason
    usage: Usage
    timings: Timings | None = None
    speculation: SpeculationFigures | None = None
    figures: Mapping[str, object] = field(default_factory=dict)


Piece = TextPiece | ParsedCall | Finished


@dataclass(frozen=True, slots=True)
class FinishedAnswer:
    """A finished answer: `content` and `calls` (name, arguments) as the client sees them, `text`
    and `tokens` as the engine generated them. cached_tokens: prompt tokens that were not computed.
    is_whole: no stop string cut it."""

    content: str
    calls: Sequence[tuple[str, str]]
    text: str
    tokens: tuple[int, ...]
    is_whole: bool
    cached_tokens: int = 0


Remember = Callable[[FinishedAnswer], None]


class Generation(Protocol):
    """An answer in the making, whatever makes it."""

    id: str
    model: str

    def pieces(self) -> AsyncGenerator[list[Piece], None]:
        """Lists of what is ready together; the last item of the last list is Finished.

        Raises EngineError if the answer fails after it has begun.
        """
        ...

    def cancel(self) -> None:
        """Stop it within one step. Does nothing once it has finished."""
        ...


class LoopWaker:
    """Wakes readers on an event loop from the engine thread, once for all that a step brought: a
    wake-up for each reader would cost the engine a change of threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waking: deque[asyncio.Event] = deque()
        self._is_scheduled = False

    def wake(self, reader: asyncio.Event) -> None:
        """Set the reader's event soon. Call it on the engine thread."""
        self._waking.append(reader)
        if not self._is_scheduled and not self.loop.is_closed():
            self._is_scheduled = True
            self.loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        # Cleared before the queue is emptied: a reader added from here on is scheduled again, or
        # the loop below still meets it.
        self._is_scheduled = False
        while self._waking:
            self._waking.popleft().set()


class EngineGeneration:
    """A Generation on an EnginePort. `submit` first.

    The queue between the threads needs no bound of its own: it holds at most max_tokens events.
    """

    def __init__(
        self,
        engine: EnginePort,
        request: Request,
        *,
        waker: LoopWaker,
        parse_calls: bool,
        observe: Listener = lambda event: None,
        remember: Remember = lambda answer: None,
        figures: Mapping[str, object] | None = None,
    ) -> None:
        self._remember = remember
        self._figures = figures or {}
        self._texts: list[str] = []
        self._tokens: list[int] = []
        self._contents: list[str] = []
        self._parsed_calls: list[tuple[str, str]] = []
        self.id = request.id
        self.model = engine.model.name
        self._engine = engine
        self._request = request
        self._observe = observe
        self._parser = ToolCallParser() if parse_calls else None
        self._calls = 0
        self._events: deque[Event] = deque()
        self._logprobs: list[TokenLogprob] = []
        self._ready = asyncio.Event()
        self._waker = waker
        self._finished = False

    def submit(self) -> None:
        """Hand the request over; may run on any thread. Raises what EnginePort.submit raises."""
        self._engine.submit(self._request, self._listen)

    def cancel(self) -> None:
        """Stop it within one step. Does nothing once it has finished."""
        if not self._finished:
            self._engine.abort(self.id)

    def _listen(self, event: Event) -> None:
        """Called on the engine thread."""
        self._observe(event)
        if isinstance(event, TextEvent):
            self._texts.append(event.text)
            self._tokens += event.tokens
        self._events.append(event)
        self._waker.wake(self._ready)

    async def pieces(self) -> AsyncGenerator[list[Piece], None]:
        """Lists of what is ready together; see Generation."""
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
            FinishedAnswer(
                "".join(self._contents),
                self._parsed_calls,
                "".join(self._texts),
                tuple(self._tokens),
                is_whole=event.stop_string is None,
                cached_tokens=event.usage.cached_tokens,
            )
        )
        figures = {**self._figures, **({"kv": event.kv} if event.kv else {})}
        return [*pieces, Finished(reason, event.usage, event.timings, event.speculation, figures)]


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbouring texts as one: a slow reader gets fewer, longer chunks."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, TextPiece) and isinstance(last, TextPiece):
            joined[-1] = TextPiece(last.text + piece.text, last.logprobs + piece.logprobs)
        else:
            joined.append(piece)
    return joined
