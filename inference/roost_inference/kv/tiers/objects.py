"""The object-store tier: S3 and the like, or a folder, through obstore.

    PREFIX/<identity>/<key>

An object is written whole or not at all, and several engines may share one store. obstore's
asyncio functions can end the process at exit, so the blocking ones run on the tier's threads.
"""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

from roost_inference.backend import Payload
from roost_inference.config import EngineConfig
from roost_inference.kv.block import (
    HEADER_BYTES_MAX,
    BadBlock,
    BlockHead,
    decode_block,
    decode_head,
    encode_head,
)
from roost_inference.kv.figures import ReadCost
from roost_inference.kv.tiers.tier import Quota, TierError

OBJECT_DEADLINE_S = 5.0
OBJECT_BYTES_DEFAULT = 64 * 2**30
OBJECTS_LISTED_MAX = 20_000
RETRIES_MAX = 1

log = logging.getLogger(__name__)


def open_store(url: str, deadline_s: float, options: dict[str, Any] | None = None) -> Any:
    """The store at a URL (s3://, gs://, az://, file:///). Raises TierError with the reason."""
    settings: dict[str, Any] = dict(options or {})
    if not url.startswith(("file:", "memory:")):
        timeout = f"{max(deadline_s, 0.1):.1f}s"
        client = {"timeout": timeout, "connect_timeout": timeout}
        client |= settings.pop("client_options", {})
        settings["client_options"] = client
        settings["retry_config"] = {"max_retries": RETRIES_MAX}
    elif url.startswith("file:"):
        settings["mkdir"] = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return from_url(url, **settings)
    except (BaseError, ValueError, TypeError, OSError) as error:
        raise TierError(f"the object store {url} can't be opened: {_brief(error)}") from error


class ObjectTier:
    """Implements Tier and KeyedTier over an obstore store. Tails are stored only for prompts that
    are handed over: others are replaced too soon."""

    name = "object"
    stores_tails = False
    is_shared = True
    scans_in_background = True
    read_cost = ReadCost(latency_ms=25.0, ms_per_mib=15.0)

    def __init__(
        self,
        store: Any,
        identity: bytes,
        quota_bytes: int = OBJECT_BYTES_DEFAULT,
        *,
        deadline_s: float = OBJECT_DEADLINE_S,
    ) -> None:
        self.quota = Quota(quota_bytes, deadline_s)
        self._store = store
        self._identity = identity

    def scan(self) -> Iterator[BlockHead]:
        """The usable blocks, OBJECTS_LISTED_MAX at most; see Tier."""
        listed = 0
        prefix = self._identity.hex() + "/"
        try:
            for batch in obstore.list(self._store, prefix=prefix):
                for meta in batch:
                    listed += 1
                    if listed > OBJECTS_LISTED_MAX:
                        log.warning("the object store has more than %d blocks", OBJECTS_LISTED_MAX)
                        return
                    head = self._head(meta["path"], int(meta["size"]))
                    if head is not None:
                        yield head
        except (BaseError, OSError) as error:
            raise TierError(f"the object store can't be listed: {_brief(error)}") from error

    def _head(self, path: str, size: int) -> BlockHead | None:
        """The head, by reading an object's beginning; damaged ones are deleted."""
        try:
            end = min(size, HEADER_BYTES_MAX)
            data = bytes(obstore.get_range(self._store, path, start=0, end=end)) if end else b""
            head, _, _ = decode_head(data, size)
            if head.identity != self._identity or self._path(head) != path:
                raise BadBlock("it belongs elsewhere")
            return head
        except BadBlock as error:
            log.warning("removed %s from the object store: %s", path, error)
            self._remove(path)
        except (NotFoundError, FileNotFoundError):
            return None
        return None

    def read(self, head: BlockHead) -> Payload:
        """The block's KV, checked; see Tier."""
        data = self.get(head.key)
        if data is None:
            raise KeyError(head.key)
        return decode_block(data, head)

    def get(self, key: bytes) -> memoryview | None:
        """What is stored under a key; see KeyedTier."""
        try:
            return memoryview(obstore.get(self._store, self._place(key)).bytes())
        except (NotFoundError, FileNotFoundError):
            return None
        except (BaseError, OSError) as error:
            raise TierError(f"the object store can't be read: {_brief(error)}") from error

    def write(self, head: BlockHead, payload: Payload) -> None:
        """Store it as a whole or not at all. Raises TierError."""
        data = encode_head(head, payload) + payload.tobytes()
        try:
            obstore.put(self._store, self._path(head), data)
        except (BaseError, OSError) as error:
            raise TierError(f"the object store can't be written: {_brief(error)}") from error

    def delete(self, head: BlockHead) -> None:
        """Delete its object if possible."""
        self._remove(self._path(head))

    def _remove(self, path: str) -> None:
        try:
            obstore.delete(self._store, path)
        except (BaseError, OSError) as error:
            log.debug("%s was not deleted: %s", path, _brief(error))

    def _path(self, head: BlockHead) -> str:
        return self._place(head.key)

    def _place(self, key: bytes) -> str:
        return f"{self._identity.hex()}/{key.hex()}"


def open_object_tier(config: EngineConfig, identity: bytes, folder: Path) -> ObjectTier | None:
    """The tier that the settings ask for, None if it is off. Raises TierError without the URL's
    credentials."""
    url = config.kv_object_url
    if url is None:
        return None
    try:
        store = open_store(url, OBJECT_DEADLINE_S, dict(config.kv_object_options))
    except TierError as error:
        place = urlsplit(url)
        raise TierError(f"{place.scheme}://{place.hostname or ''}: {error}") from error
    return ObjectTier(store, identity, config.kv_object)


def _brief(error: BaseException) -> str:
    """The first line of an error; obstore's are followed by a dump of its structures."""
    return (str(error).strip().splitlines() or [repr(error)])[0][:300]
