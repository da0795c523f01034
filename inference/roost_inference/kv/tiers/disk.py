"""The disk tier: one self-describing file per block, whole or absent whatever happens.

    FOLDER/<identity>/<first two of key>/<key>.kv

A file is written under another name and renamed, so a process killed at any moment leaves whole
blocks and rubbish that the next start removes. There is no index to go stale: headers are scanned
at start. Files are not synced: a power cut may tear one, and its checksum then tells.
"""

import itertools
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

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

SUFFIX = ".kv"
DISK_DEADLINE_S = 2.0
# This much of the file system is left to others, whatever the quota says.
FREE_BYTES_MIN = 256 * 2**20
_HEAD_READ_BYTES = HEADER_BYTES_MAX + 64

log = logging.getLogger(__name__)


class DiskTier:
    """Implements Tier over a folder."""

    name = "disk"
    stores_tails = True
    is_shared = False
    scans_in_background = False
    read_cost = ReadCost(latency_ms=2.0, ms_per_mib=1.0)

    def __init__(
        self,
        folder: Path,
        identity: bytes,
        quota_bytes: int,
        *,
        deadline_s: float = DISK_DEADLINE_S,
        free_bytes_min: int = FREE_BYTES_MIN,
    ) -> None:
        self.quota = Quota(quota_bytes, deadline_s)
        self._root = folder
        self._folder = folder / identity.hex()
        self._identity = identity
        self._free_bytes_min = free_bytes_min
        self._numbers = itertools.count()

    def scan(self) -> Iterator[BlockHead]:
        """The usable blocks; see Tier. Deletes blocks of other models down to half the quota."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise TierError(f"{self._folder} can't be made: {error.strerror or error}") from error
        self._delete_others()
        for path in sorted(self._folder.glob("*/*")):
            head = self._usable(path)
            if head is not None:
                yield head

    def _usable(self, path: Path) -> BlockHead | None:
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                head, _, _ = decode_head(file.read(_HEAD_READ_BYTES), size)
            if head.identity != self._identity or path != self._path(head):
                raise BadBlock("it belongs elsewhere")
        except (BadBlock, OSError) as error:
            # a temporary file of a process that was killed is the usual case
            level = logging.DEBUG if path.suffix != SUFFIX else logging.WARNING
            log.log(level, "removed %s from the KV cache: %s", path, error)
            _remove(path)
            return None
        return head

    def _delete_others(self) -> None:
        """Blocks of other models count against the quota; the oldest go first, down to half."""
        others = [path for path in self._root.glob("*/*/*") if path.parent.parent != self._folder]
        sized = sorted((s.st_mtime, s.st_size, path) for path in others if (s := _stat(path)))
        total = sum(size for _, size, _ in sized)
        for _, size, path in sized:
            if total <= self.quota.bytes // 2:
                break
            _remove(path)
            total -= size

    def read(self, head: BlockHead) -> Payload:
        """The block's KV, checked; see Tier."""
        path = self._path(head)
        try:
            data = path.read_bytes()
            os.utime(path)
        except FileNotFoundError as error:
            raise KeyError(head.key) from error
        except OSError as error:
            raise TierError(f"{path} can't be read: {error.strerror or error}") from error
        return decode_block(data, head)

    def write(self, head: BlockHead, payload: Payload) -> None:
        """Store it as a whole or not at all. Raises TierError, also on a disk almost full."""
        path = self._path(head)
        temporary = path.with_name(f"{next(self._numbers)}-{secrets.token_hex(4)}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if shutil.disk_usage(path.parent).free < self._free_bytes_min + payload.nbytes:
                raise TierError(f"the file system of {self._root} is almost full")
            with temporary.open("xb", buffering=0) as file:
                file.write(encode_head(head, payload))
                view = payload.data
                while view:  # unbuffered writes may be short
                    view = view[file.write(view) :]
            temporary.replace(path)
        except OSError as error:
            _remove(temporary)
            raise TierError(f"{self._root} can't be written: {error.strerror or error}") from error

    def delete(self, head: BlockHead) -> None:
        """Delete its file if possible."""
        _remove(self._path(head))

    def _path(self, head: BlockHead) -> Path:
        name = head.key.hex()
        return self._folder / name[:2] / (name + SUFFIX)


def open_disk_tier(config: EngineConfig, identity: bytes, folder: Path) -> DiskTier | None:
    """The tier that the settings ask for, None if it is off."""
    return DiskTier(folder, identity, config.kv_disk) if config.kv_disk else None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.debug("%s can't be removed: %s", path, error)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
