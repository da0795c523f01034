"""Sequences on the device: running ones, and finished ones that stay for the next turn.

A finished sequence becomes resident under its session and salt. The next request goes on in the
resident (its own session), or copies the common prefix from any sequence of the same salt, which
shares the cells. Residents leave in least-recently-used order when cells or ids are wanted, and
when the idle cells exceed their budget. With paging, what leaves is stored below first, and what
is stored there is loaded instead of computed again.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from roost_inference.backend import Backend
from roost_inference.batch import Tokens
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.kv.cells import CellLedger
from roost_inference.kv.match import PrefixMatch, Resident, match_on_device
from roost_inference.kv.paging_protocol import Paging
from roost_inference.kv.sessions import KEPT_ON_DEVICE, PAGED_OUT_AT_ONCE, Sessions
from roost_inference.request import EngineSession
from roost_inference.sequence import Sequence

NOTHING: Mapping[int | None, int] = {}


class KvCache:
    """Every change of the backend's sequences goes through here, so the ledger stays true."""

    def __init__(
        self,
        backend: Backend,
        paging: Paging,
        *,
        sequences: int,
        resident_cells: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.paging = paging
        self.sessions = Sessions(clock)
        self._clock = clock
        self._stores = True
        self._unstored: OrderedDict[int, None] = OrderedDict()
        self.ledger = CellLedger(backend.cells)
        self._backend = backend
        self._resident_cells = resident_cells
        self._residents: OrderedDict[int, Resident] = OrderedDict()
        self._free_ids = list(range(sequences - 1, -1, -1))
        self._active: set[int] = set()
        self.sequences = sequences

    @property
    def residents(self) -> tuple[Resident, ...]:
        """Least recently used first."""
        return tuple(self._residents.values())

    @property
    def idle_cells(self) -> int:
        """Cells that only residents hold: what evicting all of them would free."""
        return self.ledger.exclusive(list(self._residents), list(self._active))

    def match(self, sequence: Sequence, running: Iterable[Sequence]) -> PrefixMatch:
        """The longest prefix on the device under the same salt, and what is in RAM behind it.

        The last token is never matched: its logits have to be computed. Blocks of lower tiers
        begin to move to RAM; until they are there `is_fetching` holds.
        """
        residents = reversed(self._residents.values())
        match = match_on_device(sequence, residents, running, self._backend.truncates)
        loads = self.paging.plan(sequence, match.length)
        if not loads:
            return match
        held = match.length // BLOCK_TOKENS * BLOCK_TOKENS
        length = held + sum(part.used for part in loads)
        whole = replace(match, length=length, held=held, loads=loads)
        return whole if held else PrefixMatch(length, loads=loads)

    def is_fetching(self, sequence: Sequence) -> bool:
        """Whether a waiting sequence should wait on for blocks that are being read."""
        return self.paging.is_fetching(sequence)

    @property
    def is_reading(self) -> bool:
        """Whether any waiting sequence waits for blocks that are being read."""
        return self.paging.is_reading

    @property
    def keeps_evicted(self) -> bool:
        """Whether KV that leaves the device can come back."""
        return self.paging.keeps_evicted

    def forget(self, sequence: Sequence) -> None:
        """A waiting sequence leaves: the blocks it would have loaded may go."""
        self.paging.forget(sequence)

    def fits(self, match: PrefixMatch, cells: int) -> bool:
        """Whether `cells` more could be taken after claiming the match, evicting the rest."""
        if cells <= self.ledger.free:
            return True
        others = [i for i in self._residents if i != match.source]
        staying = list(self._active)
        if match.source is not None and match.source in self._residents:
            staying.append(match.source)
        return cells <= self.ledger.free + self.ledger.exclusive(others, staying)

    def claim(self, match: PrefixMatch, sequence: Sequence) -> int:
        """Give the sequence an id that holds the matched prefix; `computed` says how much of it
        could be had. Evicts residents if ids or cells are short."""
        sequence_id = sequence.sequence_id = self._claim_id(match)
        sequence.computed, started, gained = match.held, self._clock(), 0
        if match.loads:
            gained = self.paging.load(
                sequence_id, match.loads, lambda cells: self.reserve(sequence_id, cells)
            )
            sequence.computed = self._cut(sequence_id, match.held + gained)
        elapsed_ms = (self._clock() - started) * 1000
        self.paging.report(sequence, match.held, gained, elapsed_ms)
        self.paging.forget(sequence)
        return sequence_id

    def _claim_id(self, match: PrefixMatch) -> int:
        source = match.source
        if source is None:
            return self._new_id(keep=None)
        has_id = bool(self._free_ids) or any(i != source for i in self._residents)
        if match.take_over or not has_id:
            del self._residents[source]
            self._active.add(source)
            self._unstored.pop(source, None)
            self._cut(source, match.held)
            return source
        target = self._new_id(keep=source)
        self._backend.sequence_copy(source, target, 0, match.held)
        self.ledger.share(source, target, match.held)
        if source in self._residents:
            self._residents.move_to_end(source)
        return target

    def reserve(self, sequence_id: int, cells: int) -> bool:
        """Account for `cells` about to be decoded, evicting residents; False if there are not
        enough even then, and nothing is taken."""
        if not self.make_free(cells):
            return False
        self.ledger.extend(sequence_id, cells)
        return True

    def make_free(self, cells: int) -> bool:
        """Evict residents until this many cells are free; False if there are not enough."""
        while self.ledger.free < cells:
            if not self._evict_oldest():
                return False
        return True

    def rollback(self, sequence_id: int, length: int) -> int:
        """Forget what lies beyond `length`; returns the length that is left, 0 where the
        backend can't cut a sequence."""
        return self._cut(sequence_id, length)

    def retire(self, sequence: Sequence) -> None:
        """Keep a finished sequence's KV as resident, then bring idle cells under their budget."""
        session, tokens = sequence.request.session, self._lay_down(sequence)
        if session.session_id is not None and len(tokens):
            self.sessions.note(session, tokens)
            self.settle_pin(session, self.sessions.reason(session))
        while self._residents and self.idle_cells > self._resident_cells:
            self._evict_oldest()

    def release(self, sequence: Sequence) -> None:
        """Keep a preempted sequence's KV as the newest resident: it is paged out like any other
        if its cells are wanted, and found again when the sequence is claimed. Only without
        paging may it have to start over."""
        self._lay_down(sequence)
        sequence.computed = 0

    def _lay_down(self, sequence: Sequence) -> Tokens:
        """Make a running sequence a resident, if it has any KV; returns the tokens in it."""
        sequence_id, request = sequence.sequence_id, sequence.request
        assert sequence_id is not None
        sequence.sequence_id = None
        tokens = sequence.tokens.view[: sequence.computed].copy()
        if not len(tokens):
            self._drop(sequence_id)
            return tokens
        self._active.discard(sequence_id)
        self._residents[sequence_id] = Resident(sequence_id, tokens, request.session, request.kv)
        self._unstored[sequence_id] = None
        return tokens

    def evict_all(self) -> None:
        """Page out every resident."""
        while self._evict_oldest():
            pass

    @contextmanager
    def distrusted(self) -> Iterator[None]:
        """Store nothing that leaves the device meanwhile: the kernels have failed on it."""
        self._stores = False
        try:
            yield
        finally:
            self._stores = True

    def evict_session(self, session: EngineSession) -> None:
        """Page out what one session has on the device."""
        for resident in self.residents:
            if resident.session == session:
                self._evict(resident.sequence_id)

    def settle_pin(self, session: EngineSession, reason: str | None) -> None:
        """Act on a pin: a session that waits for a person gives its cells back at once."""
        if self.keeps_evicted and reason in PAGED_OUT_AT_ONCE:
            self.evict_session(session)

    @property
    def has_unstored(self) -> bool:
        """Whether residents wait to be stored below, which is done while nothing else is."""
        return self.keeps_evicted and bool(self._unstored)

    def store_some(self, blocks_max: int = 1) -> None:
        """Store a little of what residents hold, so that a restart finds it."""
        while self._unstored:
            sequence_id = next(iter(self._unstored))
            resident = self._residents.get(sequence_id)
            if resident is not None and not self._page_out(resident, blocks_max):
                return
            self._unstored.pop(sequence_id, None)
            if resident is not None:
                return

    def _page_out(self, resident: Resident, blocks_max: int | None = None) -> bool:
        if not self._stores:
            return True
        return self.paging.page_out(
            resident.sequence_id,
            resident.tokens,
            session=resident.session,
            policy=resident.policy,
            blocks_max=blocks_max,
        )

    def check(
        self, running: Iterable[Sequence] = (), under_way: Mapping[int | None, int] = NOTHING
    ) -> None:
        """Raise AssertionError if ledger, backend, residents and running sequences disagree;
        under_way: by sequence id the cells of tokens that are just being computed."""
        self.paging.check()
        self.ledger.check()
        active = {s.sequence_id: s.computed for s in running if s.sequence_id is not None}
        assert set(active) == self._active, "active ids are not those of running sequences"
        held = active | {r.sequence_id: len(r.tokens) for r in self._residents.values()}
        assert len(held) == len(active) + len(self._residents), "an id is active and resident"
        assert len(held) + len(self._free_ids) == self.sequences, "sequence ids leaked"
        for sequence_id, length in held.items():
            taken = length + under_way.get(sequence_id, 0)
            assert self.ledger.length(sequence_id) == taken, "the ledger's length is wrong"
            assert self._backend.sequence_end(sequence_id) == length, "the backend's is wrong"
        for sequence_id in self._free_ids:
            assert self.ledger.length(sequence_id) == 0, "a free id holds cells"
            assert self._backend.sequence_end(sequence_id) == 0, "a free id holds KV"
        assert self.ledger.used == self.ledger.distinct(list(held)), "cells without a holder"

    def _new_id(self, keep: int | None) -> int:
        if not self._free_ids:
            self._evict(next(i for i in self._residents if i != keep))
        sequence_id = self._free_ids.pop()
        self._active.add(sequence_id)
        return sequence_id

    def _evict_oldest(self) -> bool:
        oldest = next(iter(self._residents), None)
        if oldest is None:
            return False
        for resident in self._residents.values():
            reason = self.sessions.reason(resident.session)
            if reason not in KEPT_ON_DEVICE:
                oldest = resident.sequence_id
                break
        self._evict(oldest)
        return True

    def _evict(self, sequence_id: int) -> None:
        resident = self._residents.pop(sequence_id)
        self._unstored.pop(sequence_id, None)
        self._page_out(resident)
        self._drop(sequence_id)

    def _drop(self, sequence_id: int) -> None:
        self._cut(sequence_id, 0)
        self._active.discard(sequence_id)
        self._free_ids.append(sequence_id)

    def _cut(self, sequence_id: int, length: int) -> int:
        if not self._backend.sequence_remove(sequence_id, length):
            length = 0
            self._backend.sequence_remove(sequence_id, 0)
        self.ledger.truncate(sequence_id, length)
        return length
