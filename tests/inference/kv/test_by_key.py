"""Blocks that another machine stores after our start are found by their keys."""

from dataclasses import replace
from pathlib import Path

import pytest

from roost_inference.engine import Engine
from roost_inference.kv.block import BLOCK_TOKENS, identity_digest
from roost_inference.kv.handover import object_source
from roost_inference.kv.handover.handover import HandoverSettings
from roost_inference.kv.handover.object_source import ABSENT_S, AbsentKeys
from roost_inference.kv.tiers.lanes import InlineLane
from roost_inference.kv.tiers.objects import ObjectTier, open_store
from roost_inference.kv.tiers.tier import KeyedTier, TierError
from roost_inference.request import KvOffer, KvPolicy
from roost_inference.scheduling.cost import Measurement, StepCost
from roost_inference.testing.harness import (
    Collector,
    FakeClock,
    drive,
    request,
    toy_engine,
    toy_store,
)
from roost_inference.testing.toy import ToyBackend, continuation

PROMPT = tuple(b"A long story that two machines are told, the one after the other. " * 5)
# Computing is dear, so that a look-up pays.
DEAR = StepCost([Measurement(1, 0, 50.0), Measurement(128, 0, 6400.0)])


class Counted(ObjectTier):
    """Counts look-ups, and fails when told."""

    gets = 0
    fails = False

    def get(self, key: bytes) -> memoryview | None:
        self.gets += 1
        if self.fails:
            raise TierError("it burns")
        return super().get(key)


def machine(folder: Path, clock: FakeClock | None = None) -> tuple[Engine, Counted]:
    """An engine over a store that others share; it has listed what is there now."""
    clock = clock or FakeClock()
    tier = Counted(open_store(folder.as_uri(), 1.0), identity_digest("toy"))
    engine = toy_engine(
        ToyBackend(cells=1024),
        clock=clock,
        cost=DEAR,
        resident_cells=0,
        store=toy_store(tier, clock=clock),
        handover=HandoverSettings(lane=lambda name: InlineLane()),
    )
    return engine, tier


def tell(engine: Engine, prompt: tuple[int, ...] = PROMPT, **fields: object) -> Collector:
    heard = Collector()
    engine.submit(request(prompt, 4, ignore_eos=True, **fields), heard)
    drive(engine)
    assert heard.tokens == continuation(prompt, 4)
    return heard


def cached(heard: Collector) -> int:
    return heard.finish.usage.cached_tokens


def test_a_block_that_another_machine_stores_later_is_found(tmp_path: Path) -> None:
    one, _ = machine(tmp_path)
    other, tier = machine(tmp_path)  # it lists an empty store
    assert isinstance(tier, KeyedTier)
    assert cached(tell(one)) == 0
    one.close()
    whole = (len(PROMPT) - 1) // BLOCK_TOKENS * BLOCK_TOKENS
    heard = tell(other)
    assert cached(heard) == whole
    told = heard.finish.kv["handover"]
    assert isinstance(told, dict) and told["tokens"] == whole and told["by"] == "object"
    written = tier.gets
    assert cached(tell(other, cache_salt="another tenant")) == 0
    assert tier.gets == written + 1, "one look-up for a prompt that nobody has"


def test_what_is_absent_is_asked_for_once_in_a_while(tmp_path: Path) -> None:
    clock = FakeClock()
    engine, tier = machine(tmp_path, clock)
    for _ in range(3):
        heard = Collector()
        engine.submit(request(PROMPT, 1, kv=KvPolicy(max_offload_tokens=0)), heard)
        drive(engine)
    assert tier.gets == 1
    clock.advance(ABSENT_S + 1)
    tell(engine)
    assert tier.gets == 2


def test_so_many_absent_keys_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_source, "ABSENT_KEPT", 3)
    absent = AbsentKeys(FakeClock())
    for number in range(5):
        absent.add(bytes([number]))
    assert len(absent) == 3 and b"\0" not in absent and b"\4" in absent


def test_a_short_prompt_is_not_looked_up(tmp_path: Path) -> None:
    engine, tier = machine(tmp_path)
    tell(engine, tuple(b"Hello."))
    assert tier.gets == 0


def test_a_store_that_fails_costs_one_try_and_the_answer_comes(tmp_path: Path) -> None:
    engine, tier = machine(tmp_path)
    tier.fails = True
    assert cached(tell(engine)) == 0
    assert engine.handover is not None
    assert engine.handover.figures.failures == {"tier_failed": 1}
    tell(engine, cache_salt="the next one")
    assert tier.gets == 1, "left alone for a while"


def test_a_damaged_block_is_not_used(tmp_path: Path) -> None:
    one, _ = machine(tmp_path)
    other, _ = machine(tmp_path)
    tell(one)
    one.close()
    for path in tmp_path.glob("*/*"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    assert cached(tell(other)) == 0
    assert other.handover is not None
    assert other.handover.figures.failures == {"bad_block": 1}


def test_a_request_may_forbid_the_tier(tmp_path: Path) -> None:
    one, _ = machine(tmp_path)
    other, tier = machine(tmp_path)
    tell(one)
    one.close()
    assert cached(tell(other, kv=KvPolicy(load_tiers=frozenset({"disk"})))) == 0
    assert tier.gets == 0
    assert cached(tell(other, kv=KvPolicy(load_tiers=frozenset({"object"})), cache_salt="")) > 0


def test_the_tail_of_a_prompt_that_is_handed_over_is_stored_for_others(tmp_path: Path) -> None:
    one, _ = machine(tmp_path)
    tell(one)
    one.close()
    without = len(list(tmp_path.glob("*/*")))
    two, _ = machine(tmp_path)
    tell(two, kv=KvPolicy(hands_over=True))
    two.close()
    assert len(list(tmp_path.glob("*/*"))) == without + 1


def test_the_object_store_stands_in_for_an_engine_that_is_gone(tmp_path: Path) -> None:
    one, _ = machine(tmp_path)
    other, _ = machine(tmp_path)
    offer = tell(one, kv=KvPolicy(hands_over=True)).finish.offer
    assert isinstance(offer, KvOffer)
    one.close()
    gone = replace(offer, port=1)
    heard = tell(other, kv=KvPolicy(offer=gone))
    told = heard.finish.kv["handover"]
    assert cached(heard) == len(PROMPT) - 1, "the tail, too"
    assert isinstance(told, dict) and told["by"] == "object" and told["failure"] == "unreachable"
