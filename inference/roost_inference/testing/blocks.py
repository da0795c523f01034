"""For tests of the tiers: chains of made-up blocks, put into a store and brought to RAM again."""

import time

import numpy as np

from roost_inference.backend import Payload
from roost_inference.batch import Tokens
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.kv.store import BlockStore

PAYLOAD_BYTES = 4096


def payload_of(tokens: Tokens) -> Payload:
    """A payload that shows which tokens it belongs to."""
    return np.resize(np.asarray(tokens, np.int32).view(np.uint8), PAYLOAD_BYTES)


def chain_of(first: int, blocks: int) -> Tokens:
    """The tokens of this many whole blocks; another `first` gives other tokens."""
    return (np.arange(blocks * BLOCK_TOKENS, dtype=np.int32) + first * 100_000).astype(np.int32)


def fill(store: BlockStore, tokens: Tokens, salt: str = "", session: str = "s") -> None:
    """Put a chain into the store, as far as it takes it."""
    parent = store.root(salt)
    for start in range(0, len(tokens), BLOCK_TOKENS):
        part = tokens[start : start + BLOCK_TOKENS]
        key = store.put(parent, start, part, payload_of(part), session)
        if key is None:
            return
        parent = key


def stored_tokens(store: BlockStore, tokens: Tokens, salt: str = "") -> int:
    """How many of the leading tokens the store knows."""
    return sum(part.used for part in store.walk(store.root(salt), tokens))


def load(store: BlockStore, tokens: Tokens, timeout_s: float = 10.0) -> int:
    """Bring a chain to RAM. Returns the tokens of the unbroken run that is there then; raises
    AssertionError if a block's payload is another one's."""
    parts = store.walk(store.root(""), tokens)
    sources = [store.source(part.node, None) for part in parts]
    cut = sources.index(None) if None in sources else len(sources)
    nodes = [part.node for part in parts[:cut]]
    store.pin(nodes)
    fetch = store.fetch(nodes, [source for source in sources[:cut] if source is not None])
    deadline = time.monotonic() + timeout_s
    while not fetch.done and time.monotonic() < deadline:
        time.sleep(0.002)
    store.unpin(nodes)
    run = 0
    for part in parts[:cut]:
        if part.node.payload is None:
            break
        assert np.array_equal(part.node.payload, payload_of(part.node.head.tokens)), "foreign KV"
        run += part.used
    store.check()
    return run
