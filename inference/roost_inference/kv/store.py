"""Blocks below the device: RAM in front, lower tiers behind it, worked off the engine thread.

The engine thread asks what is known (`walk`), gives blocks (`put`), and has blocks brought to RAM
(`fetch`); all of that only touches the index under a lock. Reading and writing happen on one
reader and one writer thread per tier, so a tier that hangs holds up nothing but itself.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from roost_inference.backend import Payload
from roost_inference.batch import Tokens
from roost_inference.kv.block import BadBlock, BlockHead, block_key, identity_digest, root_key
from roost_inference.kv.figures import Figures
from roost_inference.kv.health import Health
from roost_inference.kv.index import RAM, BlockIndex, Found, Node
from roost_inference.kv.lanes import Lane, ThreadLane
from roost_inference.kv.tiers import Tier, TierError

CLOSE_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class Fetch:
    """Blocks on their way to RAM. `over` ends it early: what is still read is not waited for."""

    def __init__(self, tiers: Iterable[str], deadline: float) -> None:
        self.pending = set(tiers)
        self.deadline = deadline
        self.over = False

    @property
    def done(self) -> bool:
        return self.over or not self.pending


class _Lower:
    """A lower tier with its threads and what waits to be written to it."""

    def __init__(self, tier: Tier, lane: Callable[[str], Lane], clock: Callable[[], float]) -> None:
        self.tier = tier
        self.reader = lane(f"kv-{tier.name}-read")
        self.writer = lane(f"kv-{tier.name}-write")
        self.health = Health(tier.name, clock)
        # bounded by RAM: only blocks RAM holds can be written
        self.dirty: OrderedDict[bytes, Node] = OrderedDict()
        self.draining = False
        self.reading_since: float | None = None


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
        self.figures = Figures()
        self.on_change: Callable[[], None] = lambda: None
        self._clock = clock
        self._ram_bytes = ram_bytes
        self._index = BlockIndex()
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._closed = False
        self._index.add_tier(RAM)
        self._lower = {tier.name: _Lower(tier, lane, clock) for tier in tiers}
        for name in self._lower:
            self._index.add_tier(name)

    def start(self, background: Sequence[str] = ("object",)) -> None:
        """Find what earlier runs left; the tiers in `background` are listed meanwhile."""
        for name, lower in self._lower.items():
            if name in background:
                lower.reader.submit(partial(self._scan, lower))
            else:
                self._scan(lower)

    def _scan(self, lower: _Lower) -> None:
        try:
            heads = sorted(lower.tier.scan(), key=lambda head: head.start)
        except TierError as error:
            with self._lock:
                lower.health.failed(str(error))
            return
        orphans, found = [], 0
        with self._lock:
            for head in heads:
                node = self._index.insert(head)
                if node is None:
                    orphans.append(head)
                else:
                    self._index.place(node, lower.tier.name)
                    found += 1
            gone = self._make_room(lower.tier.name, 0)
        if lower.tier.name == "disk":  # a shared store may be in the middle of an upload
            gone = [*gone, *orphans]
        for head in gone:
            lower.tier.delete(head)
        log.info("the KV tier %r holds %d blocks", lower.tier.name, found)

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
            for name, lower in self._lower.items():
                permitted = allowed is None or name in allowed
                if permitted and name in node.tiers and self._is_available(lower):
                    return name
            return None

    def _is_available(self, lower: _Lower) -> bool:
        since = lower.reading_since
        stuck = since is not None and self._clock() - since > lower.tier.quota.deadline_s
        return lower.health.available and not stuck

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
                node = part.node
                node.hold_until = max(node.hold_until, until) if until else 0.0

    def leaf_of(self, session_id: str) -> list[Node]:
        """The chain that ends in the deepest block a session has stored, from the root."""
        with self._lock:
            own = [n for n in self._index.nodes.values() if n.head.session_id == session_id]
            return self._index.chain(max(own, key=lambda n: n.end)) if own else []

    # From the device

    def put(
        self, parent: bytes, start: int, tokens: Tokens, payload: Payload, session_id: str
    ) -> bytes | None:
        """Take a block into RAM and on to the lower tiers later; its key, None if there is no
        room or its parent is not here."""
        tokens = tokens.copy()
        key = block_key(parent, tokens)
        head = BlockHead(self.identity, parent, key, start, tokens, payload.nbytes, session_id)
        gone: list[BlockHead] = []
        with self._lock:
            known = self._index.nodes.get(head.parent)
            # the room is made before the block is known: its parent must not be what leaves
            if known is not None:
                known.pins += 1
            gone += self._make_room(RAM, head.size)
            if known is not None:
                known.pins -= 1
            if self._index.bytes[RAM] + head.size > self._ram_bytes:
                self.figures.refused += 1
                return None
            node = self._index.insert(head)
            if node is None:
                return None
            self._index.place(node, RAM, payload)
            self.figures.moved("device", RAM)
            self._drop_superseded(node)
            for name, lower in self._lower.items():
                if name not in node.tiers and (lower.tier.stores_tails or not node.is_tail):
                    lower.dirty[key] = node
        self._kick()
        return key

    def _drop_superseded(self, node: Node) -> None:
        for other in self._index.superseded(node):
            self._forget(other)

    def _forget(self, node: Node) -> None:
        """Out of every tier; files are deleted by the writers. Blocks below go, too."""
        for name in tuple(node.tiers):
            lower = self._lower.get(name)
            if lower is not None:
                lower.writer.submit(partial(lower.tier.delete, node.head))
            self._index.displace(node, name)

    def drop(self, node: Node) -> None:
        """A block the kernels refuse: it must not be offered again."""
        with self._lock:
            self.figures.corrupt += 1
            self._forget(node)

    def _make_room(self, tier: str, size: int) -> list[BlockHead]:
        """Evict until `size` more fits, or nothing more may go; what left a lower tier is to be
        deleted by the caller, outside the lock."""
        quota = self._ram_bytes if tier == RAM else self._lower[tier].tier.quota.bytes
        gone: list[BlockHead] = []
        while self._index.bytes[tier] + size > quota:
            node = self._index.victim(tier, self._clock(), partial(self._worth, tier))
            if node is None:
                break
            self._index.displace(node, tier)
            self.figures.moved(tier, "gone" if not node.tiers else "lower")
            gone.append(node.head)
        return [] if tier == RAM else gone

    def _worth(self, tier: str, node: Node) -> int:
        """0 goes first: what RAM has written down already can be had again."""
        if tier == RAM and len(node.tiers) == 1 and self._lower:
            return 1
        return 0

    # To the lower tiers

    def _kick(self) -> None:
        for lower in self._lower.values():
            with self._lock:
                if self._closed or lower.draining or not lower.dirty or not lower.health.available:
                    continue
                lower.draining = True
            if not lower.writer.submit(partial(self._drain, lower)):
                lower.draining = False

    def _drain(self, lower: _Lower) -> None:
        """On the writer's thread: write what is dirty, oldest first, parents before children."""
        name = lower.tier.name
        while True:
            with self._lock:
                node = self._next_dirty(lower)
                if node is None or not lower.health.available:
                    lower.draining = False
                    self._idle.notify_all()
                    return
                head, payload = node.head, node.payload
                gone = self._make_room(name, head.size)
                fits = self._index.bytes[name] + head.size <= lower.tier.quota.bytes
            for old in gone:
                lower.tier.delete(old)
            if not fits or payload is None:
                with self._lock:
                    lower.dirty.pop(head.key, None)
                    self.figures.refused += 1
                continue
            try:
                lower.tier.write(head, payload)
            except TierError as error:
                with self._lock:
                    lower.health.failed(str(error))
                continue
            with self._lock:
                lower.health.worked()
                lower.dirty.pop(head.key, None)
                kept = self._index.nodes.get(head.key) is node
                if kept:
                    self._index.place(node, name)
                    self.figures.moved(RAM, name)
            if not kept:
                lower.tier.delete(head)

    def _next_dirty(self, lower: _Lower) -> Node | None:
        while lower.dirty:
            key, node = next(iter(lower.dirty.items()))
            if node.payload is not None and self._index.nodes.get(key) is node:
                return node
            del lower.dirty[key]
        return None

    # To RAM

    def fetch(self, nodes: Sequence[Node], sources: Sequence[str]) -> Fetch:
        """Start reading pinned blocks from the tiers given for each; see Fetch."""
        groups: dict[str, list[Node]] = {}
        for node, source in zip(nodes, sources, strict=True):
            if source != RAM:
                groups.setdefault(source, []).append(node)
        longest_s = max((self._lower[n].tier.quota.deadline_s for n in groups), default=0.0)
        fetch = Fetch(groups, self._clock() + longest_s)
        for name, wanted in groups.items():
            lower = self._lower[name]
            if not lower.reader.submit(partial(self._load, lower, wanted, fetch)):
                fetch.pending.discard(name)
        return fetch

    def give_up(self, fetch: Fetch) -> None:
        """The deadline has passed: go on without, and leave the tier alone for a while."""
        with self._lock:
            if fetch.done:
                return
            fetch.over = True
            for name in fetch.pending:
                deadline_s = self._lower[name].tier.quota.deadline_s
                self._lower[name].health.failed(f"no answer within {deadline_s:g} s")

    def _load(self, lower: _Lower, nodes: Sequence[Node], fetch: Fetch) -> None:
        """On the reader's thread."""
        try:
            for node in nodes:
                if fetch.over or not self._load_one(lower, node, fetch):
                    break
        finally:
            with self._lock:
                lower.reading_since = None
                fetch.pending.discard(lower.tier.name)
            self.on_change()

    def _load_one(self, lower: _Lower, node: Node, fetch: Fetch) -> bool:
        name, started = lower.tier.name, self._clock()
        with self._lock:
            if node.payload is not None:
                return True
            lower.reading_since = started
        try:
            payload = lower.tier.read(node.head)
        except TierError as error:
            with self._lock:
                if not fetch.over:
                    lower.health.failed(str(error))
            return False
        except (BadBlock, KeyError) as error:
            if isinstance(error, BadBlock):
                log.warning("A KV block of tier %r is dropped: %s", name, error)
                lower.tier.delete(node.head)
            with self._lock:
                self.figures.corrupt += isinstance(error, BadBlock)
                self._index.displace(node, name)
            return False
        with self._lock:
            lower.reading_since = None
            if not fetch.over:
                lower.health.worked()
            if self._index.nodes.get(node.head.key) is not node:
                return False
            self._make_room(RAM, node.head.size)
            if self._index.bytes[RAM] + node.head.size > self._ram_bytes:
                return False
            self._index.place(node, RAM, payload)
            self.figures.moved(name, RAM)
            self.figures.read(name, self._clock() - started, node.head.size)
        return True

    # All of it

    def usage(self) -> dict[str, tuple[int, int, str | None]]:
        """Per tier its bytes, its blocks, and its problem if it has one."""
        with self._lock:
            problems = {name: lower.health.problem for name, lower in self._lower.items()}
            return {
                name: (size, self._index.count(name), problems.get(name))
                for name, size in self._index.bytes.items()
            }

    def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until the lower tiers that work have what RAM has; False if that took too long."""
        deadline = time.monotonic() + timeout_s
        self._kick()
        with self._lock:
            while any(lower.draining for lower in self._lower.values()):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._idle.wait(left)
        return True

    def close(self) -> None:
        """Write behind what can be written in a few seconds, then stop the threads."""
        if not self.flush():
            log.warning("Not all KV blocks were written before the stop; they are recomputed")
        with self._lock:
            self._closed = True
            for lower in self._lower.values():
                lower.dirty.clear()
        for lower in self._lower.values():
            lower.writer.close(1.0)
            lower.reader.close(0.1)

    def check(self) -> None:
        """Raise AssertionError if the index does not add up or a quota is exceeded."""
        with self._lock:
            self._index.check()
            assert self._index.bytes[RAM] <= self._ram_bytes, "RAM is over its quota"
            for name, lower in self._lower.items():
                assert self._index.bytes[name] <= lower.tier.quota.bytes, f"{name} is over"

    def pinned(self) -> int:
        """Pins of all blocks; 0 when nothing is being loaded."""
        with self._lock:
            return sum(node.pins for node in self._index.nodes.values())
