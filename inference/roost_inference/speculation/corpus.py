"""Keeps finished answers by cache salt as a source of drafts. Bounded, never shared."""

from collections import OrderedDict

from roost_inference.speculation.suffix import SEPARATOR, SuffixIndex

# Salts whose answers are kept; the one without a new answer for the longest time goes first.
SALTS_MAX = 64


class Corpus:
    """Answers by cache salt, at most `tokens_per_salt` each.

    A salt has two indexes, an older and a newer. When the newer one holds half of the bound, it
    becomes the older one, so dropping old answers costs nothing.
    """

    def __init__(self, tokens_per_salt: int, salts_max: int = SALTS_MAX) -> None:
        self._half = tokens_per_salt // 2
        self._salts_max = salts_max
        self._by_salt: OrderedDict[str, tuple[SuffixIndex, SuffixIndex]] = OrderedDict()

    def __len__(self) -> int:
        """Tokens held for all salts."""
        return sum(len(old) + len(new) for old, new in self._by_salt.values())

    @property
    def salts(self) -> tuple[str, ...]:
        """The salts that have answers, the one with the newest answer last."""
        return tuple(self._by_salt)

    def indexes(self, cache_salt: str) -> tuple[SuffixIndex, ...]:
        """The indexes of a salt, the newer one first; none for an unknown salt."""
        held = self._by_salt.get(cache_salt)
        if held is None:
            return ()
        return (held[1], held[0]) if len(held[0]) else (held[1],)

    def add(self, cache_salt: str, tokens: list[int]) -> None:
        """Remember an answer, or the end of one that is too long."""
        if self._half < 2 or not tokens:
            return
        tokens = tokens[-(self._half - 1) :]
        old, new = self._by_salt.pop(cache_salt, (SuffixIndex(), SuffixIndex()))
        if len(new) + len(tokens) + 1 > self._half:
            old, new = new, SuffixIndex()
        new.extend([*tokens, SEPARATOR])
        self._by_salt[cache_salt] = (old, new)
        while len(self._by_salt) > self._salts_max:
            self._by_salt.popitem(last=False)
