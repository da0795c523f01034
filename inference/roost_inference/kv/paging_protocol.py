"""What the cache asks of paging, and a cache without tiers below the device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from roost_inference.batch import Tokens
from roost_inference.kv.handover.handover import Handover
from roost_inference.kv.index import MatchedBlock
from roost_inference.kv.store import BlockStore
from roost_inference.request import EngineSession, KvOffer, KvPolicy
from roost_inference.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Prefetch:
    """What a prefetch began. is_known: blocks of the session are stored; blocks: how many of them
    can be had now; fetching: how many of those begin to move to RAM."""

    is_known: bool
    blocks: int
    fetching: int


class Companion(Protocol):
    """Stores something of its own beside the blocks of the model's KV. The engine thread calls it;
    nothing that it does or can't do changes an answer."""

    def prepare(self, salt: str, parts: list[Tokens]) -> None:
        """Blocks of these tokens, a prefix in parts, will be loaded: begin to bring what is stored
        beside them. No parts: nothing will."""
        ...

    def stored(self, salt: str, tokens: Tokens, start: int, end: int) -> None:
        """The block of positions [start, end) was stored: store what belongs beside it."""
        ...


class NoCompanion:
    """Stores nothing."""

    def prepare(self, salt: str, parts: list[Tokens]) -> None:
        """Nothing is stored."""

    def stored(self, salt: str, tokens: Tokens, start: int, end: int) -> None:
        """Nothing belongs beside it."""


NO_COMPANION: Companion = NoCompanion()


class Paging(Protocol):
    """Moves KV between the device and the tiers below it. The engine thread calls it."""

    @property
    def store(self) -> BlockStore | None:
        """The tiers below the device, None if there are none."""
        ...

    @property
    def handover(self) -> Handover | None:
        """What is handed over to and from other engines, None if nothing can be."""
        ...

    @property
    def keeps_evicted(self) -> bool:
        """Whether KV that leaves the device can come back, so that evicting costs little."""
        ...

    @property
    def is_reading(self) -> bool:
        """Whether any waiting sequence waits for blocks that are being read."""
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have this called, on another thread, whenever a waiting sequence may go on."""
        ...

    def expect(self, sequence: Sequence) -> None:
        """A sequence has arrived: begin to fetch what other engines have of its prompt."""
        ...

    def plan(self, sequence: Sequence, resident: int) -> tuple[MatchedBlock, ...]:
        """The blocks ready to be imported behind the first `resident` tokens, which the device
        has; empty while they are on their way, and if computing is cheaper."""
        ...

    def is_fetching(self, sequence: Sequence) -> bool:
        """Whether a waiting sequence should wait on for blocks that are being read."""
        ...

    def forget(self, sequence: Sequence) -> None:
        """The sequence has loaded, or never will."""
        ...

    def load(
        self, sequence_id: int, loads: tuple[MatchedBlock, ...], reserve: Callable[[int], bool]
    ) -> int:
        """Append blocks to a sequence that ends where the first one begins; `reserve` accounts
        for the cells. Returns the tokens gained; stops at the first block that can't be had."""
        ...

    def report(self, sequence: Sequence, resident: int, loaded: int, ms: float) -> None:
        """Note on the sequence what was decided and what it took, for the response's metrics."""
        ...

    def page_out(
        self,
        sequence_id: int,
        tokens: Tokens,
        *,
        session: EngineSession,
        policy: KvPolicy,
        blocks_max: int | None = None,
    ) -> bool:
        """Store KV of a sequence that is not stored yet, at most this many blocks. True when all
        is stored that can be."""
        ...

    def export(self, sequence: Sequence) -> None:
        """Store what a running sequence has computed of its prompt, in whole blocks."""
        ...

    def offer(self, sequence: Sequence) -> KvOffer | str:
        """Store the whole prompt of a sequence that has computed it, and keep it for another
        engine. Returns the offer, or one word that says why there is none."""
        ...

    def stored_tokens(self, session: EngineSession, tokens: Tokens) -> dict[str, int]:
        """How many of a session's tokens each tier holds."""
        ...

    def retain(self, session: EngineSession, tokens: Tokens, until: float) -> None:
        """Keep the blocks of a session's tokens in RAM until then."""
        ...

    def prefetch(self, session: EngineSession, tokens: Tokens | None, until: float) -> Prefetch:
        """Bring a session's blocks to RAM and retain them there until then. tokens: what its last
        turn left in the KV; None where only its blocks may be known, as after a restart."""
        ...

    def check(self) -> None:
        """Raise AssertionError if the tiers do not add up. For tests."""
        ...

    def close(self) -> None:
        """Finish writing and give the tiers back."""
        ...


class NoPaging:
    """No tiers below the device: what leaves it is computed again."""

    store: BlockStore | None = None
    handover: Handover | None = None
    keeps_evicted = False
    is_reading = False

    def on_change(self, callback: Callable[[], None]) -> None:
        """Nothing is waited for."""

    def expect(self, sequence: Sequence) -> None:
        """Nothing can be fetched."""

    def plan(self, sequence: Sequence, resident: int) -> tuple[MatchedBlock, ...]:
        """Nothing to load."""
        return ()

    def is_fetching(self, sequence: Sequence) -> bool:
        """Nothing is read."""
        return False

    def forget(self, sequence: Sequence) -> None:
        """Nothing was planned."""

    def load(
        self, sequence_id: int, loads: tuple[MatchedBlock, ...], reserve: Callable[[int], bool]
    ) -> int:
        """Never called: there is nothing to load."""
        return 0

    def report(self, sequence: Sequence, resident: int, loaded: int, ms: float) -> None:
        """Nothing was decided."""

    def page_out(
        self,
        sequence_id: int,
        tokens: Tokens,
        *,
        session: EngineSession,
        policy: KvPolicy,
        blocks_max: int | None = None,
    ) -> bool:
        """Nothing can be stored, so all is stored that can be."""
        return True

    def export(self, sequence: Sequence) -> None:
        """Nothing can be stored."""

    def offer(self, sequence: Sequence) -> KvOffer | str:
        """Nothing can be offered."""
        return "no_paging"

    def stored_tokens(self, session: EngineSession, tokens: Tokens) -> dict[str, int]:
        """No tier holds anything."""
        return {}

    def retain(self, session: EngineSession, tokens: Tokens, until: float) -> None:
        """Nothing to retain."""

    def prefetch(self, session: EngineSession, tokens: Tokens | None, until: float) -> Prefetch:
        """Nothing to bring."""
        return Prefetch(False, 0, 0)

    def check(self) -> None:
        """Nothing to check."""

    def close(self) -> None:
        """Nothing to give back."""
