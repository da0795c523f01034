"""KV blocks: their keys, and their stored form, in which every damage is noticed.

A block is the KV of up to BLOCK_TOKENS tokens at a fixed position. Its key is a hash over its own
tokens and its parent's key, so a key stands for the whole prefix; the first parent is a root made
of what the KV depends on (weights, kernels, number format) and the tenant's salt. Only the last
block of a chain may be shorter than BLOCK_TOKENS.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from roost_inference.backend import Payload
from roost_inference.batch import Tokens

BLOCK_TOKENS = 128
# A shorter last block is computed faster than it is moved.
TAIL_TOKENS_MIN = 16
KEY_BYTES = 16
SESSION_ID_BYTES_MAX = 1024
HEADER_BYTES_MAX = 4096

MAGIC = b"ROOSTKV1"
# magic, bytes of the rest of the header, crc of the rest
_PREFIX = struct.Struct("<8sII")
# identity, parent, key, start, count, payload bytes, payload crc, bytes of the session id
_HEADER = struct.Struct("<16s16s16sIIQIH")


class BadBlock(Exception):
    """The bytes are not a block, are another block than expected, or are damaged."""


def digest(*parts: bytes) -> bytes:
    """A hash of these byte strings, KEY_BYTES long; lengths count, so no two lists share it."""
    hasher = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()


def identity_digest(identity: str) -> bytes:
    """Names the folder of all blocks that can be imported by one kind of kernels."""
    return digest(b"identity", identity.encode())


def root_key(identity: bytes, salt: str) -> bytes:
    """The parent of a salt's first blocks; other salts can neither find nor guess it."""
    return digest(b"root", identity, salt.encode("utf-8", "surrogatepass"))


def block_key(parent: bytes, tokens: Tokens) -> bytes:
    """The key of a block: a hash of its tokens and of the key of its parent."""
    return digest(parent, np.ascontiguousarray(tokens, np.int32).tobytes())


@dataclass(frozen=True, slots=True, eq=False)
class BlockHead:
    """Everything about a block except its KV."""

    identity: bytes
    parent: bytes
    key: bytes
    start: int
    tokens: Tokens
    size: int
    session_id: str = ""

    @property
    def count(self) -> int:
        """Tokens of the block."""
        return len(self.tokens)


def encode_head(head: BlockHead, payload: Payload) -> bytes:
    """The header of a stored block; the payload's bytes follow it."""
    session = head.session_id.encode("utf-8", "replace")[:SESSION_ID_BYTES_MAX]
    fields = _HEADER.pack(
        head.identity,
        head.parent,
        head.key,
        head.start,
        head.count,
        payload.nbytes,
        zlib.crc32(payload.data),
        len(session),
    )
    rest = fields + session + np.ascontiguousarray(head.tokens, np.int32).tobytes()
    return _PREFIX.pack(MAGIC, len(rest), zlib.crc32(rest)) + rest


def decode_head(data: bytes, total: int) -> tuple[BlockHead, int, int]:
    """The head, where the payload begins, and its checksum. `total` is the size of the whole, so
    that a truncated block is recognised without reading it. Raises BadBlock."""
    if len(data) < _PREFIX.size:
        raise BadBlock("it is too short for a block")
    magic, length, checksum = _PREFIX.unpack_from(data)
    if magic != MAGIC or length > HEADER_BYTES_MAX or length < _HEADER.size:
        raise BadBlock("it is not a block")
    rest = data[_PREFIX.size : _PREFIX.size + length]
    if len(rest) != length or zlib.crc32(rest) != checksum:
        raise BadBlock("its header is damaged")
    identity, parent, key, start, count, size, payload_crc, session = _HEADER.unpack_from(rest)
    body = rest[_HEADER.size :]
    if len(body) != session + 4 * count or not 0 < count <= BLOCK_TOKENS:
        raise BadBlock("its header does not add up")
    tokens = np.frombuffer(body[session:], np.int32)
    if block_key(parent, tokens) != key:
        raise BadBlock("its key is not that of its tokens")
    offset = _PREFIX.size + length
    if offset + size != total:
        raise BadBlock(f"it has {total} bytes instead of {offset + size}")
    name = body[:session].decode("utf-8", "replace")
    return BlockHead(identity, parent, key, start, tokens, size, name), offset, payload_crc


def decode_block(data: bytes | memoryview, expected: BlockHead | None = None) -> Payload:
    """The KV of a stored block, checked against its checksum and, if given, the block expected:
    tokens are compared one by one. Raises BadBlock."""
    view = memoryview(data)
    head, offset, checksum = decode_head(bytes(view[: _PREFIX.size + HEADER_BYTES_MAX]), len(view))
    if expected is not None and (
        (head.identity, head.key, head.start) != (expected.identity, expected.key, expected.start)
        or not np.array_equal(head.tokens, expected.tokens)
    ):
        raise BadBlock("it is another block than expected")
    payload: Payload = np.frombuffer(view[offset:], np.uint8)
    if zlib.crc32(payload.data) != checksum:
        raise BadBlock("its checksum is wrong")
    return payload
