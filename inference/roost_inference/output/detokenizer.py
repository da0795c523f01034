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
    The stop string that is complete first ends the text, so how the text is cut into tokens does
    not matter.

    includes_stop: the stop string is part of the text; searched_after: stop strings begin after
    so many tokens.
    """

    token_bytes: Callable[[int], bytes]
    stop: tuple[str, ...] = ()
    includes_stop: bool = False
    searched_after: int = 0
    stop_string: str | None = None
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    _held: str = ""
    _tokens: list[int] = field(default_factory=list)
    _logprobs: list[TokenLogprob] = field(default_factory=list)
    # Bytes of the text to come that belong to tokens whose logprobs were handed over already.
    _owed: int = 0

    def push(self, token: int, logprob: TokenLogprob | None = None) -> Piece | None:
        """Take one token; returns the text that it makes certain, None if there is none."""
        self._tokens.append(token)
        if logprob is not None:
            self._logprobs.append(logprob)
        self._held += self._decoder.decode(self.token_bytes(token))
        if not self.stop or self._is_early() or self._cut_at_stop():
            return self._release(len(self._held))
        return self._release(len(self._held) - held_back(self._held, self.stop))

    def finish(self) -> Piece | None:
        """The withheld text, without the bytes of an unfinished character. Call once, last."""
        logprobs, self._logprobs = tuple(self._logprobs), []
        tokens, held = tuple(self._tokens), self._held
        self._tokens, self._held = [], ""
        return Piece(held, tokens, logprobs) if held or tokens or logprobs else None

    def _is_early(self) -> bool:
        """Whether the newest token comes before stop strings are looked for."""
        self.searched_after -= 1
        return self.searched_after >= 0

    def _cut_at_stop(self) -> bool:
        found = [(self._held.find(stop), stop) for stop in self.stop if stop in self._held]
        if not found:
            return False
        start, self.stop_string = min(found, key=lambda at: (at[0] + len(at[1]), at[0]))
        end = start + len(self.stop_string) if self.includes_stop else start
        self._held = self._held[:end]
        return True

    def _release(self, count: int) -> Piece | None:
        text = self._held[:count] if count > 0 else ""
        if not text and self.stop_string is None:
            return None
        logprobs = self._released_logprobs(text) if self._logprobs or self._owed else ()
        if not text:
            return None
        piece = Piece(text, tuple(self._tokens), logprobs)
        self._held = self._held[count:]
        self._tokens.clear()
        return piece

    def _released_logprobs(self, text: str) -> tuple[TokenLogprob, ...]:
        """The logprobs of tokens that begin in this text, which is released. Those that begin in
        what a stop string cuts off never are."""
        count = len(self._logprobs)
        if self.stop:
            size = len(text.encode())
            for at, logprob in enumerate(self._logprobs):
                if self._owed >= size:
                    count = at
                    break
                self._owed += len(logprob.data)
            self._owed -= size
        released = tuple(self._logprobs[:count])
        del self._logprobs[: None if self.stop_string else count]
        return released


def held_back(text: str, stop: Sequence[str]) -> int:
    """Length of the longest end of `text` with which a stop string begins."""
    longest = max((len(string) for string in stop), default=0)
    for length in range(min(longest - 1, len(text)), 0, -1):
        tail = text[-length:]
        if any(string.startswith(tail) for string in stop):
            return length
    return 0
