"""The index under its lock, and the quotas: what every thread of the store works on."""

import threading
from collections.abc import Callable, Mapping
from functools import partial

from roost_inference.kv.block import BlockHead
from roost_inference.kv.figures import PagingFigures
from roost_inference.kv.index import RAM, BlockIndex, Node


class SharedIndex:
    """Hold `lock` around everything; `idle` is notified when a writer has nothing left to do.

    quotas: bytes by tier, RAM included.
    """

    def __init__(
        self, quotas: Mapping[str, int], figures: PagingFigures, clock: Callable[[], float]
    ) -> None:
        self.index = BlockIndex()
        self.figures = figures
        self.clock = clock
        self.lock = threading.RLock()
        self.idle = threading.Condition(self.lock)
        self.quotas = dict(quotas)
        for name in quotas:
            self.index.add_tier(name)

    def fits(self, tier: str, size: int) -> bool:
        """Whether `size` more bytes are within the tier's quota."""
        return self.index.bytes[tier] + size <= self.quotas[tier]

    def evict_for(self, tier: str, size: int) -> list[BlockHead]:
        """Evict until `size` more bytes fit, or nothing more may go. The caller deletes what left
        a lower tier, outside the lock."""
        evicted: list[BlockHead] = []
        while not self.fits(tier, size):
            node = self.index.victim(tier, self.clock(), partial(self._worth, tier))
            if node is None:
                break
            self.index.displace(node, tier)
            self.figures.moved(tier, "lower" if node.tiers else "gone")
            evicted.append(node.head)
        return [] if tier == RAM else evicted

    def _worth(self, tier: str, node: Node) -> int:
        """0 goes first: a block that a lower tier has, too, can be read again."""
        return int(tier == RAM and len(node.tiers) == 1 and len(self.quotas) > 1)

    def check(self) -> None:
        """Raise AssertionError if the index does not add up or a quota is exceeded."""
        with self.lock:
            self.index.check()
            for tier, quota in self.quotas.items():
                assert self.index.bytes[tier] <= quota, f"{tier} is over its quota"
