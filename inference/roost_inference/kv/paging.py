"""Moves KV between the device and the block store: export, load, and load or compute again.

The engine thread calls it.

A load has two phases. The first finds a prompt's blocks, pins them and has those of lower tiers
read to RAM while the sequence waits in the queue; the second, when the sequence is admitted,
imports what has arrived, in ascending order and without a hole. Whatever is missing then is
computed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from roost_inference.backend import Backend
from roost_inference.batch import Tokens
from roost_inference.errors import EngineFailed
from roost_inference.kv.block import BLOCK_TOKENS, TAIL_TOKENS_MIN
from roost_inference.kv.handover.handover import Handover
from roost_inference.kv.index import RAM, MatchedBlock
from roost_inference.kv.match import reusable, reuse_unit, whole_units
from roost_inference.kv.paging_protocol import NO_COMPANION, Companion, Prefetch
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.tier_io import BlockFetch
from roost_inference.request import EngineSession, KvOffer, KvPolicy
from roost_inference.sequence import Sequence

# Fewer tokens are computed faster than they are loaded.
GAIN_TOKENS_MIN = 16


@dataclass(slots=True)
class Plan:
    """The blocks that a waiting sequence will load, from number `first` on; all are pinned."""

    first: int = 0
    matched: list[MatchedBlock] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    fetch: BlockFetch | None = None
    report: dict[str, object] = field(default_factory=dict)


class Pager:
    """Implements Paging over a block store; one per engine."""

    keeps_evicted = True

    def __init__(
        self,
        backend: Backend,
        store: BlockStore,
        *,
        prefill_ms_per_token: Callable[[], float],
        clock: Callable[[], float],
        handover: Handover,
        companion: Companion = NO_COMPANION,
    ) -> None:
        self.store, self._companion = store, companion
        self.handover: Handover | None = handover
        self._fetches, self._offers = handover.fetches, handover.offers
        self._backend, self._clock = backend, clock
        self._prefill_ms_per_token = prefill_ms_per_token
        self._plans: dict[str, Plan] = {}

    def on_change(self, callback: Callable[[], None]) -> None:
        """Have this called when blocks have arrived in RAM; see Paging."""
        self.store.on_change(callback)
        self._fetches.on_change = callback

    # Phase one: find, decide, pin, read

    def expect(self, sequence: Sequence) -> None:
        """A sequence has arrived; see Paging."""
        self._fetches.begin(sequence, self._prefill_ms_per_token())

    def plan(self, sequence: Sequence, resident: int) -> tuple[MatchedBlock, ...]:
        """The blocks ready to be imported behind the first `resident` tokens, which the device
        has; empty while they are on their way, and if computing is cheaper."""
        if self._fetches.is_open(sequence.id):
            return ()
        plan = self._plans.get(sequence.id)
        if plan is None or resident // BLOCK_TOKENS < plan.first:
            self._discard(sequence)
            plan = self._plans[sequence.id] = self._make(sequence, resident)
        if plan.fetch is not None and not plan.fetch.done:
            if self._clock() < plan.fetch.deadline:
                return ()
            self.store.give_up(plan.fetch)
        return self._ready(plan, resident)

    def is_fetching(self, sequence: Sequence) -> bool:
        """Whether blocks of the sequence are being read."""
        if self._fetches.is_open(sequence.id):
            return True
        plan = self._plans.get(sequence.id)
        return plan is not None and plan.fetch is not None and not plan.fetch.done

    @property
    def is_reading(self) -> bool:
        """Whether blocks of any sequence are being read."""
        return self._fetches.is_reading or any(
            plan.fetch and not plan.fetch.done for plan in self._plans.values()
        )

    def forget(self, sequence: Sequence) -> None:
        """It has loaded, or never will."""
        self._fetches.close(sequence.id)
        self._discard(sequence)

    def _discard(self, sequence: Sequence) -> None:
        plan = self._plans.pop(sequence.id, None)
        if plan is not None:
            self.store.unpin(part.node for part in plan.matched)

    def _make(self, sequence: Sequence, resident: int) -> Plan:
        policy, wanted = sequence.request.kv, reusable(sequence)
        if policy.max_load_tokens is not None:
            wanted = wanted[: resident + policy.max_load_tokens]
        root = self.store.root(sequence.request.session.cache_salt)
        matched = whole_units(self.store.walk(root, wanted), reuse_unit(sequence))
        first = resident // BLOCK_TOKENS
        parts, sources = matched[first:], []
        for part in parts:
            source = self.store.source(part.node, policy.load_tiers)
            if source is None:
                break
            sources.append(source)
        count, report = self._decide(parts[: len(sources)], sources, first, resident)
        plan = Plan(first, parts[:count], sources[:count], report=report)
        nodes = [part.node for part in plan.matched]
        self.store.pin(nodes)
        if any(source != RAM for source in plan.sources):
            plan.fetch = self.store.fetch(nodes, plan.sources)
        self._companion.prepare(sequence.request.session.cache_salt, [wanted] if nodes else [])
        return plan

    def _decide(
        self, parts: list[MatchedBlock], sources: list[str], first: int, resident: int
    ) -> tuple[int, dict[str, object]]:
        """How many of the blocks to load: as many as make the whole cheapest, by what loading and
        computing were measured to cost."""
        figures, per_token_ms = self.store.figures, self._prefill_ms_per_token()
        end, best, saved_best_ms, load_ms = first * BLOCK_TOKENS, 0, 0.0, 0.0
        costs: dict[int, float] = {0: 0.0}
        seen: set[str] = set()
        for number, (part, source) in enumerate(zip(parts, sources, strict=True), 1):
            if source not in seen:
                seen.add(source)
                load_ms += figures.latency_ms(source)
            load_ms += figures.load_ms(source, part.node.head.size)
            costs[number] = load_ms
            end += part.used
            saved_ms = (end - resident) * per_token_ms - load_ms
            if end - resident >= GAIN_TOKENS_MIN and saved_ms > saved_best_ms:
                best, saved_best_ms = number, saved_ms
        gain = end - resident
        for source in seen or {"all"}:
            result = "miss" if gain < GAIN_TOKENS_MIN else "hit" if best else "recompute"
            figures.looked_up(source, result)
        decision = "load" if best else "recompute" if gain >= GAIN_TOKENS_MIN else "none"
        return best, {
            "decision": decision,
            "expected_load_ms": round(costs[best or len(parts)], 3),
            "expected_recompute_ms": round(max(gain, 0) * per_token_ms, 3),
        }

    def _ready(self, plan: Plan, resident: int) -> tuple[MatchedBlock, ...]:
        """The unbroken run of blocks in RAM from where the device ends."""
        skip = resident // BLOCK_TOKENS - plan.first
        run: list[MatchedBlock] = []
        for part in plan.matched[skip:]:
            if part.node.payload is None:
                break
            run.append(part)
        gain = sum(part.used for part in run) - resident % BLOCK_TOKENS
        return tuple(run) if gain >= GAIN_TOKENS_MIN else ()

    # Phase two: import

    def load(
        self, sequence_id: int, loads: tuple[MatchedBlock, ...], reserve: Callable[[int], bool]
    ) -> int:
        """Append blocks to a sequence that ends where the first one begins; `reserve` accounts
        for the cells. Returns the tokens gained; stops at the first block that is missing."""
        gained = 0
        for part in loads:
            head, payload = part.node.head, part.node.payload
            if payload is None or not reserve(head.count):
                break
            started = self._clock()
            if not self._backend.import_block(sequence_id, payload):
                self.store.drop(part.node)
                break
            self.store.figures.imported(self._clock() - started, head.size)
            self.store.figures.moved(RAM, "device")
            gained += part.used
        return gained

    def report(self, sequence: Sequence, resident: int, loaded: int, ms: float) -> None:
        """Note on the sequence what was decided and what it took, for the response's metrics."""
        plan = self._plans.get(sequence.id)
        if plan is None or sequence.kv_report:
            return
        tiers: dict[str, int] = {}
        left = loaded + resident % BLOCK_TOKENS
        for part, source in zip(plan.matched, plan.sources, strict=True):
            tiers[source] = tiers.get(source, 0) + min(part.used, max(left, 0))
            left -= part.used
        sequence.kv_report = {
            **plan.report,
            "device_tokens": resident,
            "loaded_tokens": loaded,
            "loaded_from": tiers if loaded else {},
            "load_ms": round(ms, 3),
            **self._fetches.report(sequence.id, plan.matched, loaded + resident),
        }

    # Export

    def page_out(
        self,
        sequence_id: int,
        tokens: Tokens,
        *,
        session: EngineSession,
        policy: KvPolicy,
        blocks_max: int | None = None,
    ) -> bool:
        """Store KV of a sequence that is not stored yet, at most this many blocks. True when all
        is stored that can be."""
        if policy.max_offload_tokens is not None:
            tokens = tokens[: policy.max_offload_tokens]
        root = self.store.root(session.cache_salt)
        matched = self.store.walk(root, tokens)
        if sum(part.used for part in matched) + TAIL_TOKENS_MIN > len(tokens):
            return True
        whole = [part for part in matched if part.used == BLOCK_TOKENS]
        parent = whole[-1].node.head.key if whole else root
        exported, owner = 0, session.session_id or ""
        for start in range(len(whole) * BLOCK_TOKENS, len(tokens), BLOCK_TOKENS):
            end = min(start + BLOCK_TOKENS, len(tokens))
            if end - start < TAIL_TOKENS_MIN:
                break
            if exported == blocks_max:
                return False
            try:
                payload = self._backend.export_block(sequence_id, start, end)
            except EngineFailed:
                return True
            key = self.store.put(parent, start, tokens[start:end], payload, owner)
            if key is None:
                return True
            self._companion.stored(session.cache_salt, tokens, start, end)
            parent, exported = key, exported + 1
        return True

    def export(self, sequence: Sequence) -> None:
        """Store what a running sequence has computed of its prompt; see Paging."""
        self._offers.export(sequence)

    def offer(self, sequence: Sequence) -> KvOffer | str:
        """Offer a computed prompt to another engine; see Paging."""
        return self._offers.offer(sequence)

    # Sessions

    def stored_tokens(self, session: EngineSession, tokens: Tokens) -> dict[str, int]:
        """How many of the tokens each tier holds."""
        stored: dict[str, int] = {}
        for part in self.store.walk(self.store.root(session.cache_salt), tokens, touch=False):
            for tier in tuple(part.node.tiers):
                stored[tier] = stored.get(tier, 0) + part.used
        return stored

    def retain(self, session: EngineSession, tokens: Tokens, until: float) -> None:
        """Keep the blocks of these tokens in RAM until then."""
        self.store.retain(self.store.root(session.cache_salt), tokens, until)

    def prefetch(self, session: EngineSession, tokens: Tokens | None, until: float) -> Prefetch:
        """Bring a session's blocks to RAM; see Paging."""
        store, root = self.store, self.store.root(session.cache_salt)
        chain = [] if tokens is None else [part.node for part in store.walk(root, tokens)]
        if not chain and session.session_id is not None:
            # After a restart only the blocks remember whose they are.
            chain = store.leaf_of(session.session_id, root)
        sources = [store.source(node, None) for node in chain]
        blocks = sources.index(None) if None in sources else len(sources)
        ready = [source for source in sources[:blocks] if source is not None]
        store.fetch(chain[:blocks], ready)
        self._companion.prepare(session.cache_salt, [node.head.tokens for node in chain])
        store.retain_nodes(chain[:blocks], until)
        return Prefetch(bool(chain), blocks, sum(source != RAM for source in ready))

    def check(self) -> None:
        """Raise AssertionError if the tiers do not add up."""
        self.store.check()

    def close(self) -> None:
        """Finish writing and give the tiers back."""
        self._fetches.stop()
        self.store.close()
