"""What a cache that never forgets would have reused: the upper bound of the hit rate we measure.

Prompts and answers are remembered as chains of chunks, a hash for each, so a prompt's longest
prefix that was ever seen is found without keeping the tokens. Bounded: beyond CHUNKS_KEPT the
the chunks that were not seen for longest are forgotten, and the bound is that of a cache of this
size.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

CHUNK_TOKENS = 16
# 3.2 million tokens in about 50 MB.
CHUNKS_KEPT = 200_000
_CHUNK_BYTES = CHUNK_TOKENS * 4
_KEY_BYTES = 8


@dataclass(slots=True)
class ChainPosition:
    """How far a request is in its chain: the key of its last whole chunk, the tokens behind it, and
    how many tokens of its prompt were seen before."""

    key: bytes = b""
    rest: bytes = b""
    seen: int = 0


@dataclass(frozen=True, slots=True)
class HitRateBoundFigures:
    """Totals of prompt tokens and of those seen before. forgets: the bound has been reached."""

    prompt_tokens: int
    seen_tokens: int
    forgets: bool


class HitRateBound:
    """Thread-safe; called off the engine thread, some 100 ns a token."""

    def __init__(self, chunks_max: int = CHUNKS_KEPT) -> None:
        self._chunks_max = chunks_max
        self._lock = threading.Lock()
        # Key of a chain → the tokens that followed it last, up to a chunk of them.
        self._chunks: OrderedDict[bytes, bytes] = OrderedDict()
        self._prompt_tokens = self._seen_tokens = 0
        self._forgets = False

    def prompt(self, position: ChainPosition, salt: str, tokens: Sequence[int]) -> int:
        """Count a request's prompt and remember it; how many of its tokens were seen before."""
        position.key = blake2b(salt.encode(), digest_size=_KEY_BYTES).digest()
        with self._lock:
            seen = self._walk(position, np.asarray(tokens, np.int32).tobytes())
            # the last token is computed in any case: its logits are wanted
            seen = min(seen, max(len(tokens) - 1, 0))
            self._prompt_tokens += len(tokens)
            self._seen_tokens += seen
            position.seen = seen
            return seen

    def answer(self, position: ChainPosition, tokens: Sequence[int], reused: int = 0) -> None:
        """Remember the answer to a prompt that was counted. `reused` tokens of the prompt were seen
        before, in an earlier run of the engine if not in this one."""
        if position.key:
            with self._lock:
                self._seen_tokens += max(reused - position.seen, 0)
                self._walk(position, position.rest + np.asarray(tokens, np.int32).tobytes())

    def figures(self) -> HitRateBoundFigures:
        """Totals since the start."""
        with self._lock:
            return HitRateBoundFigures(self._prompt_tokens, self._seen_tokens, self._forgets)

    def _walk(self, position: ChainPosition, data: bytes) -> int:
        """Follow and extend the chain by these tokens; the length of the prefix known before."""
        seen, is_known, touched = 0, True, [position.key]
        for start in range(0, len(data), _CHUNK_BYTES):
            chunk, key = data[start : start + _CHUNK_BYTES], touched[-1]
            whole = len(chunk) == _CHUNK_BYTES
            following = self._chunks.get(key, b"")
            child = blake2b(key + chunk, digest_size=_KEY_BYTES).digest() if whole else b""
            if is_known and whole and child in self._chunks:
                seen += CHUNK_TOKENS
            elif is_known:
                seen += _common_tokens(following, chunk)
                is_known = False
            if whole or not following.startswith(chunk):
                self._chunks[key] = chunk
            if not whole:
                break
            self._chunks.setdefault(child, b"")
            touched.append(child)
        position.key = touched[-1]
        position.rest = data[(len(touched) - 1) * _CHUNK_BYTES :]
        for key in reversed(touched):  # a chain loses its end first
            if key in self._chunks:
                self._chunks.move_to_end(key)
        while len(self._chunks) > self._chunks_max:
            self._chunks.popitem(last=False)
            self._forgets = True
        return seen


def _common_tokens(one: bytes, other: bytes) -> int:
    """Length of the common prefix in tokens."""
    length = min(len(one), len(other))
    a, b = np.frombuffer(one[:length], np.int32), np.frombuffer(other[:length], np.int32)
    different = np.flatnonzero(a != b)
    return int(different[0]) if len(different) else len(a)
