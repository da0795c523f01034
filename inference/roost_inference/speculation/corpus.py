"""Finished answers of each tenant, as a source of drafts. Bounded, and never shared."""

from collections import OrderedDict

from roost_inference.speculation.suffix import SEPARATOR, SuffixIndex

# Tenants whose answers are kept; the one that wrote least recently goes first.
SALTS_MAX = 64


class Corpus:
    """Answers by cache salt.

    A tenant has two indexes, an older and a newer. When the newer one holds half of the bound,
    it becomes the older one: dropping old answers costs nothing that way.
    """

    def __init__(self, tokens_per_salt: int, salts_max: int = SALTS_MAX) -> None:
        self._half = tokens_per_salt // 2
        self._salts_max = salts_max
        self._by_salt: OrderedDict[str, tuple[SuffixIndex, SuffixIndex]] = OrderedDict()

    def __len__(self) -> int:
        """Tokens held for all tenants."""
        return sum(len(old) + len(new) for old, new in self._by_salt.values())

    @property
    def salts(self) -> tuple[str, ...]:
        return tuple(self._by_salt)

    def indexes(self, cache_salt: str) -> tuple[SuffixIndex, ...]:
        """The tenant's indexes, newest first; nothing for an unknown one."""
        held = self._by_salt.get(cache_salt)
        if held is None:
            return ()
        return (held[1], held[0]) if len(held[0]) else (held[1],)

    def add(self, cache_salt: str, tokens: list[int]) -> None:
        """Remember an answer; of one that is too long, its end."""
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
