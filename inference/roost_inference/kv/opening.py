"""Opens the tiers below the device by the settings, and paging over them; the log names a tier
that can't be opened, once."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from roost_inference.backend import Backend
from roost_inference.config import EngineConfig
from roost_inference.kv.block import identity_digest
from roost_inference.kv.handover.handover import Handover, HandoverSettings
from roost_inference.kv.paging import Pager
from roost_inference.kv.paging_protocol import NO_COMPANION, Companion, NoPaging, Paging
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.disk import open_disk_tier
from roost_inference.kv.tiers.objects import open_object_tier
from roost_inference.kv.tiers.tier import Tier, TierError

# Settings, the digest of the kernels' identity, and the KV folder of the data directory. None if
# the settings turn the tier off; TierError if it can't be had.
TierOpener = Callable[[EngineConfig, bytes, Path], Tier | None]
# The fastest first. A new tier is one line here.
TIER_OPENERS: tuple[TierOpener, ...] = (open_disk_tier, open_object_tier)

log = logging.getLogger(__name__)


def open_block_store(
    config: EngineConfig,
    backend: Backend,
    folder: Path,
    openers: Sequence[TierOpener] | None = None,
) -> BlockStore | None:
    """The tiers of the configuration, started; None if paging is off or the model can't page.

    openers: TIER_OPENERS unless a test brings its own.
    """
    if config.kv_ram == 0 or not backend.pages:
        return None
    identity = identity_digest(backend.identity)
    tiers: list[Tier] = []
    for opener in TIER_OPENERS if openers is None else openers:
        try:
            tier = opener(config, identity, folder)
        except TierError as error:
            log.warning("A KV tier is not used: %s", error)
            continue
        if tier is not None:
            tiers.append(tier)
    store = BlockStore(backend.identity, config.kv_ram, tiers)
    store.start()
    return store


def paging_of(
    backend: Backend,
    store: BlockStore | None,
    prefill_ms_per_token: Callable[[], float],
    clock: Callable[[], float],
    handover: HandoverSettings,
    companion: Companion = NO_COMPANION,
) -> Paging:
    """Paging needs tiers, and a model whose state can be cut into blocks. companion: what stores
    something of its own beside the blocks."""
    if store is None or not backend.pages:
        return NoPaging()
    part = Handover(store, backend, handover, clock, prefill_ms_per_token)
    return Pager(
        backend,
        store,
        prefill_ms_per_token=prefill_ms_per_token,
        clock=clock,
        handover=part,
        companion=companion,
    )
