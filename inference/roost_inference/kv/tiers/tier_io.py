"""Blocks between RAM and the lower tiers, on one reader and one writer thread per tier."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from roost_inference.kv.block import BadBlock, BlockHead
from roost_inference.kv.index import RAM, Node
from roost_inference.kv.shared_index import Shelf
from roost_inference.kv.tiers.health import Health
from roost_inference.kv.tiers.lanes import Lane
from roost_inference.kv.tiers.tier import Tier, TierError

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


class Lower:
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


class Movers:
    """Tiers are given fastest first. A tier that hangs or fails holds up nothing but itself."""

    def __init__(self, shelf: Shelf, tiers: Sequence[Tier], lane: Callable[[str], Lane]) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.lower = {tier.name: Lower(tier, lane, shelf.clock) for tier in tiers}
        self._shelf = shelf
        self._closed = False

    def start(self, background: Sequence[str]) -> None:
        """Find what earlier runs left; the tiers in `background` are listed meanwhile."""
        for name, lower in self.lower.items():
            if name in background:
                lower.reader.submit(partial(self.scan, lower))
            else:
                self.scan(lower)

    def scan(self, lower: Lower) -> None:
        try:
            heads = sorted(lower.tier.scan(), key=lambda head: head.start)
        except TierError as error:
            with self._shelf.lock:
                lower.health.failed(str(error))
            return
        orphans, found = [], 0
        with self._shelf.lock:
            for head in heads:
                node = self._shelf.index.insert(head)
                if node is None:
                    orphans.append(head)
                else:
                    self._shelf.index.place(node, lower.tier.name)
                    found += 1
            gone = self._shelf.make_room(lower.tier.name, 0)
        if lower.tier.name == "disk":  # a shared store may be in the middle of an upload
            gone = [*gone, *orphans]
        for head in gone:
            lower.tier.delete(head)
        log.info("the KV tier %r holds %d blocks", lower.tier.name, found)

    def is_available(self, lower: Lower) -> bool:
        since = lower.reading_since
        stuck = since is not None and self._shelf.clock() - since > lower.tier.quota.deadline_s
        return lower.health.available and not stuck

    def want_written(self, node: Node) -> None:
        """A new block in RAM, to be written behind by `kick`; under the lock."""
        for name, lower in self.lower.items():
            if name not in node.tiers and (lower.tier.stores_tails or not node.is_tail):
                lower.dirty[node.head.key] = node

    def delete(self, tier: str, head: BlockHead) -> None:
        """Let the tier's writer delete a block the index has forgotten."""
        lower = self.lower.get(tier)
        if lower is not None:
            lower.writer.submit(partial(lower.tier.delete, head))

    def kick(self) -> None:
        for lower in self.lower.values():
            with self._shelf.lock:
                if self._closed or lower.draining or not lower.dirty or not lower.health.available:
                    continue
                lower.draining = True
            if not lower.writer.submit(partial(self._drain, lower)):
                lower.draining = False

    def _drain(self, lower: Lower) -> None:
        """On the writer's thread: write what is dirty, oldest first, parents before children."""
        name = lower.tier.name
        while True:
            with self._shelf.lock:
                node = self._next_dirty(lower)
                if node is None or not lower.health.available:
                    lower.draining = False
                    self._shelf.idle.notify_all()
                    return
                head, payload = node.head, node.payload
                gone = self._shelf.make_room(name, head.size)
                fits = self._shelf.fits(name, head.size)
            for old in gone:
                lower.tier.delete(old)
            if not fits or payload is None:
                with self._shelf.lock:
                    lower.dirty.pop(head.key, None)
                    self._shelf.figures.refused += 1
                continue
            try:
                lower.tier.write(head, payload)
            except TierError as error:
                with self._shelf.lock:
                    lower.health.failed(str(error))
                continue
            with self._shelf.lock:
                lower.health.worked()
                lower.dirty.pop(head.key, None)
                kept = self._shelf.index.nodes.get(head.key) is node
                if kept:
                    self._shelf.index.place(node, name)
                    self._shelf.figures.moved(RAM, name)
            if not kept:
                lower.tier.delete(head)

    def _next_dirty(self, lower: Lower) -> Node | None:
        while lower.dirty:
            key, node = next(iter(lower.dirty.items()))
            if node.payload is not None and self._shelf.index.nodes.get(key) is node:
                return node
            del lower.dirty[key]
        return None

    def fetch(self, nodes: Sequence[Node], sources: Sequence[str]) -> Fetch:
        """Start reading pinned blocks from the tiers given for each; see Fetch."""
        groups: dict[str, list[Node]] = {}
        for node, source in zip(nodes, sources, strict=True):
            if source != RAM:
                groups.setdefault(source, []).append(node)
        longest_s = max((self.lower[n].tier.quota.deadline_s for n in groups), default=0.0)
        fetch = Fetch(groups, self._shelf.clock() + longest_s)
        for name, wanted in groups.items():
            lower = self.lower[name]
            if not lower.reader.submit(partial(self._load, lower, wanted, fetch)):
                fetch.pending.discard(name)
        return fetch

    def give_up(self, fetch: Fetch) -> None:
        """The deadline has passed: go on without, and leave the tier alone for a while."""
        with self._shelf.lock:
            if fetch.done:
                return
            fetch.over = True
            for name in fetch.pending:
                deadline_s = self.lower[name].tier.quota.deadline_s
                self.lower[name].health.failed(f"no answer within {deadline_s:g} s")

    def _load(self, lower: Lower, nodes: Sequence[Node], fetch: Fetch) -> None:
        """On the reader's thread."""
        try:
            for node in nodes:
                if fetch.over or not self._load_one(lower, node, fetch):
                    break
        finally:
            with self._shelf.lock:
                lower.reading_since = None
                fetch.pending.discard(lower.tier.name)
            self.on_change()

    def _load_one(self, lower: Lower, node: Node, fetch: Fetch) -> bool:
        name, started = lower.tier.name, self._shelf.clock()
        with self._shelf.lock:
            if node.payload is not None:
                return True
            lower.reading_since = started
        try:
            payload = lower.tier.read(node.head)
        except TierError as error:
            with self._shelf.lock:
                if not fetch.over:
                    lower.health.failed(str(error))
            return False
        except (BadBlock, KeyError) as error:
            if isinstance(error, BadBlock):
                log.warning("A KV block of tier %r is dropped: %s", name, error)
                lower.tier.delete(node.head)
            with self._shelf.lock:
                self._shelf.figures.corrupt += isinstance(error, BadBlock)
                self._shelf.index.displace(node, name)
            return False
        with self._shelf.lock:
            lower.reading_since = None
            if not fetch.over:
                lower.health.worked()
            if self._shelf.index.nodes.get(node.head.key) is not node:
                return False
            self._shelf.make_room(RAM, node.head.size)
            if not self._shelf.fits(RAM, node.head.size):
                return False
            self._shelf.index.place(node, RAM, payload)
            self._shelf.figures.moved(name, RAM)
            self._shelf.figures.read(name, self._shelf.clock() - started, node.head.size)
        return True

    def flush(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until the lower tiers that work have what RAM has; False if that took too long."""
        deadline = time.monotonic() + timeout_s
        self.kick()
        with self._shelf.lock:
            while any(lower.draining for lower in self.lower.values()):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._shelf.idle.wait(left)
        return True

    def close(self) -> None:
        """Write behind what can be written in a few seconds, then stop the threads."""
        if not self.flush():
            log.warning("Not all KV blocks were written before the stop; they are recomputed")
        with self._shelf.lock:
            self._closed = True
            for lower in self.lower.values():
                lower.dirty.clear()
        for lower in self.lower.values():
            lower.writer.close(1.0)
            lower.reader.close(0.1)
