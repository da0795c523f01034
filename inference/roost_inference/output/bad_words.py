"""Words that an answer must not have, as sequences of tokens."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence


class BadWords:
    """Says which tokens would complete a forbidden sequence. Used by one thread at a time."""

    def __init__(self, sequences: Sequence[tuple[int, ...]]) -> None:
        """No sequence is empty."""
        self._sequences = sequences
        self._tail: deque[int] = deque(maxlen=max(map(len, sequences)))

    def accept(self, token: int) -> None:
        """Note a generated token."""
        self._tail.append(token)

    def forbidden(self) -> Iterator[int]:
        """The tokens that may not come next. A sequence begins in the answer, not in the prompt."""
        tail = tuple(self._tail)
        for *before, last in self._sequences:
            if not before or tail[-len(before) :] == tuple(before):
                yield last


def sequences_of(
    words: Sequence[str], tokenize: Callable[[str], Sequence[int]]
) -> tuple[tuple[int, ...], ...]:
    """The tokens of each word, as vLLM cuts them: at the beginning of a line and after a space."""
    texts = (text for word in words for text in (word, " " + word.lstrip()))
    return tuple({tuple(tokenize(text)): None for text in texts})
