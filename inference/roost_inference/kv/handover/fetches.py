"""The side that goes on: fetches of prompts that another engine, or an object store, has."""

import logging
from collections.abc import Callable, Iterable

from roost_inference.backend import Payload
from roost_inference.kv.block import BlockHead
from roost_inference.kv.handover.fetch import PromptFetch, heads_of
from roost_inference.kv.handover.figures import HandoverFigures
from roost_inference.kv.handover.peer import PeerAccess, PeerSource
from roost_inference.kv.handover.source import KvSource
from roost_inference.kv.index import MatchedBlock
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.lanes import Lane
from roost_inference.request import KvOffer
from roost_inference.sequence import Sequence

FETCHES_MAX = 64
# A prompt waits for its blocks at most as long as it would take to compute them, within these.
WAIT_S_MIN, WAIT_S_MAX = 5.0, 30.0
# Blocks that have arrived are kept for a request that still waits for its turn.
ARRIVED_S = 60.0

OpenSource = Callable[[KvOffer], KvSource]

log = logging.getLogger(__name__)


class Fetches:
    """By the id of the request; the engine thread calls it. The reading is done on a lane."""

    def __init__(
        self,
        store: BlockStore,
        figures: HandoverFigures,
        *,
        compat: str,
        access: PeerAccess,
        lane: Callable[[str], Lane],
        clock: Callable[[], float],
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None  # called on the lane
        self._store = store
        self._figures = figures
        self._compat = compat
        self._access = access
        self._clock = clock
        self._reads, self._signals = lane("kv-handover-read"), lane("kv-handover-signal")
        self._open: dict[str, PromptFetch] = {}
        self._told: set[str] = set()
        self.open_source: OpenSource = self._peer

    def begin(self, sequence: Sequence, prefill_ms_per_token: float) -> None:
        """A request has arrived: begin to fetch what its offer has and the store lacks."""
        offer = sequence.request.kv.offer
        if offer is None:
            return
        source = self.open_source(offer)
        problem = self._problem(sequence, offer)
        if problem:
            self._refuse(source, problem)
            return
        wanted = self._missing(sequence, offer)
        if not wanted:
            source.release()
            return
        tokens = sum(head.count for head in wanted)
        wait_s = min(max(tokens * prefill_ms_per_token / 1000, WAIT_S_MIN), WAIT_S_MAX)
        fetch = PromptFetch(
            wanted,
            [source],
            self._place,
            deadline=self._clock() + wait_s,
            lease_s=offer.lease_s,
            clock=self._clock,
        )
        self._open[sequence.id] = fetch
        if not self._reads.submit(lambda: self._run(fetch)):
            del self._open[sequence.id]
            self._refuse(source, "busy")

    def _problem(self, sequence: Sequence, offer: KvOffer) -> str:
        """One word why an offer is not taken; empty if it is."""
        if offer.compat != self._compat:
            if offer.engine_id not in self._told and len(self._told) < FETCHES_MAX:
                self._told.add(offer.engine_id)
                log.warning(
                    "the KV of engine %s is of another model, build or number format: prompts "
                    "that it has computed are computed here again",
                    offer.engine_id,
                )
            return "compat"
        if sequence.tells_prompt:
            return "prompt_logprobs"
        return "busy" if len(self._open) >= FETCHES_MAX else ""

    def _refuse(self, source: KvSource, problem: str) -> None:
        self._figures.failed(problem)
        source.release()

    def reject(self, find: Callable[[], KvOffer | None]) -> None:
        """A request was refused before the engine saw it: release its offer, which `find` reads
        from it on a lane. Any thread."""

        def work() -> None:
            offer = find()
            if offer is not None:
                self._refuse(self.open_source(offer), "rejected")

        self._signals.submit(work)

    def _peer(self, offer: KvOffer) -> KvSource:
        return PeerSource(
            offer,
            self._access,
            self._signals,
            clock=self._clock,
            block_bytes_max=self._store.ram_bytes,
        )

    def _missing(self, sequence: Sequence, offer: KvOffer) -> list[BlockHead]:
        """The blocks of the offer that are not stored here, in order."""
        tokens = sequence.tokens.view[: min(offer.tokens, sequence.prompt_length)]
        store, root = self._store, self._store.root(sequence.request.session.cache_salt)
        heads = heads_of(store.identity, root, tokens)
        return [head for head in heads if store.node_of(head.key) is None]

    def _place(self, head: BlockHead, payload: Payload) -> bool:
        node = self._store.accept(head, payload)
        if node is None:
            return False
        self._store.retain_for([node], ARRIVED_S)
        return True

    def _run(self, fetch: PromptFetch) -> None:
        """On the lane."""
        try:
            fetch.run()
        finally:
            self._figures.fetched(fetch)
            self.on_change()

    def get(self, request_id: str) -> PromptFetch | None:
        """The fetch of a request, None without one."""
        return self._open.get(request_id)

    def report(
        self, request_id: str, matched: Iterable[MatchedBlock], length: int
    ) -> dict[str, object]:
        """What a request got from another engine, for its metrics: of the matched blocks those that
        lie within the first `length` tokens. Counts them as used."""
        fetch = self._open.get(request_id)
        if fetch is None:
            return {}
        own = [part for part in matched if part.node.head.key in fetch.keys]
        starts = ((part.node.head.start, part.used) for part in own)
        used = sum(max(min(count, length - start), 0) for start, count in starts)
        self._figures.used(used)
        told: dict[str, object] = {"tokens": used, "ms": round(fetch.seconds * 1000, 3)}
        if fetch.tokens:
            told["by"] = next(iter(fetch.tokens))
        if fetch.failures:
            told["failure"] = fetch.failures[0]
        return {"handover": told}

    def is_open(self, request_id: str) -> bool:
        """Whether the request should wait for its blocks. Past its deadline a fetch is given up."""
        fetch = self._open.get(request_id)
        if fetch is None or fetch.is_over:
            return False
        if self._clock() < fetch.deadline:
            return True
        fetch.failures.append("too_slow")
        fetch.give_up()
        return False

    @property
    def is_reading(self) -> bool:
        """Whether any request waits for blocks."""
        return any(not fetch.is_over for fetch in self._open.values())

    def close(self, request_id: str) -> None:
        """The request has what it can get, or is gone."""
        fetch = self._open.pop(request_id, None)
        if fetch is not None:
            fetch.give_up()

    def stop(self) -> None:
        """The engine stops: read nothing more."""
        for fetch in self._open.values():
            fetch.give_up()
        self._reads.close(1.0)
        self._signals.close(1.0)
