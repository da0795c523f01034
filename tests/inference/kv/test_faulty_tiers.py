"""Tiers hang and fail, and several engines share one; nothing wrong is ever served."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from roost_inference.backend import Payload
from roost_inference.kv.block import (
    BLOCK_TOKENS,
    BlockHead,
    identity_digest,
)
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.disk import DiskTier
from roost_inference.kv.tiers.health import BACK_OFF_S_MAX, Health
from roost_inference.kv.tiers.lanes import ThreadLane
from roost_inference.kv.tiers.objects import ObjectTier, open_store
from roost_inference.kv.tiers.tier import Quota, Tier, TierError
from roost_inference.testing.blocks import (
    chain_of,
    fill,
    load,
    stored_tokens,
)
from roost_inference.testing.harness import FakeClock, toy_store

IDENTITY = "toy"
DIGEST = identity_digest(IDENTITY)


def disk(folder: Path, quota: int = 2**24, **fields: object) -> DiskTier:
    fields.setdefault("free_bytes_min", 0)
    return DiskTier(folder, DIGEST, quota, **fields)  # type: ignore[arg-type]


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


def test_ram_gives_up_what_disk_has_before_what_it_has_not(tmp_path: Path) -> None:
    clock = FakeClock()
    tier = Faulty(disk(tmp_path))
    store = toy_store(tier, blocks=16, clock=clock)  # 16 toy blocks are 4 of these
    tier.on_write = failing
    fill(store, chain_of(1, 1))
    clock.advance(BACK_OFF_S_MAX)

    def fail_after_the_first() -> None:
        if store.figures.moves["ram", "disk"]:
            failing()

    tier.on_write = fail_after_the_first
    fill(store, chain_of(2, 3))
    kept = [n for n in (1, 2) if stored_tokens(store, chain_of(n, 1))]
    assert kept == [1, 2]
    assert store.usage()["disk"][1] == 1


def test_a_tier_that_hangs_costs_one_deadline_and_is_left_alone(tmp_path: Path) -> None:
    writing = toy_store(disk(tmp_path))
    fill(writing, chain_of(1, 2))
    writing.close()
    tier, go = Faulty(disk(tmp_path)), threading.Event()
    tier.on_read = lambda: go.wait(20)
    store = BlockStore(IDENTITY, 2**24, [tier], lane=ThreadLane)
    store.start()
    parts = store.walk(store.root(""), chain_of(1, 2))
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
    assert load(store, chain_of(1, 2)) == 2 * BLOCK_TOKENS
    store.close()


def test_a_writer_that_hangs_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    tier, go = Faulty(disk(tmp_path)), threading.Event()
    tier.on_write = lambda: go.wait(30)
    store = BlockStore(IDENTITY, 2**24, [tier], lane=ThreadLane)
    fill(store, chain_of(1, 2))
    started = time.monotonic()
    assert not store.flush(0.2)
    assert time.monotonic() - started < 2.0
    assert stored_tokens(store, chain_of(1, 2)) == 2 * BLOCK_TOKENS
    go.set()
    store.close()


def test_a_failing_tier_is_tried_again_later_each_time(tmp_path: Path) -> None:
    clock = FakeClock()
    tier = Faulty(disk(tmp_path))
    tier.on_write = failing
    store = toy_store(tier, clock=clock)
    fill(store, chain_of(1, 1))
    assert store.usage()["disk"][2] == "the cable is out"
    tier.on_write = lambda: None
    fill(store, chain_of(2, 1))
    assert store.usage()["disk"][1] == 0, "still in the back-off"
    clock.advance(1.1)
    fill(store, chain_of(3, 1))
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
    fill(first, np.concatenate([chain_of(1, 3), chain_of(9, 1)[:50]]))
    first.close()
    second = toy_store(ObjectTier(open_store(url, 5.0), DIGEST))
    assert load(second, chain_of(1, 3)) == 3 * BLOCK_TOKENS
    assert second.usage()["object"][1] == 3, "tails stay at home"
    victim = next(path for path in (tmp_path / "store").glob("*/*") if path.is_file())
    victim.write_bytes(victim.read_bytes()[:-30])
    third = toy_store(ObjectTier(open_store(url, 5.0), DIGEST))
    assert stored_tokens(third, chain_of(1, 3)) < 3 * BLOCK_TOKENS and not victim.exists()


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/x", "s3://"])
def test_a_bad_url_says_why(url: str) -> None:
    with pytest.raises(TierError, match="can't be opened"):
        open_store(url, 1.0)
