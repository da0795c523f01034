"""Brings the blocks of one prompt from sources to RAM, in ascending order and each one checked.

    WAITING ──run──▶ READING ──▶ DONE       what has arrived is used, the rest is computed
       └───give_up──────┴──────▶ GIVEN_UP   nobody waits: the reading ends at the next block

However it ends, each source is released. Whatever goes wrong ends in fewer blocks and never in
wrong ones: a block whose identity, key, tokens or checksum differ is not taken.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum

from roost_inference.backend import Payload
from roost_inference.batch import Tokens
from roost_inference.kv.block import (
    BLOCK_TOKENS,
    TAIL_TOKENS_MIN,
    BadBlock,
    BlockHead,
    block_key,
    decode_block,
)
from roost_inference.kv.handover.source import KvSource, SourceError

# A signal to the source each third of its lease, so that one that is lost does no harm.
SIGNALS_PER_LEASE = 3

# Puts a checked block, and the name of its source, into RAM; False where there is no room.
Place = Callable[[BlockHead, Payload, str], bool]


class FetchState(StrEnum):
    """See the drawing above."""

    WAITING = "waiting"
    READING = "reading"
    DONE = "done"
    GIVEN_UP = "given_up"


def heads_of(identity: bytes, root: bytes, tokens: Tokens) -> Iterator[BlockHead]:
    """The blocks of a prompt by its own tokens, as `Offers.chain` has them."""
    parent = root
    for start in range(0, len(tokens), BLOCK_TOKENS):
        part = tokens[start : start + BLOCK_TOKENS].copy()
        if len(part) < TAIL_TOKENS_MIN:
            return
        key = block_key(parent, part)
        yield BlockHead(identity, parent, key, start, part, 0)
        parent = key


class PromptFetch:
    """One prompt's blocks on their way. `run` belongs to a thread that may wait, the rest to any.

    wanted: the blocks, ascending. sources: the best first; where one ends, the next one goes on.
    deadline: until when somebody waits, by `clock`. lease_s: how often the sources want a sign.
    """

    def __init__(
        self,
        wanted: Sequence[BlockHead],
        sources: Sequence[KvSource],
        place: Place,
        *,
        deadline: float,
        lease_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.state = FetchState.WAITING
        self.deadline = deadline
        self.tokens: Counter[str] = Counter()
        self.failures: list[str] = []
        self.keys: set[bytes] = set()
        self.seconds = 0.0
        self._wanted = wanted
        self._sources = sources
        self._place = place
        self._lease_s = lease_s
        self._clock = clock
        self._placed = 0
        self._renew_at = 0.0

    @property
    def is_over(self) -> bool:
        """Whether nobody has to wait for it any more."""
        return self.state in (FetchState.DONE, FetchState.GIVEN_UP)

    def give_up(self) -> None:
        """Nobody waits any more: the request is gone, or computes what is missing."""
        if not self.is_over:
            self.state = FetchState.GIVEN_UP

    def run(self) -> None:
        """Read what can be read, then release the sources."""
        started = self._clock()
        try:
            if self.state is FetchState.WAITING:
                self.state = FetchState.READING
                for source in self._sources:
                    if self._is_enough() or not self._read(source):
                        break
        finally:
            self.seconds = self._clock() - started
            self.release()
            if not self.is_over:
                self.state = FetchState.DONE

    def release(self) -> None:
        """Tell the sources that nothing more is wanted, also where nothing was read."""
        for source in self._sources:
            source.release()

    def _is_enough(self) -> bool:
        return self.is_over or self._placed == len(self._wanted)

    def _read(self, source: KvSource) -> bool:
        """Take the next blocks from a source. False if the others can't go on either."""
        rest = [head.key for head in self._wanted[self._placed :]]
        self._renew_at = self._clock() + self._lease_s / SIGNALS_PER_LEASE
        try:
            with contextlib.closing(source.read(rest, self.deadline)) as blocks:
                for data in blocks:
                    if self.is_over:
                        return False
                    if not self._take(source, data):
                        self.failures.append("no_room")
                        return False
                    if self._is_enough():
                        return True
                    self._renew_if_due(source)
        except SourceError as error:
            self.failures.append(error.reason)
        except BadBlock:
            self.failures.append("bad_block")
        else:
            self.failures.append("missing")
        return True

    def _take(self, source: KvSource, data: memoryview) -> bool:
        expected = self._wanted[self._placed]
        payload = decode_block(data, expected)
        if not self._place(replace(expected, size=payload.nbytes), payload, source.name):
            return False
        self._placed += 1
        self.keys.add(expected.key)
        self.tokens[source.name] += expected.count
        return True

    def _renew_if_due(self, source: KvSource) -> None:
        if self._clock() >= self._renew_at:
            source.renew()
            self._renew_at = self._clock() + self._lease_s / SIGNALS_PER_LEASE

    @property
    def is_whole(self) -> bool:
        """Whether every block has arrived."""
        return self._placed == len(self._wanted)
