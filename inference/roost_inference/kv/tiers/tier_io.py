"""Blocks between RAM and the lower tiers, on one reader and one writer thread per tier."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from roost_inference.kv.block import BadBlock, BlockHead
from roost_inference.kv.index import RAM, Node
from roost_inference.kv.shared_index import SharedIndex
from roost_inference.kv.tiers.health import Health
from roost_inference.kv.tiers.lanes import Lane
from roost_inference.kv.tiers.tier import Tier, TierError

CLOSE_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class BlockFetch:
    """Blocks on their way to RAM. `given_up` ends it early: nobody waits for what is still read."""

    def __init__(self, tiers: Iterable[str], deadline: float) -> None:
        self.pending = set(tiers)
        self.deadline = deadline
        self.given_up = False

    @property
    def done(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.given_up or not self.pending


class LowerTier:
    """A lower tier with its threads and what waits to be written to it."""

    def __init__(self, tier: Tier, lane: Callable[[str], Lane], clock: Callable[[], float]) -> None:
        self.tier = tier
        self.reader = lane(f"kv-{tier.name}-read")
        self.writer = lane(f"kv-{tier.name}-write")
        self.health = Health(tier.name, clock)
        # bounded by RAM: only blocks RAM holds can be written
        self.dirty: OrderedDict[bytes, Node] = OrderedDict()
        self.writing = False
        self.reading_since: float | None = None


class TierIo:
    """Reads and writes lower tiers, the fastest first. A tier that hangs or fails holds up nothing
    but itself. `on_change` is called, on a tier's thread, when blocks have arrived in RAM."""

    def __init__(
        self, index: SharedIndex, tiers: Sequence[Tier], lane: Callable[[str], Lane]
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.lower = {tier.name: LowerTier(tier, lane, index.clock) for tier in tiers}
        self._shared = index
        self._closed = False

    def start(self) -> None:
        """Find what earlier runs left; tiers that say so are listed in the background."""
        for lower in self.lower.values():
            if lower.tier.scans_in_background:
                lower.reader.submit(partial(self._scan, lower))
            else:
                self._scan(lower)

    def _scan(self, lower: LowerTier) -> None:
        tier = lower.tier
        try:
            heads = sorted(tier.scan(), key=lambda head: head.start)
        except TierError as error:
            with self._shared.lock:
                lower.health.failed(str(error))
            return
        orphans, count = [], 0
        with self._shared.lock:
            for head in heads:
                node = self._shared.index.insert(head)
                if node is None:
                    orphans.append(head)
                else:
                    self._shared.index.place(node, tier.name)
                    count += 1
            superfluous = self._shared.evict_for(tier.name, 0)
        if not tier.is_shared:  # in a shared tier an orphan may be in the middle of an upload
            superfluous = [*superfluous, *orphans]
        for head in superfluous:
            tier.delete(head)
        log.info("the KV tier %r holds %d blocks", tier.name, count)

    def is_available(self, lower: LowerTier) -> bool:
        """Whether the tier works and no read of it hangs."""
        since = lower.reading_since
        stuck = since is not None and self._shared.clock() - since > lower.tier.quota.deadline_s
        return lower.health.available and not stuck

    def enqueue_write(self, node: Node, *, tails: bool = False) -> None:
        """A new block in RAM, to be written behind by `start_writing`; under the lock. tails: also
        to tiers that take no tails of their own accord."""
        for name, lower in self.lower.items():
            takes = tails or lower.tier.stores_tails or not node.is_tail
            if name not in node.tiers and takes:
                lower.dirty[node.head.key] = node

    def delete(self, tier: str, head: BlockHead) -> None:
        """Let the tier's writer delete a block the index has forgotten."""
        lower = self.lower.get(tier)
        if lower is not None:
            lower.writer.submit(partial(lower.tier.delete, head))

    def start_writing(self) -> None:
        """Wake the writer of every tier that has something to write and works."""
        for lower in self.lower.values():
            with self._shared.lock:
                if self._closed or lower.writing or not lower.dirty or not lower.health.available:
                    continue
                lower.writing = True
            if not lower.writer.submit(partial(self._write_dirty, lower)):
                lower.writing = False

    def _write_dirty(self, lower: LowerTier) -> None:
        """On the writer's thread: write what is dirty, oldest first, parents before children."""
        name = lower.tier.name
        while True:
            with self._shared.lock:
                node = self._next_dirty(lower)
                if node is None or not lower.health.available:
                    lower.writing = False
                    self._shared.idle.notify_all()
                    return
                head, payload = node.head, node.payload
                evicted = self._shared.evict_for(name, head.size)
                fits = self._shared.fits(name, head.size)
            for old in evicted:
                lower.tier.delete(old)
            if not fits or payload is None:
                with self._shared.lock:
                    lower.dirty.pop(head.key, None)
                    self._shared.figures.refused += 1
                continue
            try:
                lower.tier.write(head, payload)
            except TierError as error:
                with self._shared.lock:
                    lower.health.failed(str(error))
                continue
            with self._shared.lock:
                lower.health.worked()
                lower.dirty.pop(head.key, None)
                kept = self._shared.index.nodes.get(head.key) is node
                if kept:
                    self._shared.index.place(node, name)
                    self._shared.figures.moved(RAM, name)
            if not kept:
                lower.tier.delete(head)

    def _next_dirty(self, lower: LowerTier) -> Node | None:
        while lower.dirty:
            key, node = next(iter(lower.dirty.items()))
            if node.payload is not None and self._shared.index.nodes.get(key) is node:
                return node
            del lower.dirty[key]
        return None

    def fetch(self, nodes: Sequence[Node], sources: Sequence[str]) -> BlockFetch:
        """Start reading pinned blocks from the tiers given for each; see Fetch."""
        groups: dict[str, list[Node]] = {}
        for node, source in zip(nodes, sources, strict=True):
            if source != RAM:
                groups.setdefault(source, []).append(node)
        longest_s = max((self.lower[n].tier.quota.deadline_s for n in groups), default=0.0)
        fetch = BlockFetch(groups, self._shared.clock() + longest_s)
        for name, wanted in groups.items():
            lower = self.lower[name]
            if not lower.reader.submit(partial(self._load, lower, wanted, fetch)):
                fetch.pending.discard(name)
        return fetch

    def give_up(self, fetch: BlockFetch) -> None:
        """The deadline has passed: nobody waits any more, and the tier gets a pause."""
        with self._shared.lock:
            if fetch.done:
                return
            fetch.given_up = True
            for name in fetch.pending:
                deadline_s = self.lower[name].tier.quota.deadline_s
                self.lower[name].health.failed(f"no answer within {deadline_s:g} s")

    def _load(self, lower: LowerTier, nodes: Sequence[Node], fetch: BlockFetch) -> None:
        """On the reader's thread."""
        try:
            for node in nodes:
                if fetch.given_up or not self._load_one(lower, node, fetch):
                    break
        finally:
            with self._shared.lock:
                lower.reading_since = None
                fetch.pending.discard(lower.tier.name)
            self.on_change()

    def _load_one(self, lower: LowerTier, node: Node, fetch: BlockFetch) -> bool:
        name, started = lower.tier.name, self._shared.clock()
        with self._shared.lock:
            if node.payload is not None:
                return True
            lower.reading_since = started
        try:
            payload = lower.tier.read(node.head)
        except TierError as error:
            with self._shared.lock:
                if not fetch.given_up:
                    lower.health.failed(str(error))
            return False
        except (BadBlock, KeyError) as error:
            if isinstance(error, BadBlock):
                log.warning("A KV block of tier %r is dropped: %s", name, error)
                lower.tier.delete(node.head)
            with self._shared.lock:
                self._shared.figures.corrupt += isinstance(error, BadBlock)
                self._shared.index.displace(node, name)
            return False
        with self._shared.lock:
            lower.reading_since = None
            if not fetch.given_up:
                lower.health.worked()
            if self._shared.index.nodes.get(node.head.key) is not node:
                return False
            self._shared.evict_for(RAM, node.head.size)
            if not self._shared.fits(RAM, node.head.size):
                return False
            self._shared.index.place(node, RAM, payload)
            self._shared.figures.moved(name, RAM)
            self._shared.figures.read(name, self._shared.clock() - started, node.head.size)
        return True

    def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until every lower tier that works has stored what RAM holds; False if that took
        longer than the limit."""
        deadline = time.monotonic() + timeout_s
        self.start_writing()
        with self._shared.lock:
            while any(lower.writing for lower in self.lower.values()):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._shared.idle.wait(left)
        return True

    def close(self) -> None:
        """Write what can be written within CLOSE_TIMEOUT_S, then stop the threads."""
        if not self.flush():
            log.warning("Not all KV blocks were written before the stop; they are recomputed")
        with self._shared.lock:
            self._closed = True
            for lower in self.lower.values():
                lower.dirty.clear()
        for lower in self.lower.values():
            lower.writer.close(1.0)
            lower.reader.close(0.1)
