"""One choice of an answer: the engine's events become what its reader gets."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace

from roost_inference.errors import EngineError, EngineUnavailable
from roost_inference.http.generation import (
    CompletedAnswer,
    Finished,
    Piece,
    Remember,
    TextPiece,
    WireFinishReason,
)
from roost_inference.prompt.call_markup import CallParser, ParsedCall
from roost_inference.request import Event, FinishEvent, TextEvent, TokenLogprob


class Track:
    """The engine thread calls `listen`, the event loop `take`."""

    def __init__(
        self,
        choice: int,
        *,
        parser: CallParser | None,
        tells_tokens: bool,
        remember: Remember,
        figures: Mapping[str, object],
    ) -> None:
        """parser: of the markup in the text, if it has any; tells_tokens: pieces bring their
        tokens along."""
        self.finished = False
        self._choice = choice
        self._tells_tokens = tells_tokens
        self._remember = remember
        self._figures = figures
        self._parser = parser
        self._events: deque[Event] = deque()
        self._texts: list[str] = []
        self._tokens: list[int] = []
        self._contents: list[str] = []
        self._calls: list[tuple[str, str]] = []
        self._logprobs: list[TokenLogprob] = []
        self._untold: list[int] = []

    def hear(self, event: Event) -> None:
        """Take an event of the engine."""
        if isinstance(event, TextEvent):
            self._texts.append(event.text)
            self._tokens += event.tokens
        self._events.append(event)

    def take(self) -> tuple[list[Piece], EngineError | None]:
        """What has become of the events so far; and why it failed, if it did."""
        pieces: list[Piece] = []
        failure: EngineError | None = None
        while self._events:
            try:
                pieces += self._take(self._events.popleft())
            except EngineError as error:
                failure = error
        return pieces, failure

    def _take(self, event: Event) -> list[Piece]:
        if isinstance(event, FinishEvent):
            self.finished = True
            return self._finish(event)
        self._logprobs += event.logprobs
        if self._tells_tokens:
            self._untold += event.tokens
        return self._parse(event)

    def _parse(self, event: TextEvent) -> list[Piece]:
        if self._parser is None:
            return [self._text(event.text)]
        return self._parts(self._parser.feed(event.text))

    def _parts(self, parts: Iterable[str | ParsedCall]) -> list[Piece]:
        pieces: list[Piece] = []
        for part in parts:
            if isinstance(part, ParsedCall):
                self._calls.append((part.name, part.arguments))
                pieces.append(replace(part, choice=self._choice) if self._choice else part)
            else:
                pieces.append(self._text(part))
        return pieces

    def _text(self, text: str) -> TextPiece:
        self._contents.append(text)
        logprobs, self._logprobs = tuple(self._logprobs), []
        if not self._untold:
            return TextPiece(text, logprobs, (), self._choice)
        tokens, self._untold = tuple(self._untold), []
        return TextPiece(text, logprobs, tokens, self._choice)

    def _finish(self, event: FinishEvent) -> list[Piece]:
        if event.reason == "error":
            raise event.error or EngineError()
        if event.reason == "abort":
            raise EngineUnavailable("The answer was aborted by the engine")
        pieces: list[Piece] = []
        reason: WireFinishReason = event.reason
        if self._parser is not None:
            pieces = self._parts(self._parser.finish(cut_off=event.reason == "length"))
            if event.reason == "stop" and self._calls:
                reason = "tool_calls"
        if self._tells_tokens and event.end_token is not None:
            self._untold.append(event.end_token)
        if self._logprobs or self._untold:
            pieces.append(self._text(""))
        self._remember(
            CompletedAnswer(
                "".join(self._contents),
                self._calls,
                "".join(self._texts),
                tuple(self._tokens),
                whole=event.stop_string is None,
                cached_tokens=event.usage.cached_tokens,
                choice=self._choice,
            )
        )
        figures = {**self._figures, **({"kv": event.kv} if event.kv else {})}
        end = Finished(
            reason,
            event.usage,
            event.timings,
            event.speculation,
            figures,
            event.stop_token if event.stop_string is None else event.stop_string,
            self._choice,
            None if event.prompt_logprobs is None else tuple(event.prompt_logprobs),
            event.offer,
        )
        return [*pieces, end]


def joined(pieces: list[Piece]) -> list[Piece]:
    """The pieces with neighbouring texts joined: a slow reader gets fewer, longer chunks."""
    result: list[Piece] = []
    for piece in pieces:
        last = result[-1] if result else None
        if (
            isinstance(piece, TextPiece)
            and isinstance(last, TextPiece)
            and piece.choice == last.choice
        ):
            result[-1] = TextPiece(
                last.text + piece.text,
                last.logprobs + piece.logprobs,
                last.tokens + piece.tokens,
                piece.choice,
            )
        else:
            result.append(piece)
    return result
