"""Tiers break, fill, hang and lie; the engine goes on, and serves nothing wrong."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roost_inference.backend import Payload
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
from roost_inference.kv.tiers.health import BACK_OFF_S_MAX, Health
from roost_inference.kv.tiers.lanes import ThreadLane
from roost_inference.kv.tiers.objects import ObjectTier, open_store
from roost_inference.kv.tiers.tier import Quota, Tier, TierError
from roost_inference.testing.harness import FakeClock, toy_store

IDENTITY = "toy"
DIGEST = identity_digest(IDENTITY)
SIZE = 4096


def disk(folder: Path, quota: int = 2**24, **fields: object) -> DiskTier:
    fields.setdefault("free_bytes_min", 0)
    return DiskTier(folder, DIGEST, quota, **fields)  # type: ignore[arg-type]


def kv_of(tokens: np.ndarray) -> Payload:
    """A payload that tells whose it is."""
    return np.resize(np.asarray(tokens, np.int32).view(np.uint8), SIZE)


def chain(first: int, blocks: int) -> np.ndarray:
    return (np.arange(blocks * BLOCK_TOKENS, dtype=np.int32) + first * 100_000).astype(np.int32)


def fill(store: BlockStore, tokens: np.ndarray, salt: str = "", session: str = "s") -> None:
    parent = store.root(salt)
    for start in range(0, len(tokens), BLOCK_TOKENS):
        part = tokens[start : start + BLOCK_TOKENS]
        key = store.put(parent, start, part, kv_of(part), session)
        if key is None:
            return
        parent = key


def found(store: BlockStore, tokens: np.ndarray, salt: str = "") -> int:
    return sum(part.used for part in store.walk(store.root(salt), tokens))


def load(store: BlockStore, tokens: np.ndarray, timeout_s: float = 10.0) -> int:
    """Bring a chain to RAM; the tokens of the unbroken run that is there then, checked."""
    parts = store.walk(store.root(""), tokens)
    sources = [store.source(part.node, None) for part in parts]
    cut = sources.index(None) if None in sources else len(sources)
    nodes = [part.node for part in parts[:cut]]
    store.pin(nodes)
    fetch = store.fetch(nodes, [s for s in sources[:cut] if s is not None])
    deadline = time.monotonic() + timeout_s
    while not fetch.done and time.monotonic() < deadline:
        time.sleep(0.002)
    store.unpin(nodes)
    run = 0
    for part in parts[:cut]:
        if part.node.payload is None:
            break
        assert np.array_equal(part.node.payload, kv_of(part.node.head.tokens)), "foreign KV"
        run += part.used
    store.check()
    return run


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/*.kv"))


# The file format


def head_of(tokens: np.ndarray) -> BlockHead:
    return BlockHead(DIGEST, b"p" * 16, block_key(b"p" * 16, tokens), 0, tokens, SIZE, "session")


def test_a_block_comes_back_as_it_was_and_any_flipped_byte_is_noticed() -> None:
    tokens = chain(1, 1)
    head, payload = head_of(tokens), kv_of(tokens)
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
        decode_block(data, replace(head, tokens=chain(2, 1)))


# Disk


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty", "swapped"])
def test_a_damaged_file_is_deleted_and_never_served(tmp_path: Path, damage: str) -> None:
    store = toy_store(disk(tmp_path))
    fill(store, chain(1, 3))
    store.close()
    later = toy_store(disk(tmp_path))
    victim = next(
        path for path in files(tmp_path)
        if later.walk(later.root(""), chain(1, 3))[1].node.head.key.hex() == path.stem
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
    assert load(later, chain(1, 3)) == BLOCK_TOKENS
    assert not victim.exists()
    assert later.figures.corrupt == 1
    # the block behind it can't be reached any more
    assert found(later, chain(1, 3)) == BLOCK_TOKENS


def test_damage_is_also_found_by_the_scan_at_start(tmp_path: Path) -> None:
    store = toy_store(disk(tmp_path))
    fill(store, chain(1, 2))
    store.close()
    for path in files(tmp_path):
        path.write_bytes(path.read_bytes()[:-1])
    (files(tmp_path)[0].parent / "17-abcd.tmp").write_bytes(b"half a block")
    later = toy_store(disk(tmp_path))
    assert found(later, chain(1, 2)) == 0
    assert not list(tmp_path.glob("*/*/*"))


def test_a_file_that_vanished_is_a_miss(tmp_path: Path) -> None:
    store = toy_store(disk(tmp_path))
    fill(store, chain(1, 2))
    store.close()
    later = toy_store(disk(tmp_path))
    for path in files(tmp_path):
        path.unlink()
    assert load(later, chain(1, 2)) == 0 and found(later, chain(1, 2)) == 0


def test_the_quota_holds_and_leaves_go_before_their_parents(tmp_path: Path) -> None:
    quota = 5 * SIZE
    store = toy_store(disk(tmp_path, quota), blocks=1000)
    for number in range(6):
        fill(store, chain(number, 3))
        store.check()
    assert store.usage()["disk"][0] <= quota
    assert sum(path.stat().st_size for path in files(tmp_path)) <= quota * 1.5
    store.close()
    later = toy_store(disk(tmp_path, quota))
    # every file that is left can be reached from its root
    reached = sum(found(later, chain(number, 3)) // BLOCK_TOKENS for number in range(6))
    assert reached == len(files(tmp_path)) > 0


def test_ram_evicts_leaves_first_and_the_least_recently_used_chain() -> None:
    store = BlockStore(IDENTITY, 4 * SIZE, clock=FakeClock())
    fill(store, chain(1, 3))
    fill(store, chain(2, 2))
    assert found(store, chain(1, 3)) == 2 * BLOCK_TOKENS  # its last block went
    fill(store, chain(3, 2))  # chain 1 was just used, so chain 2 goes
    assert found(store, chain(2, 2)) == 0
    assert found(store, chain(1, 3)) == found(store, chain(3, 2)) == 2 * BLOCK_TOKENS
    store.check()


def test_ram_gives_up_what_disk_has_before_what_it_has_not(tmp_path: Path) -> None:
    clock = FakeClock()
    tier = Faulty(disk(tmp_path))
    store = toy_store(tier, blocks=16, clock=clock)  # 16 toy blocks are 4 of these
    tier.on_write = failing
    fill(store, chain(1, 1))
    clock.advance(BACK_OFF_S_MAX)

    def fail_after_the_first() -> None:
        if store.figures.moves["ram", "disk"]:
            failing()

    tier.on_write = fail_after_the_first
    fill(store, chain(2, 3))
    kept = [n for n in (1, 2) if found(store, chain(n, 1))]
    assert kept == [1, 2]
    assert store.usage()["disk"][1] == 1


def test_pinned_blocks_stay_and_held_ones_go_last() -> None:
    clock = FakeClock()
    store = BlockStore(IDENTITY, 4 * SIZE, clock=clock)
    fill(store, chain(1, 2))
    store.hold(store.root(""), chain(1, 2), until=10.0)
    fill(store, chain(2, 2))
    fill(store, chain(3, 2))
    assert found(store, chain(1, 2)) == 2 * BLOCK_TOKENS
    pinned = [part.node for part in store.walk(store.root(""), chain(3, 2))]
    store.pin(pinned)
    clock.advance(11.0)
    for number in range(4, 8):
        fill(store, chain(number, 2))
    assert found(store, chain(3, 2)) == 2 * BLOCK_TOKENS
    assert found(store, chain(1, 2)) == 0
    store.unpin(pinned)
    store.check()


def test_when_all_of_ram_is_pinned_a_block_is_refused_not_squeezed_in() -> None:
    store = BlockStore(IDENTITY, 2 * SIZE, clock=FakeClock())
    fill(store, chain(1, 2))
    store.pin(part.node for part in store.walk(store.root(""), chain(1, 2)))
    fill(store, chain(2, 1))
    assert found(store, chain(2, 1)) == 0 and store.figures.refused == 1
    store.check()


def test_a_block_without_its_parent_is_not_taken() -> None:
    index = BlockIndex()
    index.add_tier("ram")
    assert index.insert(replace(head_of(chain(1, 1)), start=BLOCK_TOKENS)) is None


def test_an_unwritable_folder_is_one_warning_and_service_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "file"
    place.write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        store = toy_store(disk(place))
        for number in range(5):
            fill(store, chain(number, 2))
    assert found(store, chain(0, 2)) == 2 * BLOCK_TOKENS
    assert len([r for r in caplog.records if "not used for now" in r.message]) == 1
    assert "Not a directory" in caplog.text or "File exists" in caplog.text
    assert store.usage()["disk"][2] is not None


def test_a_full_disk_is_left_alone_and_used_again_later(tmp_path: Path) -> None:
    clock = FakeClock()
    tier = disk(tmp_path, free_bytes_min=2**62)
    store = toy_store(tier, clock=clock)
    fill(store, chain(1, 2))
    assert "almost full" in str(store.usage()["disk"][2]) and files(tmp_path) == []
    tier._free_bytes_min = 0
    clock.advance(BACK_OFF_S_MAX)
    fill(store, chain(2, 1))
    assert store.usage()["disk"][1] == 3 and store.usage()["disk"][2] is None


def test_blocks_of_other_models_make_room(tmp_path: Path) -> None:
    other = DiskTier(tmp_path, identity_digest("old model"), 2**24, free_bytes_min=0)
    store = toy_store(other, identity="old model")
    fill(store, chain(1, 12))
    store.close()
    toy_store(disk(tmp_path, 8 * SIZE))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 4 * SIZE


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
        reached += load(store, chain(first, 3)) // BLOCK_TOKENS
    assert reached == left and store.figures.corrupt == 0


# Tiers that hang or fail


class Faulty:
    """A tier whose calls go through `on_read` and `on_write` first."""

    name = "disk"
    stores_tails = True
    is_shared = False
    scans_in_background = False
    read_cost = DiskTier.read_cost

    def __init__(self, tier: Tier, deadline_s: float = 0.2) -> None:
        self.tier = tier
        self.quota = Quota(tier.quota.bytes, deadline_s)
        self.on_read: Callable[[], object] = lambda: None
        self.on_write: Callable[[], object] = lambda: None

    def scan(self) -> Iterator[BlockHead]:
        return self.tier.scan()

    def read(self, head: BlockHead) -> Payload:
        self.on_read()
        return self.tier.read(head)

    def write(self, head: BlockHead, payload: Payload) -> None:
        self.on_write()
        self.tier.write(head, payload)

    def delete(self, head: BlockHead) -> None:
        self.tier.delete(head)


def failing() -> None:
    raise TierError("the cable is out")


def test_a_tier_that_hangs_costs_one_deadline_and_is_left_alone(tmp_path: Path) -> None:
    writing = toy_store(disk(tmp_path))
    fill(writing, chain(1, 2))
    writing.close()
    tier, go = Faulty(disk(tmp_path)), threading.Event()
    tier.on_read = lambda: go.wait(20)
    store = BlockStore(IDENTITY, 2**24, [tier], lane=ThreadLane)
    store.start()
    parts = store.walk(store.root(""), chain(1, 2))
    nodes = [part.node for part in parts]
    store.pin(nodes)
    fetch = store.fetch(nodes, ["disk", "disk"])
    time.sleep(0.25)
    assert not fetch.done
    store.give_up(fetch)
    assert fetch.done
    store.unpin(nodes)
    # not asked again while the back-off runs, nor while the read is still stuck
    assert store.source(nodes[0], None) is None
    store._io.lower["disk"].health.worked()
    assert store.source(nodes[0], None) is None
    go.set()
    deadline = time.monotonic() + 10
    while store.source(nodes[0], None) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert load(store, chain(1, 2)) == 2 * BLOCK_TOKENS
    store.close()


def test_a_writer_that_hangs_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    tier, go = Faulty(disk(tmp_path)), threading.Event()
    tier.on_write = lambda: go.wait(30)
    store = BlockStore(IDENTITY, 2**24, [tier], lane=ThreadLane)
    fill(store, chain(1, 2))
    started = time.monotonic()
    assert not store.flush(0.2)
    assert time.monotonic() - started < 2.0
    assert found(store, chain(1, 2)) == 2 * BLOCK_TOKENS
    go.set()
    store.close()


def test_a_failing_tier_is_tried_again_later_each_time(tmp_path: Path) -> None:
    clock = FakeClock()
    tier = Faulty(disk(tmp_path))
    tier.on_write = failing
    store = toy_store(tier, clock=clock)
    fill(store, chain(1, 1))
    assert store.usage()["disk"][2] == "the cable is out"
    tier.on_write = lambda: None
    fill(store, chain(2, 1))
    assert store.usage()["disk"][1] == 0, "still in the back-off"
    clock.advance(1.1)
    fill(store, chain(3, 1))
    assert store.usage()["disk"][1] == 3, "nothing was forgotten meanwhile"


def test_the_back_off_is_bounded() -> None:
    clock = FakeClock()
    health = Health("disk", clock)
    for _ in range(100):
        health.failed("no")
    clock.advance(BACK_OFF_S_MAX)
    assert health.available


def test_a_lane_takes_a_bounded_number_of_jobs() -> None:
    lane, go = ThreadLane("test", jobs_max=3), threading.Event()
    assert lane.submit(lambda: [go.wait(10)].clear())
    time.sleep(0.05)
    assert [lane.submit(lambda: None) for _ in range(4)] == [True, True, True, False]
    go.set()
    lane.close(5.0)
    assert not lane.submit(lambda: None)


# Object stores


def test_a_folder_serves_as_object_store_for_several_engines(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    first = toy_store(ObjectTier(open_store(url, 5.0), DIGEST))
    fill(first, np.concatenate([chain(1, 3), chain(9, 1)[:50]]))
    first.close()
    second = toy_store(ObjectTier(open_store(url, 5.0), DIGEST))
    assert load(second, chain(1, 3)) == 3 * BLOCK_TOKENS
    assert second.usage()["object"][1] == 3, "tails stay at home"
    victim = next(path for path in (tmp_path / "store").glob("*/*") if path.is_file())
    victim.write_bytes(victim.read_bytes()[:-30])
    third = toy_store(ObjectTier(open_store(url, 5.0), DIGEST))
    assert found(third, chain(1, 3)) < 3 * BLOCK_TOKENS and not victim.exists()


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/x", "s3://"])
def test_a_bad_url_says_why(url: str) -> None:
    with pytest.raises(TierError, match="can't be opened"):
        open_store(url, 1.0)
