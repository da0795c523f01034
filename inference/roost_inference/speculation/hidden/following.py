"""What a drafter knows of sequences: where the features of their tokens are. No kernels."""

from collections import OrderedDict
from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import numpy as np

from roost_inference.backend import Features
from roost_inference.batch import Tokens
from roost_inference.kv.match import common_prefix
from roost_inference.sequence import Sequence


@dataclass(slots=True)
class Followed:
    """What is held of a sequence: the features of its tokens from `begin` to `end`. Those before
    `given` are in cells of the drafter's KV, the others wait in `pending`. bridges: where those of
    one token are missing, the next one's take their place. is_restored: what was stored of the
    tokens before `begin` was looked for."""

    sequence_id: int
    bridges: bool = False
    is_restored: bool = False
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
        if self.bridges and start == self.end + 1 and self.end > self.begin:
            features = np.concatenate([features[:1], features])
            start = self.end
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

    def take(self, *, but: int = 0) -> tuple[Tokens, Features]:
        """Positions and features of what waits, which is in the KV from now on; the last `but` rows
        go on waiting."""
        end = max(self.end - but, self.given)
        positions, features = np.arange(self.given, end, dtype=np.int32), self.rows()
        count = len(positions)
        self.pending = [features[count:]] if count < len(features) else []
        self.given = end
        return positions, features[:count]

    def restore(self, end: int) -> None:
        """Cells before `end` are in the KV now; what waited follows them, if it can."""
        begin, rows = self.begin, self.rows()
        self.begin, self.given, self.end, self.pending = 0, end, end, []
        self.add(begin, rows)

    def rows(self) -> Features:
        """[waiting, width] the features that wait, of which there are some."""
        return self.pending[0] if len(self.pending) == 1 else np.concatenate(self.pending)

    def lose(self) -> None:
        """Drop what waits, as there is no room for it."""
        self.pending, self.end = [], self.given


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done to the drafter's KV: positions of a sequence from `at` on are removed, or,
    with a `source`, those of that sequence before `at` are shared."""

    sequence_id: int
    at: int
    source: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A sequence that is followed: what is held of it, the salt that may see it, and the sequence
    itself, or the tokens of one that has ended."""

    held: Followed
    cache_salt: str
    sequence: Sequence | Tokens

    @property
    def tokens(self) -> Tokens:
        """Those that are held, and maybe more."""
        return self.sequence if isinstance(self.sequence, np.ndarray) else self.sequence.tokens.view


class Following:
    """The sequences that a drafter follows, and the last ones that have ended: the next turn of a
    session begins like the one before, and conversations of a tenant begin alike. Sequences of
    another salt share nothing."""

    def __init__(self, ids: int, cells: int, *, ahead: int = 0) -> None:
        """ahead: how many tokens further on the token of a cell stands, 0 or 1. With 1, what is
        held of a token that another one follows now is not to be used."""
        self._ahead = ahead
        self._free = list(range(ids - 1, -1, -1))
        self._cells = cells
        self._running: dict[str, Text] = {}
        self._ended: OrderedDict[str, Text] = OrderedDict()
        # To be done in this order, before the KV is used.
        self.changes: list[Change] = []

    def __len__(self) -> int:
        return len(self._running)

    def get(self, sequence: Sequence) -> Followed | None:
        """What is held of a sequence; None of one that is not followed."""
        text = self._running.get(sequence.id)
        return None if text is None else text.held

    def text(self, sequence: Sequence) -> Text | None:
        """The sequence as it is followed; None if it is not."""
        return self._running.get(sequence.id)

    def holding(self, salt: str, tokens: Tokens, start: int, end: int) -> Text | None:
        """A text that begins with tokens[:end], of which the features from `start` on are held."""
        for text in (*self._running.values(), *reversed(self._ended.values())):
            held, is_salts = text.held, text.cache_salt == salt
            if not is_salts or held.begin > start or end > held.end:
                continue
            if np.array_equal(text.tokens[:end], tokens[:end]):
                return text
        return None

    def follow(self, sequence: Sequence) -> Text | None:
        """Follow a sequence from the first call on; None if there is no id for it."""
        text = self._running.get(sequence.id)
        if text is not None:
            return text
        if not self._free and not self._ended:
            return None
        salt = sequence.request.session.cache_salt
        source, common = self._like(sequence, salt)
        oldest = None if self._free else self._ended.popitem(last=False)[1].held
        if oldest is not None and oldest is not source:
            self._drop(oldest)
        if oldest is not None and oldest is source:
            held = oldest
            self.remove(held, held.cut(self._usable(held, common)))
        else:
            held = Followed(self._free.pop(), bool(self._ahead))
        if source is not None and source is not held:
            usable = self._usable(source, common)
            given = min(source.given, usable)
            if given > source.begin:
                self.changes.append(Change(held.sequence_id, given, source.sequence_id))
            held.begin, held.given, held.end = source.begin, source.given, source.end
            held.pending = source.pending.copy()
            held.cut(usable)
        text = self._running[sequence.id] = Text(held, salt, sequence)
        return text

    def _usable(self, held: Followed, common: int) -> int:
        """Up to which position what is held is good for a text with so many tokens in common."""
        return common - self._ahead if held.given > common - self._ahead else common

    def _like(self, sequence: Sequence, salt: str) -> tuple[Followed | None, int]:
        """What is held of the text that begins like this one for the longest time, and for how
        many tokens."""
        best, longest = None, 0
        tokens = sequence.tokens.view[:-1]
        for text in (*self._ended.values(), *self._running.values()):
            held = text.held
            if text.cache_salt == salt and min(held.end, len(tokens)) > longest:
                common = common_prefix(text.tokens[: held.end], tokens)
                if common > longest and common - self._ahead > held.begin:
                    best, longest = held, common
        return best, longest

    def remove(self, held: Followed, start: int | None) -> None:
        """Note that cells from a position on are to be removed; None for none."""
        if start is not None:
            self.changes.append(Change(held.sequence_id, start))

    def end(self, sequence: Sequence) -> None:
        """The sequence has ended; what is held stays until its cells or id are needed."""
        text = self._running.pop(sequence.id, None)
        if text is None:
            return
        held = text.held
        tokens = sequence.tokens.view[: held.end].copy()
        self._ended[sequence.id] = Text(held, text.cache_salt, tokens)

    def make_room(self, cells: int, keep: Many[Text] = ()) -> bool:
        """Let go of ended sequences but those to `keep` until `cells` are free; False if that is
        not enough."""
        used = self.cells
        kept = {text.held.sequence_id for text in keep}
        for name, text in tuple(self._ended.items()):
            if used + cells <= self._cells:
                break
            if text.held.sequence_id not in kept:
                used -= text.held.cells
                self._drop(self._ended.pop(name).held)
        return used + cells <= self._cells

    @property
    def cells(self) -> int:
        """Cells that are taken; shared ones count for each sequence."""
        texts = (*self._running.values(), *self._ended.values())
        return sum(text.held.cells for text in texts)

    def clear(self) -> None:
        """Let go of everything."""
        for text in (*self._running.values(), *self._ended.values()):
            self._drop(text.held)
        self._running.clear()
        self._ended.clear()

    def _drop(self, held: Followed) -> None:
        self.changes.append(Change(held.sequence_id, 0))
        self._free.append(held.sequence_id)
