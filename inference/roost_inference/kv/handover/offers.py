"""The side that offers: a prompt's chain of blocks under a lease, and its blocks for the reader."""

import secrets
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass

from roost_inference.backend import Backend, Payload
from roost_inference.errors import EngineFailed
from roost_inference.kv.block import BLOCK_TOKENS, TAIL_TOKENS_MIN, block_key, encode_head
from roost_inference.kv.handover.figures import HandoverFigures
from roost_inference.kv.handover.leases import LeaseState, LeaseTable
from roost_inference.kv.index import Node
from roost_inference.kv.store import BlockStore
from roost_inference.request import KvOffer
from roost_inference.sequence import Sequence

LEASE_S = 30.0
LEASES_MAX = 64
# Of the RAM for KV: the rest is for blocks that nobody reads at the moment.
LEASED_SHARE = 0.5
# How long a block that has to come from a lower tier is waited for, and how often it is looked at.
RESTORE_S = 2.0
RESTORE_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class Address:
    """Where this engine answers. socket: the path of its Unix socket, empty without one."""

    host: str = "127.0.0.1"
    port: int = 0
    socket: str = ""


class Offers:
    """The engine thread makes chains and offers, other threads read under their leases."""

    def __init__(
        self,
        store: BlockStore,
        backend: Backend,
        figures: HandoverFigures,
        *,
        engine_id: str,
        compat: str,
        lease_s: float = LEASE_S,
        leases_max: int = LEASES_MAX,
        clock: Callable[[], float],
    ) -> None:
        self.address = Address()
        self._store = store
        self._backend = backend
        self._figures = figures
        self._engine_id = engine_id
        self._compat = compat
        self._clock = clock
        self._lock = threading.Lock()
        bytes_max = int(store.ram_bytes * LEASED_SHARE)
        self._table = LeaseTable(lease_s=lease_s, leases_max=leases_max, bytes_max=bytes_max)

    # On the engine thread

    def export(self, sequence: Sequence) -> None:
        """Put what a sequence has computed of its prompt into RAM, in whole blocks: little by
        little, so that answers beside it wait for no more than a block or two."""
        computed = min(sequence.computed, sequence.prompt_length)
        self._chain(sequence, computed - computed % BLOCK_TOKENS)

    def offer(self, sequence: Sequence) -> KvOffer | str:
        """Keep a computed prompt for another engine. Returns the offer, or one word that says why
        there is none."""
        nodes = self._chain(sequence, sequence.prompt_length)
        id, size = f"kv-{secrets.token_hex(12)}", sum(node.head.size for node in nodes)
        with self._lock:
            lease = self._table.offer(id, [n.head.key for n in nodes], size, self._clock())
        if isinstance(lease, str):
            self._figures.offered(lease)
            return lease
        self._figures.offered("leased")
        self._store.bring(nodes)
        self._store.lease_for(nodes, self._table.lease_s)
        at = self.address
        return KvOffer(
            engine_id=self._engine_id,
            request_id=id,
            host=at.host,
            port=at.port,
            socket=at.socket,
            tokens=nodes[-1].end,
            compat=self._compat,
            lease_s=self._table.lease_s,
        )

    def _chain(self, sequence: Sequence, length: int) -> list[Node]:
        """The blocks of exactly so many tokens of a running sequence; those that are not stored are
        exported and put into RAM. Ends early where that fails, and before a last block that is too
        short to be worth it."""
        request, store = sequence.request, self._store
        most = request.kv.max_offload_tokens
        tokens = sequence.tokens.view[: length if most is None else min(length, most)]
        root, owner = store.root(request.session.cache_salt), request.session.session_id or ""
        nodes = [part.node for part in store.walk(root, tokens) if part.used == BLOCK_TOKENS]
        parent = nodes[-1].head.key if nodes else root
        for start in range(len(nodes) * BLOCK_TOKENS, len(tokens), BLOCK_TOKENS):
            part = tokens[start : start + BLOCK_TOKENS]
            if len(part) < TAIL_TOKENS_MIN:
                break
            node = store.node_of(block_key(parent, part))
            if node is None:
                payload = self._export(sequence, start, start + len(part))
                if payload is None:
                    break
                key = store.put(parent, start, part, payload, owner, stores_tail=True)
                node = None if key is None else store.node_of(key)
            if node is None:
                break
            nodes.append(node)
            parent = node.head.key
        return nodes

    def _export(self, sequence: Sequence, start: int, end: int) -> Payload | None:
        if sequence.sequence_id is None:
            return None
        try:
            return self._backend.export_block(sequence.sequence_id, start, end)
        except EngineFailed:
            return None

    # Any thread

    def renew(self, id: str) -> LeaseState | None:
        """The reader gives a sign of life; see LeaseTable."""
        with self._lock:
            return self._table.renew(id, self._clock())

    def release(self, id: str) -> LeaseState | None:
        """The reader needs nothing more; see LeaseTable."""
        with self._lock:
            return self._table.release(id, self._clock())

    def state(self, id: str) -> LeaseState | None:
        """The state of a lease, None for an unknown one; see LeaseTable."""
        with self._lock:
            self._table.open(self._clock())
            return self._table.state(id)

    def readable(self, id: str, keys: Many[bytes]) -> list[Node]:
        """The blocks that may be read under a lease, up to the first that is not there."""
        with self._lock:
            lease = self._table.fetch(id, self._clock())
        nodes: list[Node] = []
        for key in keys if lease is not None else ():
            node = self._store.node_of(key) if lease is not None and key in lease.keys else None
            if node is None:
                break
            nodes.append(node)
        return nodes

    def stored_form(self, id: str, node: Node) -> tuple[bytes, memoryview] | None:
        """The head and the KV of a block under a lease, which this renews; None once lease or block
        has gone. May wait for a lower tier."""
        with self._lock:
            if self._table.fetch(id, self._clock()) is None:
                return None
        payload = self._payload(node)
        if payload is None:
            return None
        self._store.lease_for([node], self._table.lease_s)
        return encode_head(node.head, payload), payload.data

    def _payload(self, node: Node) -> Payload | None:
        """The block's KV, brought back from a lower tier if it has left RAM meanwhile."""
        if (payload := node.payload) is None:
            self._store.bring([node])
            deadline = time.monotonic() + RESTORE_S
            while (payload := node.payload) is None and time.monotonic() < deadline:
                time.sleep(RESTORE_POLL_S)
        return payload

    def open(self) -> int:
        """How many leases are open."""
        with self._lock:
            return self._table.open(self._clock())

    def leased_bytes(self) -> int:
        """Bytes under open leases."""
        with self._lock:
            return self._table.leased_bytes(self._clock())

    def ended(self) -> dict[str, int]:
        """How many leases have ended, by state."""
        with self._lock:
            self._table.open(self._clock())
            return {str(state): count for state, count in self._table.ended.items() if count}
