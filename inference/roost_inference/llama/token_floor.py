"""A lower bound of a text's tokens from its bytes alone: what can't fit is refused untokenised."""

from collections.abc import Iterable
from dataclasses import dataclass

WHITESPACE = b" \t\n\v\f\r"


@dataclass(frozen=True, slots=True)
class TokenFloor:
    """Tokens cover a text's bytes one after the other, and none covers more than `longest`.

    longest: bytes of the vocabulary's longest token; 0 where tokens don't cover bytes, so that
        there is no bound but 0. uncounted: bytes that may vanish without a token.
    """

    longest: int
    uncounted: bytes = b""

    @classmethod
    def of_pieces(cls, pieces: Iterable[bytes], *, strips_space: bool) -> "TokenFloor":
        """From every token as it is written. A byte that no token covers alone may be dropped by
        the tokeniser; whitespace beside control tokens may be, where the vocabulary says so."""
        known = set(pieces)
        uncounted = bytes(b for b in range(256) if bytes([b]) not in known)
        return cls(max(map(len, known)), uncounted + (WHITESPACE if strips_space else b""))

    def tokens(self, text: str) -> int:
        """The text has at least this many tokens."""
        if not self.longest:
            return 0
        raw = text.encode("utf-8", "surrogatepass").translate(None, self.uncounted)
        return -(-len(raw) // self.longest)
