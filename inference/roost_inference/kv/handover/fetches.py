"""The side that goes on: fetches of prompts that another engine, or an object store, has."""

import logging
from collections.abc import Callable, Iterable

from roost_inference.backend import Payload
from roost_inference.kv.block import BLOCK_TOKENS, BlockHead
from roost_inference.kv.handover.fetch import PromptFetch, heads_of
from roost_inference.kv.handover.figures import HandoverFigures
from roost_inference.kv.handover.object_source import AbsentKeys, ObjectSource
from roost_inference.kv.handover.peer import PeerSource
from roost_inference.kv.handover.source import KvSource
from roost_inference.kv.handover.transports import PeerAccess
from roost_inference.kv.index import RAM, MatchedBlock
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.lanes import Lane
from roost_inference.request import KvOffer
from roost_inference.sequence import Sequence

FETCHES_MAX = 64
# A prompt waits for its blocks at most as long as it would take to compute them, within these.
WAIT_S_MIN, WAIT_S_MAX = 5.0, 30.0
# Blocks that have arrived are kept for a request that still waits for its turn.
ARRIVED_S = 60.0
# A look-up without an offer has to save so many times what it may cost.
FIND_GAIN = 4

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
        self._finds = lane("kv-find")
        self._absent = AbsentKeys(clock)
        self._open: dict[str, PromptFetch] = {}
        self._told: set[str] = set()
        self.open_source: OpenSource = self._peer

    def begin(self, sequence: Sequence, prefill_ms_per_token: float) -> None:
        """A request has arrived: begin to fetch what the store lacks of its prompt, from the engine
        that offers it, and by key from the tiers that others share."""
        offer = sequence.request.kv.offer
        if offer is None:
            self._find(sequence, prefill_ms_per_token)
            return
        source = self.open_source(offer)
        problem = self._problem(sequence, offer)
        if problem:
            self._refuse(source, problem)
            return
        wanted = self._missing(sequence, offer.tokens)
        if not wanted:
            source.release()
            return
        sources = [source, *self._tiers()]
        fetch = self._open_fetch(wanted, sources, prefill_ms_per_token, offer.lease_s)
        self._open[sequence.id] = fetch
        if not self._reads.submit(lambda: self._run(fetch)):
            del self._open[sequence.id]
            self._refuse(source, "busy")

    def _find(self, sequence: Sequence, prefill_ms_per_token: float) -> None:
        """Look for whole blocks that another machine may have stored in a shared tier since our
        start, where that would save much more time than it takes."""
        allowed = sequence.request.kv.load_tiers
        sources = [each for each in self._tiers() if allowed is None or each.name in allowed]
        if not sources or sequence.tells_prompt or len(self._open) >= FETCHES_MAX:
            return
        length = sequence.prompt_length - 1
        wanted = self._missing(sequence, length - length % BLOCK_TOKENS)
        saved_ms = sum(head.count for head in wanted) * prefill_ms_per_token
        latency_ms = max(self._store.figures.latency_ms(source.name) for source in sources)
        if not wanted or saved_ms < FIND_GAIN * latency_ms or wanted[0].key in self._absent:
            return
        fetch = self._open_fetch(wanted, sources, prefill_ms_per_token, ARRIVED_S)
        self._open[sequence.id] = fetch
        if not self._finds.submit(lambda: self._run(fetch, is_search=True)):
            del self._open[sequence.id]

    def _tiers(self) -> list[KvSource]:
        return [
            ObjectSource(tier, self._store, self._absent, self._clock)
            for tier in self._store.keyed_tiers()
        ]

    def _open_fetch(
        self,
        wanted: list[BlockHead],
        sources: list[KvSource],
        prefill_ms_per_token: float,
        lease_s: float,
    ) -> PromptFetch:
        tokens = sum(head.count for head in wanted)
        wait_s = min(max(tokens * prefill_ms_per_token / 1000, WAIT_S_MIN), WAIT_S_MAX)
        return PromptFetch(
            wanted,
            sources,
            self._place,
            deadline=self._clock() + wait_s,
            lease_s=lease_s,
            clock=self._clock,
        )

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
        tiers = sequence.request.kv.load_tiers
        if sequence.tells_prompt or (tiers is not None and RAM not in tiers):
            return "not_wanted"
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

    def _missing(self, sequence: Sequence, length: int) -> list[BlockHead]:
        """The blocks of so many tokens of the prompt that are not stored here, in order."""
        most = sequence.request.kv.max_load_tokens
        length = min(length, sequence.prompt_length, length if most is None else most)
        tokens = sequence.tokens.view[:length]
        store, root = self._store, self._store.root(sequence.request.session.cache_salt)
        heads = heads_of(store.identity, root, tokens)
        return [head for head in heads if store.node_of(head.key) is None]

    def _place(self, head: BlockHead, payload: Payload, source: str) -> bool:
        tier = source if source in self._store.quotas else None
        node = self._store.accept(head, payload, tier)
        if node is None:
            return False
        self._store.retain_for([node], ARRIVED_S)
        return True

    def _run(self, fetch: PromptFetch, *, is_search: bool = False) -> None:
        """On the lane."""
        try:
            fetch.run()
        finally:
            self._figures.fetched(fetch, is_search=is_search)
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
        for lane in (self._reads, self._finds, self._signals):
            lane.close(1.0)
