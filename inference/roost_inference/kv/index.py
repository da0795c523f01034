"""The tree of known blocks: which tiers hold one, which may go, and which a prompt reuses.

A block is reached only through its parent, so a chain without holes is the only thing that can be
found. A block leaves its last tier only when no child is left anywhere; within a tier children
leave before their parents. This is bookkeeping only: no I/O, no threads, no lock.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from roost_inference.backend import Payload
from roost_inference.batch import Tokens
from roost_inference.kv.block import BLOCK_TOKENS, BlockHead, block_key

# Children of one block compared token by token when none continues the prompt as a whole.
CHILDREN_COMPARED_MAX = 256

RAM = "ram"


@dataclass(eq=False, slots=True)
class Node:
    """A block somewhere below the device. RAM holds its `payload`, if any; `pins` keep it in RAM;
    until `retain_until` it leaves a tier only when nothing else can; until `leased_until` another
    engine may read it, so a longer tail does not replace it."""

    head: BlockHead
    parent: "Node | None"
    tiers: set[str] = field(default_factory=set)
    payload: Payload | None = None
    pins: int = 0
    retain_until: float = 0.0
    leased_until: float = 0.0
    children: dict[bytes, "Node"] = field(default_factory=dict)

    @property
    def is_tail(self) -> bool:
        """Whether it is shorter than a whole block, and so the last of its chain."""
        return self.head.count < BLOCK_TOKENS

    @property
    def end(self) -> int:
        """One past its last position."""
        return self.head.start + self.head.count


@dataclass(frozen=True, slots=True)
class MatchedBlock:
    """A block of a prompt's chain; the first `used` of its tokens are the prompt's."""

    node: Node
    used: int


class BlockIndex:
    """Nodes by key, and per tier the order of last use and the bytes held."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, Node] = {}
        self.bytes: dict[str, int] = {}
        self._roots: dict[bytes, dict[bytes, Node]] = {}
        self._used: dict[str, OrderedDict[bytes, Node]] = {}

    def add_tier(self, name: str) -> None:
        """Keep order of use and bytes for a tier of this name."""
        self.bytes[name] = 0
        self._used[name] = OrderedDict()

    def count(self, tier: str) -> int:
        """Blocks that the tier holds."""
        return len(self._used[tier])

    def insert(self, head: BlockHead) -> Node | None:
        """The node of a block, new or known; None if the block's parent is not known."""
        node = self.nodes.get(head.key)
        if node is not None:
            return node
        parent = self.nodes.get(head.parent)
        if (parent is None) != (head.start == 0) or (parent is not None and parent.is_tail):
            return None
        if parent is not None and parent.end != head.start:
            return None
        node = Node(head, parent)
        siblings = self._roots.setdefault(head.parent, {}) if parent is None else parent.children
        siblings[head.key] = node
        self.nodes[head.key] = node
        return node

    def place(self, node: Node, tier: str, payload: Payload | None = None) -> None:
        """Note that the tier holds the block now."""
        if tier == RAM:
            node.payload = payload
        if tier not in node.tiers:
            node.tiers.add(tier)
            self.bytes[tier] += node.head.size
        self._used[tier][node.head.key] = node
        self._used[tier].move_to_end(node.head.key)

    def displace(self, node: Node, tier: str) -> None:
        """Note that the tier holds it no longer. A block in no tier is forgotten with all its
        descendants."""
        if tier in node.tiers:
            node.tiers.discard(tier)
            self.bytes[tier] -= node.head.size
            self._used[tier].pop(node.head.key, None)
        if tier == RAM:
            node.payload = None
        if not node.tiers:
            for child in tuple(node.children.values()):
                for name in tuple(child.tiers):
                    self.displace(child, name)
            self._unlink(node)

    def _unlink(self, node: Node) -> None:
        self.nodes.pop(node.head.key, None)
        parent = node.parent
        siblings = parent.children if parent else self._roots.get(node.head.parent, {})
        siblings.pop(node.head.key, None)
        if parent is None and not siblings:
            self._roots.pop(node.head.parent, None)

    def touch(self, chain: list[Node]) -> None:
        """Mark as used, the root last, so that leaves are always older than their parents."""
        for node in reversed(chain):
            for tier in node.tiers:
                self._used[tier].move_to_end(node.head.key)

    def chain(self, node: Node | None) -> list[Node]:
        """From the root down to the node."""
        nodes = []
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def walk(self, root: bytes, wanted: Tokens) -> list[MatchedBlock]:
        """The blocks of the longest known prefix; the last one may match only in part."""
        matched: list[MatchedBlock] = []
        children, parent, position = self._roots.get(root, {}), root, 0
        while children and position < len(wanted):
            rest = wanted[position : position + BLOCK_TOKENS]
            node = children.get(block_key(parent, rest))
            if node is None:
                part = _closest(children, rest)
                return [*matched, part] if part is not None else matched
            matched.append(MatchedBlock(node, len(rest)))
            children, parent, position = node.children, node.head.key, position + len(rest)
        return matched

    def superseded(self, node: Node, now: float) -> list[Node]:
        """Tails beside the node that the node contains whole: nothing needs them any more, unless
        they are leased."""
        siblings = node.parent.children if node.parent else self._roots.get(node.head.parent, {})
        return [
            other
            for other in siblings.values()
            if other is not node
            and not other.children
            and other.pins == 0
            and other.leased_until <= now
            and other.head.count < node.head.count
            and np.array_equal(other.head.tokens, node.head.tokens[: other.head.count])
        ]

    def victim(self, tier: str, now: float, rank: Callable[[Node], int]) -> Node | None:
        """The block the tier should give up next: of those that may go the one with the lowest
        `rank`, held ones last, then the least recently used. None if all must stay."""
        best: tuple[int, Node] | None = None
        for node in self._used[tier].values():
            if not self.removable(node, tier):
                continue
            worth = rank(node) + (1000 if node.retain_until > now else 0)
            if worth == 0:
                return node
            if best is None or worth < best[0]:
                best = (worth, node)
        return best[1] if best else None

    def removable(self, node: Node, tier: str) -> bool:
        """Whether it can leave the tier: no child would lose its parent, no reader its block."""
        if node.pins and (tier == RAM or len(node.tiers) == 1):
            return False
        if any(tier in child.tiers for child in node.children.values()):
            return False
        return len(node.tiers) > 1 or not node.children

    def oldest(self, tier: str) -> Iterator[Node]:
        """The blocks of a tier, least recently used first; the tier may change meanwhile."""
        return iter(tuple(self._used[tier].values()))

    def check(self) -> None:
        """Raise AssertionError if the tree, the tiers and the sums disagree."""
        sums = dict.fromkeys(self.bytes, 0)
        for key, node in self.nodes.items():
            assert node.head.key == key and node.tiers, "a block in no tier"
            assert (node.payload is not None) == (RAM in node.tiers), "RAM without the KV"
            assert node.pins >= 0, "more unpinned than pinned"
            if node.parent is None:
                assert node.head.start == 0, "a chain that begins in the middle"
            else:
                assert self.nodes.get(node.head.parent) is node.parent, "a hole in a chain"
                assert node.parent.children.get(key) is node, "a child its parent does not know"
                assert node.parent.end == node.head.start, "a gap between two blocks"
            for tier in node.tiers:
                sums[tier] += node.head.size
                assert self._used[tier].get(key) is node, "a block without an order of use"
        assert sums == self.bytes, "bytes do not add up"
        assert sum(len(used) for used in self._used.values()) == sum(
            len(node.tiers) for node in self.nodes.values()
        ), "a tier lists a block that is gone"


def _closest(children: dict[bytes, Node], rest: Tokens) -> MatchedBlock | None:
    """The child that shares most leading tokens, newest first among a bounded number."""
    best: MatchedBlock | None = None
    for node in islice(reversed(children.values()), CHILDREN_COMPARED_MAX):
        held = node.head.tokens
        size = min(len(held), len(rest))
        if held[0] != rest[0]:
            continue
        differs = np.flatnonzero(held[:size] != rest[:size])
        shared = int(differs[0]) if differs.size else size
        if best is None or shared > best.used:
            best = MatchedBlock(node, shared)
    return best
