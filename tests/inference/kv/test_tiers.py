"""Tiers break, fill, hang and lie; the engine goes on, and serves nothing wrong."""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roost_inference.kv.block import (
    BLOCK_TOKENS,
    BadBlock,
    BlockHead,
    block_key,
    decode_block,
    encode_head,
    identity_digest,
)
from roost_inference.kv.index import BlockIndex
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.disk import DiskTier
from roost_inference.kv.tiers.health import BACK_OFF_S_MAX
from roost_inference.testing.blocks import (
    PAYLOAD_BYTES,
    chain_of,
    fill,
    load,
    payload_of,
    stored_tokens,
)
from roost_inference.testing.harness import FakeClock, toy_store

IDENTITY = "toy"
DIGEST = identity_digest(IDENTITY)


def disk(folder: Path, quota: int = 2**24, **fields: object) -> DiskTier:
    fields.setdefault("free_bytes_min", 0)
    return DiskTier(folder, DIGEST, quota, **fields)  # type: ignore[arg-type]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.kv"))


# The file format


def head_of(tokens: np.ndarray) -> BlockHead:
    return BlockHead(
        DIGEST, b"p" * 16, block_key(b"p" * 16, tokens), 0, tokens, PAYLOAD_BYTES, "session"
    )


def test_a_block_comes_back_as_it_was_and_any_flipped_byte_is_noticed() -> None:
    tokens = chain_of(1, 1)
    head, payload = head_of(tokens), payload_of(tokens)
    data = encode_head(head, payload) + payload.tobytes()
    assert np.array_equal(decode_block(data, head), payload)
    for place in range(0, len(data), 7):
        broken = bytearray(data)
        broken[place] ^= 0x40
        with pytest.raises(BadBlock):
            decode_block(bytes(broken), head)
    for length in (0, 3, 20, 100, len(data) - 1):
        with pytest.raises(BadBlock):
            decode_block(data[:length], head)
    with pytest.raises(BadBlock, match="another block"):
        decode_block(data, replace(head, tokens=chain_of(2, 1)))


# Disk


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty", "swapped"])
def test_a_damaged_file_is_deleted_and_never_served(tmp_path: Path, damage: str) -> None:
    store = toy_store(disk(tmp_path))
    fill(store, chain_of(1, 3))
    store.close()
    later = toy_store(disk(tmp_path))
    victim = next(
        path for path in files(tmp_path)
        if later.walk(later.root(""), chain_of(1, 3))[1].node.head.key.hex() == path.stem
    )  # fmt: skip
    other = next(path for path in files(tmp_path) if path != victim)
    data = victim.read_bytes()
    victim.write_bytes(
        {
            "truncated": data[:-100],
            "flipped": data[:-50] + b"\x00\xff" + data[-48:],
            "foreign": b"GIF89a" * 2000,
            "empty": b"",
            "swapped": other.read_bytes(),
        }[damage]
    )
    assert load(later, chain_of(1, 3)) == BLOCK_TOKENS
    assert not victim.exists()
    assert later.figures.corrupt == 1
    # the block behind it can't be reached any more
    assert stored_tokens(later, chain_of(1, 3)) == BLOCK_TOKENS


def test_damage_is_also_found_by_the_scan_at_start(tmp_path: Path) -> None:
    store = toy_store(disk(tmp_path))
    fill(store, chain_of(1, 2))
    store.close()
    for path in files(tmp_path):
        path.write_bytes(path.read_bytes()[:-1])
    (files(tmp_path)[0].parent / "17-abcd.tmp").write_bytes(b"half a block")
    later = toy_store(disk(tmp_path))
    assert stored_tokens(later, chain_of(1, 2)) == 0
    assert not list(tmp_path.glob("*/*/*"))


def test_a_file_that_vanished_is_a_miss(tmp_path: Path) -> None:
    store = toy_store(disk(tmp_path))
    fill(store, chain_of(1, 2))
    store.close()
    later = toy_store(disk(tmp_path))
    for path in files(tmp_path):
        path.unlink()
    assert load(later, chain_of(1, 2)) == 0 and stored_tokens(later, chain_of(1, 2)) == 0


def test_the_quota_holds_and_leaves_go_before_their_parents(tmp_path: Path) -> None:
    quota = 5 * PAYLOAD_BYTES
    store = toy_store(disk(tmp_path, quota), blocks=1000)
    for number in range(6):
        fill(store, chain_of(number, 3))
        store.check()
    assert store.usage()["disk"][0] <= quota
    assert sum(path.stat().st_size for path in files(tmp_path)) <= quota * 1.5
    store.close()
    later = toy_store(disk(tmp_path, quota))
    # every file that is left can be reached from its root
    reached = sum(stored_tokens(later, chain_of(number, 3)) // BLOCK_TOKENS for number in range(6))
    assert reached == len(files(tmp_path)) > 0


def test_ram_evicts_leaves_first_and_the_least_recently_used_chain() -> None:
    store = BlockStore(IDENTITY, 4 * PAYLOAD_BYTES, clock=FakeClock())
    fill(store, chain_of(1, 3))
    fill(store, chain_of(2, 2))
    assert stored_tokens(store, chain_of(1, 3)) == 2 * BLOCK_TOKENS  # its last block went
    fill(store, chain_of(3, 2))  # chain 1 was just used, so chain 2 goes
    assert stored_tokens(store, chain_of(2, 2)) == 0
    assert (
        stored_tokens(store, chain_of(1, 3))
        == stored_tokens(store, chain_of(3, 2))
        == 2 * BLOCK_TOKENS
    )
    store.check()


def test_pinned_blocks_stay_and_held_ones_go_last() -> None:
    clock = FakeClock()
    store = BlockStore(IDENTITY, 4 * PAYLOAD_BYTES, clock=clock)
    fill(store, chain_of(1, 2))
    store.retain(store.root(""), chain_of(1, 2), until=10.0)
    fill(store, chain_of(2, 2))
    fill(store, chain_of(3, 2))
    assert stored_tokens(store, chain_of(1, 2)) == 2 * BLOCK_TOKENS
    pinned = [part.node for part in store.walk(store.root(""), chain_of(3, 2))]
    store.pin(pinned)
    clock.advance(11.0)
    for number in range(4, 8):
        fill(store, chain_of(number, 2))
    assert stored_tokens(store, chain_of(3, 2)) == 2 * BLOCK_TOKENS
    assert stored_tokens(store, chain_of(1, 2)) == 0
    store.unpin(pinned)
    store.check()


def test_when_all_of_ram_is_pinned_a_block_is_refused_not_squeezed_in() -> None:
    store = BlockStore(IDENTITY, 2 * PAYLOAD_BYTES, clock=FakeClock())
    fill(store, chain_of(1, 2))
    store.pin(part.node for part in store.walk(store.root(""), chain_of(1, 2)))
    fill(store, chain_of(2, 1))
    assert stored_tokens(store, chain_of(2, 1)) == 0 and store.figures.refused == 1
    store.check()


def test_a_block_without_its_parent_is_not_taken() -> None:
    index = BlockIndex()
    index.add_tier("ram")
    assert index.insert(replace(head_of(chain_of(1, 1)), start=BLOCK_TOKENS)) is None


def test_an_unwritable_folder_is_one_warning_and_service_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "file"
    place.write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        store = toy_store(disk(place))
        for number in range(5):
            fill(store, chain_of(number, 2))
    assert stored_tokens(store, chain_of(0, 2)) == 2 * BLOCK_TOKENS
    assert len([r for r in caplog.records if "not used for now" in r.message]) == 1
    assert "Not a directory" in caplog.text or "File exists" in caplog.text
    assert store.usage()["disk"][2] is not None


def test_a_full_disk_is_left_alone_and_used_again_later(tmp_path: Path) -> None:
    clock = FakeClock()
    tier = disk(tmp_path, free_bytes_min=2**62)
    store = toy_store(tier, clock=clock)
    fill(store, chain_of(1, 2))
    assert "almost full" in str(store.usage()["disk"][2]) and files(tmp_path) == []
    tier._free_bytes_min = 0
    clock.advance(BACK_OFF_S_MAX)
    fill(store, chain_of(2, 1))
    assert store.usage()["disk"][1] == 3 and store.usage()["disk"][2] is None


def test_blocks_of_other_models_make_room(tmp_path: Path) -> None:
    other = DiskTier(tmp_path, identity_digest("old model"), 2**24, free_bytes_min=0)
    store = toy_store(other, identity="old model")
    fill(store, chain_of(1, 12))
    store.close()
    toy_store(disk(tmp_path, 8 * PAYLOAD_BYTES))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 4 * PAYLOAD_BYTES


WRITER = """
import sys, pathlib, numpy as np
from roost_inference.kv.block import BLOCK_TOKENS, identity_digest
from roost_inference.kv.tiers.disk import DiskTier
from roost_inference.kv.store import BlockStore
tier = DiskTier(pathlib.Path(sys.argv[1]), identity_digest("toy"), 2**28, free_bytes_min=0)
store = BlockStore("toy", 2**28, [tier]); store.start()
print("go", flush=True)
for first in range(10_000):
    parent = store.root("")
    tokens = (np.arange(3 * BLOCK_TOKENS, dtype=np.int32) + first * 100_000).astype(np.int32)
    for start in range(0, len(tokens), BLOCK_TOKENS):
        part = tokens[start : start + BLOCK_TOKENS]
        parent = store.put(parent, start, part, np.resize(part.view(np.uint8), 4096), "s")
        if parent is None: break
"""


@pytest.mark.parametrize("pause_s", [0.0, 0.1, 0.3])
def test_a_process_killed_while_it_writes_leaves_a_usable_cache(
    tmp_path: Path, pause_s: float
) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert writer.stdout is not None and writer.stdout.readline() == b"go\n"
    deadline = time.monotonic() + 30
    while not files(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(pause_s)
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    writer.stdout.close()
    store = toy_store(disk(tmp_path, 2**28), blocks=10**6)
    store.check()
    assert not list(tmp_path.glob("*/*/*.tmp"))
    left = len(files(tmp_path))
    assert left > 0
    reached = 0
    for first in range(left):
        reached += load(store, chain_of(first, 3)) // BLOCK_TOKENS
    assert reached == left and store.figures.corrupt == 0
