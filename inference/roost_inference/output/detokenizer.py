"""Turns tokens into text as they come: whole UTF-8 characters, without stop strings."""

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from roost_inference.request import TokenLogprob


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is certain, with the tokens and logprobs since the last piece."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]


@dataclass(slots=True)
class TextStream:
    """Incremental detokeniser with stop strings.

    Text is withheld while it ends in an unfinished character or in the beginning of a stop
    string. Once `stop_string` is set, the text before it has been released and no more follows.
    """

    token_bytes: Callable[[int], bytes]
    stop: tuple[str, ...] = ()
    stop_string: str | None = None
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    _held: str = ""
    _tokens: list[int] = field(default_factory=list)
    _logprobs: list[TokenLogprob] = field(default_factory=list)

    def push(self, token: int, logprob: TokenLogprob | None = None) -> Piece | None:
        """Take one token; returns the text that it makes certain, None if there is none."""
        self._tokens.append(token)
        if logprob is not None:
            self._logprobs.append(logprob)
        self._held += self._decoder.decode(self.token_bytes(token))
        if not self.stop or self._cut_at_stop():
            return self._release(len(self._held))
        return self._release(len(self._held) - held_back(self._held, self.stop))

    def finish(self) -> Piece | None:
        """The withheld text, without the bytes of an unfinished character. Call once, last."""
        piece = self._release(len(self._held))
        if piece is None and self._tokens:
            piece = Piece("", tuple(self._tokens), tuple(self._logprobs))
        return piece

    def _cut_at_stop(self) -> bool:
        stops = [(self._held.find(stop), stop) for stop in self.stop if stop in self._held]
        if not stops:
            return False
        start, self.stop_string = min(stops)
        self._held = self._held[:start]
        return True

    def _release(self, count: int) -> Piece | None:
        if count <= 0:
            return None
        piece = Piece(self._held[:count], tuple(self._tokens), tuple(self._logprobs))
        self._held = self._held[count:]
        self._tokens.clear()
        self._logprobs.clear()
        return piece


def held_back(text: str, stop: Sequence[str]) -> int:
    """Length of the longest end of `text` with which a stop string begins."""
    longest = max((len(string) for string in stop), default=0)
    for length in range(min(longest - 1, len(text)), 0, -1):
        tail = text[-length:]
        if any(string.startswith(tail) for string in stop):
            return length
    return 0
