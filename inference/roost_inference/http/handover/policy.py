"""What a request says of its KV, as the engine takes it; and what is stored of a prompt."""

from collections.abc import Iterable, Sequence

import numpy as np

from roost_inference.errors import InvalidRequest
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.placement import Place, TierPlacement, select_tiers
from roost_inference.request import EngineSession, KvPolicy
from roost_inference.wire.kv_transfer import KvTransferParams


def kv_policy(params: KvTransferParams | None, existing: Iterable[TierPlacement]) -> KvPolicy:
    """The bounds of paging, and what is handed over. Raises InvalidRequest for a tier that does not
    exist."""
    if params is None:
        return KvPolicy()
    tiers: frozenset[str] | None = None
    if params.kv_load_tiers is not None:
        wanted = [
            tier if isinstance(tier, str) else Place(tier.medium, tier.locality)
            for tier in params.kv_load_tiers
        ]
        try:
            tiers = select_tiers(wanted, existing)
        except ValueError as error:
            param = "kv_transfer_params.kv_load_tiers"
            raise InvalidRequest(f"{param}: {error}", param=param) from error
    return KvPolicy(
        params.max_offload_tokens,
        params.max_load_tokens,
        tiers,
        hands_over=bool(params.do_remote_decode),
        offer=params.offer,
    )


def stored_of(store: BlockStore | None, session: EngineSession, tokens: Sequence[int]) -> int:
    """How many leading tokens are stored in the tiers under the session's salt. KV that is on the
    device alone is not counted; it is stored soon after it was computed."""
    if store is None:
        return 0
    wanted = np.asarray(tokens, np.int32)
    matched = store.walk(store.root(session.cache_salt), wanted, touch=False)
    return sum(part.used for part in matched)
