"""An engine's part in handing prompts over: what it offers, what it fetches, and what came of it.

One engine computes a prompt and offers its KV, another one fetches it and writes the answer. Every
engine can do both; its role says which of both it is meant for.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from roost_inference.backend import Backend
from roost_inference.kv.block import BLOCK_TOKENS, MAGIC, digest
from roost_inference.kv.handover.fetches import Fetches
from roost_inference.kv.handover.figures import HandoverFigures
from roost_inference.kv.handover.offers import LEASE_S, LEASES_MAX, Offers
from roost_inference.kv.handover.transports import PeerAccess
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.lanes import Lane, ThreadLane

Role = Literal["both", "prefill", "decode"]


@dataclass(frozen=True, slots=True)
class HandoverSettings:
    """lease_s: seconds that offered KV is kept without a sign of its reader. access: which engines
    are asked for KV. lane: what runs the work that waits."""

    role: Role = "both"
    lease_s: float = LEASE_S
    leases_max: int = LEASES_MAX
    access: PeerAccess = field(default_factory=PeerAccess)
    lane: Callable[[str], Lane] = ThreadLane


NO_HANDOVER = HandoverSettings()


class Handover:
    """compat is equal for engines that can use each other's KV."""

    def __init__(
        self,
        store: BlockStore,
        backend: Backend,
        settings: HandoverSettings,
        clock: Callable[[], float],
        prefill_ms_per_token: Callable[[], float],
    ) -> None:
        self.prefill_ms_per_token = prefill_ms_per_token
        self.role = settings.role
        self.engine_id = secrets.token_hex(8)
        self.compat = digest(
            b"handover", MAGIC, BLOCK_TOKENS.to_bytes(4, "little"), store.identity
        ).hex()
        self.figures = HandoverFigures(clock)
        self.offers = Offers(
            store,
            backend,
            self.figures,
            engine_id=self.engine_id,
            compat=self.compat,
            lease_s=settings.lease_s,
            leases_max=settings.leases_max,
            clock=clock,
        )
        self.fetches = Fetches(
            store,
            self.figures,
            compat=self.compat,
            access=settings.access,
            lane=settings.lane,
            clock=clock,
        )

    def report(self) -> dict[str, Any]:
        """For /health."""
        leases = {"open": self.offers.open(), **self.offers.ended()}
        return {
            "role": self.role,
            "engine_id": self.engine_id,
            "compat": self.compat,
            "leases": leases,
            **self.figures.report(),
        }
