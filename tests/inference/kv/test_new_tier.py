"""The worked example of docs/extending.md: a tier over a dict, registered the one proper way."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_inference.backend import Payload
from roost_inference.config import EngineConfig
from roost_inference.kv import opening
from roost_inference.kv.block import BLOCK_TOKENS, BlockHead, decode_block, encode_head
from roost_inference.kv.figures import ReadCost
from roost_inference.kv.opening import TIER_OPENERS, open_block_store
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.lanes import ThreadLane
from roost_inference.kv.tiers.placement import Place, select_tiers
from roost_inference.kv.tiers.tier import Quota, TierError
from roost_inference.request import KvPolicy
from roost_inference.testing.harness import Collector, drive, request, toy_engine, toy_store
from roost_inference.testing.toy import ToyBackend


class DictTier:
    """Implements Tier over a dict; the dict outlives the engine, as a store on another host."""

    name = "dict"
    quota = Quota(2**20, deadline_s=1.0)
    stores_tails = True
    is_shared = True
    scans_in_background = True
    read_cost = ReadCost(latency_ms=0.1, ms_per_mib=0.1)

    def __init__(self, blobs: dict[bytes, bytes], heads: dict[bytes, BlockHead]) -> None:
        self.blobs = blobs
        self.heads = heads

    def scan(self) -> Iterator[BlockHead]:
        yield from list(self.heads.values())

    def read(self, head: BlockHead) -> Payload:
        return decode_block(self.blobs[head.key], head)

    def write(self, head: BlockHead, payload: Payload) -> None:
        self.blobs[head.key] = encode_head(head, payload) + payload.tobytes()
        self.heads[head.key] = head

    def delete(self, head: BlockHead) -> None:
        self.blobs.pop(head.key, None)
        self.heads.pop(head.key, None)


def dict_tier() -> DictTier:
    return DictTier({}, {})


def ask(store: BlockStore, prompt: str, kv: KvPolicy | None = None) -> Collector:
    engine = toy_engine(ToyBackend(cells=2048), store=store)
    heard = Collector()
    engine.submit(request(prompt, 4, kv=kv or KvPolicy()), heard)
    drive(engine)
    engine.close()
    return heard


PROMPT = "A system prompt that every session shares, and that takes a while to read. " * 6


def test_what_one_engine_wrote_to_the_new_tier_another_one_loads() -> None:
    tier = dict_tier()
    ask(toy_store(tier), PROMPT)
    assert tier.blobs
    again = ask(toy_store(tier), PROMPT)
    assert again.finish.usage.cached_tokens >= len(PROMPT) // BLOCK_TOKENS * BLOCK_TOKENS
    assert set(again.finish.kv["loaded_from"]) == {"dict"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("allowed", "is_loaded"), [(["dict"], True), (["ram", "disk"], False), ([], False)]
)
def test_a_request_may_load_from_the_new_tier_by_its_name(
    allowed: list[str | Place], is_loaded: bool
) -> None:
    tier = dict_tier()
    ask(toy_store(tier), PROMPT)
    store = toy_store(tier)
    policy = KvPolicy(load_tiers=select_tiers(allowed, store.placements))
    assert (ask(store, PROMPT, policy).finish.usage.cached_tokens > 0) == is_loaded


def test_a_shared_tier_is_a_remote_one_in_vllms_words() -> None:
    store = toy_store(dict_tier())
    remote = select_tiers([Place("STORAGE", "REMOTE")], store.placements)
    assert remote == {"object", "dict"}
    with pytest.raises(ValueError, match="'moon'; a tier is ram, disk, object, dict"):
        select_tiers(["moon"], store.placements)


def test_the_start_does_not_wait_for_the_listing_of_a_tier_in_the_background() -> None:
    go = threading.Event()

    class Slow(DictTier):
        def scan(self) -> Iterator[BlockHead]:
            assert go.wait(30)
            yield from super().scan()

    first = dict_tier()
    ask(toy_store(first), PROMPT)
    store = BlockStore("toy", 2**20, [Slow(first.blobs, first.heads)], lane=ThreadLane)
    store.start()
    assert store.usage()["dict"][1] == 0
    go.set()
    store.close()
    assert store.usage()["dict"][1] == len(first.blobs)


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_block_without_its_parent_is_kept_in_a_shared_tier_only(is_shared: bool) -> None:
    tier = dict_tier()
    ask(toy_store(tier), PROMPT)
    root = min(tier.heads.values(), key=lambda head: head.start)
    tier.delete(root)
    orphans = len(tier.blobs)
    tier.is_shared = is_shared
    toy_store(tier)
    assert len(tier.blobs) == (orphans if is_shared else 0)


def test_the_first_guess_of_a_tiers_costs_decides_whether_it_is_worth_reading() -> None:
    tier = dict_tier()
    ask(toy_store(tier), PROMPT)
    tier.read_cost = ReadCost(latency_ms=60_000.0, ms_per_mib=1.0)
    assert ask(toy_store(tier), PROMPT).finish.kv["decision"] == "recompute"


def test_one_line_registers_a_tier_and_its_settings_turn_it_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def open_dict_tier(config: EngineConfig, identity: bytes, folder: Path) -> DictTier | None:
        return DictTier({}, {}) if config.kv_object else None

    def open_broken_tier(config: EngineConfig, identity: bytes, folder: Path) -> DictTier | None:
        raise TierError("the cable is out")

    openers = (*TIER_OPENERS, open_dict_tier, open_broken_tier)
    monkeypatch.setattr(opening, "TIER_OPENERS", openers)
    config = EngineConfig(kv_disk=2**20)
    store = open_block_store(config, ToyBackend(), tmp_path)
    assert store is not None
    assert [tier.name for tier in store.placements] == ["ram", "disk", "dict"]
    assert "A KV tier is not used: the cable is out" in caplog.text
    store.close()
    without = open_block_store(config.model_copy(update={"kv_object": 0}), ToyBackend(), tmp_path)
    assert without is not None
    assert [tier.name for tier in without.placements] == ["ram", "disk"]
    without.close()


def test_the_tiers_blocks_are_checked_when_they_are_read() -> None:
    tier = dict_tier()
    ask(toy_store(tier), PROMPT)
    for key, blob in tier.blobs.items():
        tier.blobs[key] = blob[:-1] + bytes([blob[-1] ^ 1])
    store = toy_store(tier)
    assert ask(store, PROMPT).finish.usage.cached_tokens == 0
    assert store.figures.corrupt > 0


def test_the_page_shows_this_example() -> None:
    page = (Path(__file__).parents[3] / "docs" / "extending.md").read_text()
    section = page.split("## Add a KV tier")[1]
    example = section.split("```python\n")[1].split("```")[0]
    code = [line.split("  #")[0].strip() for line in example.splitlines()]
    source = Path(__file__).read_text()
    assert len(code) > 15 and [line for line in code if line not in source] == []
