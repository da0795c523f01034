"""A drafter's cells in the tiers, each piece beside a block of the model's KV.

A piece lies in the same store, under a key of the same tokens and salt and of the drafter's own
identity. So it moves through the same tiers, counts against the same bounds and leaves them by the
same rules. It holds a few percent of what the block does.
"""

import logging
from typing import Any

import numpy as np

from roost_inference.backend import Payload
from roost_inference.batch import Tokens
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.kv.store import BlockStore
from roost_inference.speculation.hidden.feature_drafter import FeatureDrafter

log = logging.getLogger(__name__)


class DraftLibrary:
    """Pieces of one drafter, by salt and tokens. Used by the engine thread."""

    def __init__(self, store: BlockStore, identity: str) -> None:
        """identity: everything that the drafter's cells depend on besides the model's KV."""
        self._store = store
        self._identity = identity

    def bring(self, salt: str, tokens: Tokens) -> None:
        """Begin to bring the pieces of these tokens to RAM; nobody waits for it."""
        root = self._store.root(salt, self._identity)
        self._store.bring([part.node for part in self._store.walk(root, tokens)])

    def pieces(self, salt: str, tokens: Tokens) -> tuple[list[Payload], int]:
        """The pieces of the longest prefix of the tokens that is in RAM, and its length; the last
        one may hold other tokens behind it."""
        found: list[Payload] = []
        length = 0
        for part in self._store.walk(self._store.root(salt, self._identity), tokens):
            if part.node.payload is None:
                break
            found.append(part.node.payload)
            length += part.used
        return found, length

    def parent(self, salt: str, tokens: Tokens, start: int) -> bytes | None:
        """The key behind which a piece from `start` on is stored; None if the one before it is
        not there."""
        root = self._store.root(salt, self._identity)
        whole = self._store.walk(root, tokens[:start], touch=False)
        if sum(part.used for part in whole if part.node.head.count == BLOCK_TOKENS) != start:
            return None
        return whole[-1].node.head.key if whole else root

    def put(self, parent: bytes, start: int, tokens: Tokens, piece: Payload) -> None:
        """Store a piece of these tokens, as far as there is room."""
        self._store.put(parent, start, tokens, piece, "", is_target=False)


class DraftCompanion:
    """Implements Companion for a drafter. After an error nothing is stored any more."""

    def __init__(self, library: DraftLibrary, drafter: FeatureDrafter[Any]) -> None:
        self._library = library
        self._drafter = drafter
        self.has_failed = False

    def prepare(self, salt: str, parts: list[Tokens]) -> None:
        """See Companion."""
        if parts and self._drafter.is_awake:
            self._library.bring(salt, np.concatenate(parts))

    def stored(self, salt: str, tokens: Tokens, start: int, end: int) -> None:
        """See Companion. A piece can be had while the drafter knows the sequence; one whose
        predecessor is missing could never be found again."""
        if self.has_failed or not self._drafter.is_awake:
            return
        parent = self._library.parent(salt, tokens, start)
        if parent is None:
            return
        try:
            piece = self._drafter.export(salt, tokens, start, end)
        except Exception:  # whatever a drafter does, the answers go on
            log.exception("the drafter's cells are not stored any more")
            self.has_failed = True
            return
        if piece is not None:
            self._library.put(parent, start, tokens[start:end], piece)
