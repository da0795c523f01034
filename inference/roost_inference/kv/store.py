"""Blocks below the device: RAM in front, lower tiers behind it, worked off the engine thread.

The engine thread asks what is known (`walk`), gives blocks (`put`), and has blocks brought to RAM
(`fetch`); all of that only touches the index under a lock. Reading and writing happen on one
reader and one writer thread per tier, so a tier that hangs holds up nothing but itself.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from roost_inference.backend import Payload
from roost_inference.batch import Tokens
from roost_inference.kv.block import BlockHead, block_key, identity_digest, root_key
from roost_inference.kv.index import RAM, Found, Node
from roost_inference.kv.shared_index import Shelf
from roost_inference.kv.tiers.lanes import Lane, ThreadLane
from roost_inference.kv.tiers.placement import RAM_PLACEMENT, TierPlacement
from roost_inference.kv.tiers.tier import Tier
from roost_inference.kv.tiers.tier_io import Movers


class BlockStore:
    """Any thread may call it; tiers are given fastest first."""

    def __init__(
        self,
        identity: str,
        ram_bytes: int,
        tiers: Sequence[Tier] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        lane: Callable[[str], Lane] = ThreadLane,
    ) -> None:
        self.identity = identity_digest(identity)
        quotas = {RAM: ram_bytes, **{tier.name: tier.quota.bytes for tier in tiers}}
        self._shelf = Shelf(quotas, clock)
        self._index = self._shelf.index
        self._lock = self._shelf.lock
        self.figures = self._shelf.figures
        self.movers = Movers(self._shelf, tiers, lane)
        self.fetch = self.movers.fetch
        self.give_up = self.movers.give_up
        self.flush = self.movers.flush
        self.close = self.movers.close

    def start(self, background: Sequence[str] = ("object",)) -> None:
        """Find what earlier runs left; the tiers in `background` are listed meanwhile."""
        self.movers.start(background)

    # Look up and pin

    def root(self, salt: str) -> bytes:
        return root_key(self.identity, salt)

    def walk(self, root: bytes, wanted: Tokens, *, touch: bool = True) -> list[Found]:
        """The longest stored prefix of the tokens."""
        with self._lock:
            found = self._index.walk(root, wanted)
            if touch:
                self._index.touch([part.node for part in found])
            return found

    def source(self, node: Node, allowed: frozenset[str] | None) -> str | None:
        """The fastest tier it can be had from now, None if there is none."""
        with self._lock:
            if node.payload is not None and (allowed is None or RAM in allowed):
                return RAM
            for name, lower in self.movers.lower.items():
                permitted = allowed is None or name in allowed
                if permitted and name in node.tiers and self.movers.is_available(lower):
                    return name
            return None

    def pin(self, nodes: Iterable[Node]) -> None:
        """Keep blocks where they are between look-up and load."""
        with self._lock:
            for node in nodes:
                node.pins += 1

    def unpin(self, nodes: Iterable[Node]) -> None:
        with self._lock:
            for node in nodes:
                node.pins -= 1

    def hold(self, root: bytes, tokens: Tokens, until: float) -> None:
        """Soft pin: the chain leaves a tier only when nothing else can; 0 lets it go."""
        with self._lock:
            for part in self._index.walk(root, tokens):
                part.node.hold_until = max(part.node.hold_until, until) if until else 0.0

    def hold_nodes(self, nodes: Iterable[Node], until: float) -> None:
        """Soft pin of blocks already found; see `hold`."""
        with self._lock:
            for node in nodes:
                node.hold_until = max(node.hold_until, until)

    def leaf_of(self, session_id: str, root: bytes) -> list[Node]:
        """The chain below this root that ends in the deepest block a session has stored."""
        with self._lock:
            own = [n for n in self._index.nodes.values() if n.head.session_id == session_id]
            for node in sorted(own, key=lambda n: n.end, reverse=True):
                chain = self._index.chain(node)
                if chain[0].head.parent == root:
                    return chain
            return []

    # From the device

    def put(
        self, parent: bytes, start: int, tokens: Tokens, payload: Payload, session_id: str
    ) -> bytes | None:
        """Take a block into RAM and on to the lower tiers later; its key, None if there is no
        room or its parent is not here."""
        tokens = tokens.copy()
        key = block_key(parent, tokens)
        head = BlockHead(self.identity, parent, key, start, tokens, payload.nbytes, session_id)
        with self._lock:
            known = self._index.nodes.get(head.parent)
            # the room is made before the block is known: its parent must not be what leaves
            if known is not None:
                known.pins += 1
            self._shelf.make_room(RAM, head.size)
            if known is not None:
                known.pins -= 1
            if not self._shelf.fits(RAM, head.size):
                self.figures.refused += 1
                return None
            node = self._index.insert(head)
            if node is None:
                return None
            self._index.place(node, RAM, payload)
            self.figures.moved("device", RAM)
            self._drop_superseded(node)
            self.movers.want_written(node)
        self.movers.kick()
        return key

    def _drop_superseded(self, node: Node) -> None:
        for other in self._index.superseded(node):
            self._forget(other)

    def _forget(self, node: Node) -> None:
        """Out of every tier; files are deleted by the writers. Blocks below go, too."""
        for name in tuple(node.tiers):
            self.movers.delete(name, node.head)
            self._index.displace(node, name)

    def drop(self, node: Node) -> None:
        """A block the kernels refuse: it must not be offered again."""
        with self._lock:
            self.figures.corrupt += 1
            self._forget(node)

    # To the lower tiers

    # To RAM

    # All of it

    def usage(self) -> dict[str, tuple[int, int, str | None]]:
        """Per tier its bytes, its blocks, and its problem if it has one."""
        with self._lock:
            lower = self.movers.lower
            problems = {name: low.health.problem for name, low in lower.items()}
            return {
                name: (size, self._index.count(name), problems.get(name))
                for name, size in self._index.bytes.items()
            }

    @property
    def placements(self) -> tuple[TierPlacement, ...]:
        """Where each tier lies, the fastest first."""
        return (
            RAM_PLACEMENT,
            *(TierPlacement(name, "STORAGE", "LOCAL") for name in self.movers.lower),
        )

    @property
    def quotas(self) -> Mapping[str, int]:
        """Per tier the bytes it may hold."""
        return self._shelf.quotas

    def check(self) -> None:
        """Raise AssertionError if the index does not add up or a quota is exceeded."""
        self._shelf.check()

    def pinned(self) -> int:
        """Pins of all blocks; 0 when nothing is being loaded."""
        with self._lock:
            return sum(node.pins for node in self._index.nodes.values())
