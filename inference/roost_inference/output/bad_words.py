"""Words that an answer must not have, as sequences of tokens."""

from collections import deque
from collections.abc import Iterator, Sequence


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
