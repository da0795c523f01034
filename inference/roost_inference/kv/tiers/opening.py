"""From settings to the tiers below the device; what can't be had is said once and left out."""

import logging
from pathlib import Path
from urllib.parse import urlsplit

from roost_inference.backend import Backend
from roost_inference.config import EngineConfig
from roost_inference.kv.block import identity_digest
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.disk import DiskTier
from roost_inference.kv.tiers.objects import OBJECT_DEADLINE_S, ObjectTier, open_store
from roost_inference.kv.tiers.tier import Tier, TierError

log = logging.getLogger(__name__)


def open_block_store(config: EngineConfig, backend: Backend, folder: Path) -> BlockStore | None:
    """The tiers of the configuration, started; None if paging is off or the model can't page."""
    if config.kv_ram == 0 or not backend.truncates:
        return None
    identity = identity_digest(backend.identity)
    tiers: list[Tier] = []
    if config.kv_disk:
        tiers.append(DiskTier(folder, identity, config.kv_disk))
    if config.kv_object_url is not None:
        try:
            objects = open_store(
                config.kv_object_url, OBJECT_DEADLINE_S, dict(config.kv_object_options)
            )
            tiers.append(ObjectTier(objects, identity, config.kv_object))
        except TierError as error:
            place = urlsplit(config.kv_object_url)
            log.warning("%s://%s is not used for KV: %s", place.scheme, place.hostname or "", error)
    store = BlockStore(backend.identity, config.kv_ram, tiers)
    store.start()
    return store
