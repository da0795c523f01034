"""What a drafter knows of sequences: where the features of their tokens are. No kernels."""

from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from roost_inference.backend import Features
from roost_inference.batch import Tokens
from roost_inference.kv.match import common_prefix
from roost_inference.sequence import Sequence

# A sequence that begins like one that has ended goes on with what is held of that one, if at least
# so many tokens are the same.
ADOPT_TOKENS_MIN = 16


@dataclass(slots=True)
class Followed:
    """What is held of a sequence: the features of its tokens from `begin` to `end`. Those before
    `given` are in cells of the drafter's KV, the others wait in `pending`."""

    sequence_id: int
    begin: int = 0
    given: int = 0
    end: int = 0
    pending: list[Features] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return self.end - self.given

    @property
    def cells(self) -> int:
        """Cells taken in the drafter's KV."""
        return self.given - self.begin

    def add(self, start: int, features: Features) -> int | None:
        """Note the features of tokens from `start` on. What was known of them is dropped, and if
        some before them are missing, all that is known: llama.cpp takes no KV with holes. Returns
        from which position on cells must be removed, None for no cells."""
        removed: int | None = None
        if start > self.end or start < self.begin:
            removed = 0 if self.cells else None
            self.begin = self.given = self.end = start
            self.pending = []
        elif start < self.end:
            removed = self.cut(start)
        self.pending.append(features)
        self.end = start + len(features)
        return removed

    def cut(self, end: int) -> int | None:
        """Forget what is known of tokens from `end` on, which is not before `begin`. Returns as
        `add` does."""
        removed = end if end < self.given else None
        self.given = min(self.given, end)
        at, kept = self.given, []
        for rows in self.pending if removed is None else ():
            if at < end:
                kept.append(rows[: end - at])
            at += len(rows)
        self.pending, self.end = kept, end
        return removed

    def take(self) -> tuple[Tokens, Features]:
        """Positions and features of what waits, which is in the KV from now on."""
        positions = np.arange(self.given, self.end, dtype=np.int32)
        features = self.pending[0] if len(self.pending) == 1 else np.concatenate(self.pending)
        self.pending, self.given = [], self.end
        return positions, features

    def lose(self) -> None:
        """Drop what waits, as there is no room for it."""
        self.pending, self.end = [], self.given


@dataclass(frozen=True, slots=True)
class _Ended:
    """A sequence that has ended: its tokens, the salt that may see them, and what is held."""

    tokens: Tokens
    cache_salt: str
    held: Followed


class Following:
    """The sequences that a drafter follows, and the last ones that have ended: the next turn of a
    session begins like the one before. Sequences of another salt never see them."""

    def __init__(self, ids: int, cells: int) -> None:
        self._free = list(range(ids - 1, -1, -1))
        self._cells = cells
        self.held: dict[str, Followed] = {}
        self._ended: OrderedDict[str, _Ended] = OrderedDict()
        # Ids whose cells are to be removed from a position on, before anything else is done.
        self.removals: list[tuple[int, int]] = []

    def follow(self, sequence: Sequence) -> Followed | None:
        """What is held of a sequence, from its first call on; None if there is no id for it."""
        held = self.held.get(sequence.id)
        if held is None:
            held = self._adopt(sequence)
            if held is None and not self._free and self._ended:
                self._drop(self._ended.popitem(last=False)[1].held)
            if held is None and self._free:
                held = Followed(self._free.pop())
            if held is not None:
                self.held[sequence.id] = held
        return held

    def _adopt(self, sequence: Sequence) -> Followed | None:
        """Go on with the ended sequence that begins like this one for the longest time."""
        tokens, salt = sequence.tokens.view, sequence.request.session.cache_salt
        best, longest = "", ADOPT_TOKENS_MIN - 1
        for name, ended in self._ended.items():
            size = min(len(ended.tokens), len(tokens) - 1)
            if ended.cache_salt != salt or size <= longest:
                continue
            common = common_prefix(ended.tokens[:size], tokens)
            if common > longest and common >= ended.held.begin + ADOPT_TOKENS_MIN:
                best, longest = name, common
        if not best:
            return None
        held = self._ended.pop(best).held
        if held.end > longest:
            self.remove(held, held.cut(longest))
        return held

    def remove(self, held: Followed, start: int | None) -> None:
        """Note that cells from a position on are to be removed; None for none."""
        if start is not None:
            self.removals.append((held.sequence_id, start))

    def end(self, sequence: Sequence) -> None:
        """The sequence has ended; what is held stays until its cells or id are needed."""
        held = self.held.pop(sequence.id, None)
        if held is None:
            return
        if held.end - held.begin < ADOPT_TOKENS_MIN:
            self._drop(held)
            return
        tokens = sequence.tokens.view[: held.end].copy()
        salt = sequence.request.session.cache_salt
        self._ended[sequence.id] = _Ended(tokens, salt, held)

    def make_room(self, cells: int) -> bool:
        """Let go of ended sequences until `cells` are free; False if that is not enough."""
        used = self.cells
        while used + cells > self._cells and self._ended:
            held = self._ended.popitem(last=False)[1].held
            used -= held.cells
            self._drop(held)
        return used + cells <= self._cells

    @property
    def cells(self) -> int:
        """Cells that are taken."""
        ended = sum(one.held.cells for one in self._ended.values())
        return ended + sum(held.cells for held in self.held.values())

    def clear(self) -> None:
        """Let go of everything."""
        for held in [*self.held.values(), *(one.held for one in self._ended.values())]:
            self._drop(held)
        self.held.clear()
        self._ended.clear()

    def _drop(self, held: Followed) -> None:
        self.removals.append((held.sequence_id, 0))
        self._free.append(held.sequence_id)
