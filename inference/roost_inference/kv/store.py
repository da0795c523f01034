"""Blocks below the device: RAM in front, lower tiers behind it.

The engine thread looks blocks up (`walk`), stores blocks (`put`), and has blocks brought to RAM
(`fetch`); all of that only touches the index under a lock. Each lower tier has one thread that
reads and one that writes, so a tier that hangs holds up nothing but itself.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from roost_inference.backend import Payload
from roost_inference.batch import Tokens
from roost_inference.kv.block import BlockHead, block_key, digest, identity_digest, root_key
from roost_inference.kv.figures import PagingFigures
from roost_inference.kv.index import RAM, MatchedBlock, Node
from roost_inference.kv.shared_index import SharedIndex
from roost_inference.kv.tiers.lanes import Lane, ThreadLane
from roost_inference.kv.tiers.placement import RAM_PLACEMENT, TierPlacement, placement_of
from roost_inference.kv.tiers.tier import KeyedTier, Tier
from roost_inference.kv.tiers.tier_io import CLOSE_TIMEOUT_S, BlockFetch, TierIo


class BlockStore:
    """RAM and the tiers below it, which are given fastest first. Any thread may call it."""

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
        self.figures = PagingFigures({tier.name: tier.read_cost for tier in tiers})
        quotas = {RAM: ram_bytes, **{tier.name: tier.quota.bytes for tier in tiers}}
        self.bytes_per_token = 0.0  # of the latest block, 0 before there is one
        self._shared = SharedIndex(quotas, self.figures, clock)
        self._index = self._shared.index
        self._lock = self._shared.lock
        self._io = TierIo(self._shared, tiers, lane)

    def start(self) -> None:
        """Find what earlier runs left."""
        self._io.start()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have this called, on a tier's thread, whenever blocks have arrived in RAM."""
        self._io.on_change = callback

    # Look up and pin

    def root(self, salt: str, companion: str = "") -> bytes:
        """Where the chains of a salt begin. companion: what is stored beside the model's own KV, by
        what that depends on besides."""
        identity = self.identity
        if companion:
            identity = digest(b"companion", identity, companion.encode())
        return root_key(identity, salt)

    def walk(self, root: bytes, wanted: Tokens, *, touch: bool = True) -> list[MatchedBlock]:
        """The longest stored prefix of the tokens."""
        with self._lock:
            matched = self._index.walk(root, wanted)
            if touch:
                self._index.touch([part.node for part in matched])
            return matched

    def source(self, node: Node, allowed: frozenset[str] | None) -> str | None:
        """The fastest allowed tier that holds the block and works, None if there is none."""
        with self._lock:
            if node.payload is not None and (allowed is None or RAM in allowed):
                return RAM
            for name, lower in self._io.lower.items():
                permitted = allowed is None or name in allowed
                if permitted and name in node.tiers and self._io.is_available(lower):
                    return name
            return None

    def pin(self, nodes: Iterable[Node]) -> None:
        """Keep blocks where they are between look-up and load."""
        with self._lock:
            for node in nodes:
                node.pins += 1

    def unpin(self, nodes: Iterable[Node]) -> None:
        """Undo one `pin` of each."""
        with self._lock:
            for node in nodes:
                node.pins -= 1

    def retain(self, root: bytes, tokens: Tokens, until: float) -> None:
        """Let the chain leave a tier only when nothing else can, until then; 0 lets it go."""
        with self._lock:
            for part in self._index.walk(root, tokens):
                part.node.retain_until = max(part.node.retain_until, until) if until else 0.0

    def retain_nodes(self, nodes: Iterable[Node], until: float) -> None:
        """Retain these blocks; see `retain`."""
        with self._lock:
            for node in nodes:
                node.retain_until = max(node.retain_until, until)

    def retain_for(self, nodes: Iterable[Node], seconds: float) -> None:
        """Retain these blocks for so long; see `retain`."""
        self.retain_nodes(nodes, self._shared.clock() + seconds)

    def lease_for(self, nodes: Sequence[Node], seconds: float) -> None:
        """Retain blocks that another engine may read for so long."""
        until = self._shared.clock() + seconds
        self.retain_nodes(nodes, until)
        with self._lock:
            for node in nodes:
                node.leased_until = max(node.leased_until, until)

    def node_of(self, key: bytes) -> Node | None:
        """The block of this key, in whatever tier; None for an unknown one."""
        with self._lock:
            return self._index.nodes.get(key)

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
        self,
        parent: bytes,
        start: int,
        tokens: Tokens,
        payload: Payload,
        session_id: str,
        *,
        stores_tail: bool = False,
        is_target: bool = True,
    ) -> bytes | None:
        """Take a block into RAM, and on to the lower tiers later; with `stores_tail` also to those
        that take no tails of their own accord. is_target: it is the model's own KV, whose size
        figures tell. Returns its key, None if RAM is full of blocks that must stay or the block's
        parent is not known."""
        tokens = tokens.copy()
        key = block_key(parent, tokens)
        head = BlockHead(self.identity, parent, key, start, tokens, payload.nbytes, session_id)
        node = self._take(head, payload, "device", stores_tail=stores_tail)
        if node is not None and is_target:
            self.bytes_per_token = head.size / head.count
        return None if node is None else key

    def accept(self, head: BlockHead, payload: Payload, tier: str | None = None) -> Node | None:
        """Take a checked block that was read by its key: from another engine, or from the lower
        tier that has it. Returns its node, None where there is no room or no parent."""
        node = self._take(head, payload, tier or "engine", tier=tier)
        if node is not None:
            self.bytes_per_token = head.size / head.count
        return node

    def _take(
        self,
        head: BlockHead,
        payload: Payload,
        origin: str,
        *,
        tier: str | None = None,
        stores_tail: bool = False,
    ) -> Node | None:
        with self._lock:
            known = self._index.nodes.get(head.parent)
            # RAM is freed before the block is known: its parent must not be what leaves.
            if known is not None:
                known.pins += 1
            self._shared.evict_for(RAM, head.size)
            if known is not None:
                known.pins -= 1
            if not self._shared.fits(RAM, head.size):
                self.figures.refused += 1
                return None
            node = self._index.insert(head)
            if node is None:
                return None
            self._index.place(node, RAM, payload)
            if tier is not None:
                self._index.place(node, tier)
            self.figures.moved(origin, RAM)
            self._drop_superseded(node)
            self._io.enqueue_write(node, tails=stores_tail)
        self._io.start_writing()
        return node

    def _drop_superseded(self, node: Node) -> None:
        for other in self._index.superseded(node, self._shared.clock()):
            self._forget(other)

    def _forget(self, node: Node) -> None:
        """Remove it and its descendants from every tier; the writers delete their files."""
        for name in tuple(node.tiers):
            self._io.delete(name, node.head)
            self._index.displace(node, name)

    def drop(self, node: Node) -> None:
        """Forget a block that the kernels refuse."""
        with self._lock:
            self.figures.corrupt += 1
            self._forget(node)

    # Between RAM and the lower tiers

    def fetch(self, nodes: Sequence[Node], sources: Sequence[str]) -> BlockFetch:
        """Begin to bring pinned blocks to RAM, each from the tier given for it."""
        return self._io.fetch(nodes, sources)

    def keyed_tiers(self) -> list[KeyedTier]:
        """The tiers that find blocks by key and work now."""
        with self._lock:
            ready = [low.tier for low in self._io.lower.values() if self._io.is_available(low)]
            return [tier for tier in ready if isinstance(tier, KeyedTier)]

    def note_failure(self, tier: str, reason: str) -> None:
        """A look-up by key failed: the tier gets a pause."""
        with self._lock:
            self._io.lower[tier].health.failed(reason)

    def bring(self, nodes: Iterable[Node]) -> None:
        """Begin to bring those of the blocks to RAM that are not there; nobody waits for it."""
        absent = [node for node in nodes if node.payload is None]
        sources = [self.source(node, None) for node in absent]
        ready = [(n, tier) for n, tier in zip(absent, sources, strict=True) if tier is not None]
        if ready:
            self.fetch([node for node, _ in ready], [tier for _, tier in ready])

    def give_up(self, fetch: BlockFetch) -> None:
        """Wait no longer for a fetch whose deadline has passed."""
        self._io.give_up(fetch)

    def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until every lower tier that works has stored what RAM holds; False if that took
        longer than the limit."""
        return self._io.flush(timeout_s)

    def close(self) -> None:
        """Write what can be written within a few seconds, then stop the threads."""
        self._io.close()

    # Figures

    def usage(self) -> dict[str, tuple[int, int, str | None]]:
        """Per tier its bytes, its blocks, and its problem if it has one."""
        with self._lock:
            lower = self._io.lower
            problems = {name: low.health.problem for name, low in lower.items()}
            return {
                name: (size, self._index.count(name), problems.get(name))
                for name, size in self._index.bytes.items()
            }

    @property
    def placements(self) -> tuple[TierPlacement, ...]:
        """Where each tier lies, the fastest first."""
        tiers = (lower.tier for lower in self._io.lower.values())
        return (RAM_PLACEMENT, *(placement_of(tier) for tier in tiers))

    @property
    def ram_bytes(self) -> int:
        """Bytes that RAM may hold."""
        return self._shared.quotas[RAM]

    @property
    def quotas(self) -> Mapping[str, int]:
        """Per tier the bytes it may hold."""
        return self._shared.quotas

    def check(self) -> None:
        """Raise AssertionError if the index does not add up or a quota is exceeded."""
        self._shared.check()

    def pinned(self) -> int:
        """Pins of all blocks; 0 when nothing is being loaded."""
        with self._lock:
            return sum(node.pins for node in self._index.nodes.values())
