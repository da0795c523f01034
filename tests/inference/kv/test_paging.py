"""What leaves the device is stored and comes back, token for token, and never to another tenant."""

import contextlib
import random
from pathlib import Path

import pytest

from roost_inference.engine import Engine
from roost_inference.errors import UnknownSession
from roost_inference.kv.block import BLOCK_TOKENS, identity_digest
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.disk import DiskTier
from roost_inference.request import EngineSession, KvPolicy
from roost_inference.testing.harness import (
    Collector,
    FakeClock,
    drive,
    request,
    toy_engine,
    toy_store,
)
from roost_inference.testing.toy import END, ToyBackend, continuation

SYSTEM = "You are a helpful assistant. Answer in few words, and never lie. " * 5
QUOTA = 64 * 2**20


def turn(engine: Engine, prompt: str, count: int = 8, **fields: object) -> Collector:
    heard = Collector()
    engine.submit(request(prompt, count, ignore_eos=True, **fields), heard)
    drive(engine)
    expected = continuation(list(prompt.encode()), count)
    if END not in expected:
        assert heard.tokens == expected
    return heard


def small(store: BlockStore, **fields: object) -> Engine:
    """Cells for about one session, so that every other turn pages."""
    fields.setdefault("resident_cells", 0)
    return toy_engine(ToyBackend(cells=1024), store=store, **fields)  # type: ignore[arg-type]


def cached(heard: Collector) -> int:
    return heard.finish.usage.cached_tokens


def disk(folder: Path, identity: str = "toy", quota: int = QUOTA) -> DiskTier:
    return DiskTier(folder, identity_digest(identity), quota, free_bytes_min=0)


def test_a_session_that_left_the_device_comes_back_from_ram() -> None:
    engine = small(toy_store())
    first = turn(engine, SYSTEM + "Hi.", session_id="s")
    assert engine.stats().cells_used == 0
    again = SYSTEM + "Hi." + first.text
    heard = turn(engine, again + " And you?", session_id="s")
    # generated tokens are stored as well; only the last one was never computed
    assert cached(heard) == len(again) - 1
    report = heard.finish.kv
    assert report["decision"] == "load" and report["loaded_tokens"] == len(again) - 1
    assert report["loaded_from"] == {"ram": len(again) - 1}


def test_more_sessions_than_cells_are_all_remembered() -> None:
    engine = small(toy_store(blocks=200), resident_cells=512)
    texts = {n: f"{SYSTEM} session {n}: " for n in range(12)}
    for _ in range(3):
        for n in texts:
            heard = turn(engine, texts[n] + "next?", session_id=str(n))
            texts[n] += "next?" + heard.text
    for n in texts:
        assert cached(turn(engine, texts[n] + "!", session_id=str(n))) >= len(texts[n]) - 16


def test_sessions_of_one_salt_share_blocks_and_other_salts_never_do() -> None:
    store = toy_store()
    engine = small(store)
    turn(engine, SYSTEM + "one", session_id="a", cache_salt="tenant")
    before = store.usage()["ram"][1]
    assert cached(turn(engine, SYSTEM + "two", session_id="b", cache_salt="tenant")) >= len(SYSTEM)
    assert store.usage()["ram"][1] <= before + 1
    assert cached(turn(engine, SYSTEM + "one", cache_salt="other")) == 0
    assert cached(turn(engine, SYSTEM + "one")) == 0


def test_blocks_of_another_model_or_number_format_are_not_used(tmp_path: Path) -> None:
    store = toy_store(disk(tmp_path))
    turn(small(store), SYSTEM)
    store.close()
    other = toy_store(disk(tmp_path, "toy q8_0"), identity="toy q8_0")
    assert cached(turn(small(other), SYSTEM)) == 0


def test_a_new_process_finds_what_the_old_one_wrote(tmp_path: Path) -> None:
    engine = toy_engine(ToyBackend(cells=2048), store=toy_store(disk(tmp_path)))
    first = turn(engine, SYSTEM + "Hi.", session_id="s")
    engine.close()
    later = toy_engine(ToyBackend(cells=2048), store=toy_store(disk(tmp_path)))
    again = SYSTEM + "Hi." + first.text
    heard = turn(later, again + " Go on.", session_id="s")
    assert cached(heard) == len(again) - 1
    assert heard.finish.kv["loaded_from"] == {"disk": len(again) - 1}


def test_after_a_restart_a_session_is_prefetched_for_its_own_salt_alone(tmp_path: Path) -> None:
    engine = toy_engine(ToyBackend(cells=2048), store=toy_store(disk(tmp_path)))
    turn(engine, SYSTEM + "Hi.", session_id="s", cache_salt="mine")
    turn(engine, SYSTEM * 2, session_id="s", cache_salt="other")
    engine.close()
    later = toy_engine(ToyBackend(cells=2048), store=toy_store(disk(tmp_path)))
    for salt in ("", "yours"):
        with pytest.raises(UnknownSession):
            later.session_control._prefetch(EngineSession("s", salt))
    found = later.session_control._prefetch(EngineSession("s", "mine"))["blocks"]
    assert 0 < found < later.session_control._prefetch(EngineSession("s", "other"))["blocks"]


def test_idle_time_is_used_to_store_what_residents_hold() -> None:
    store = toy_store()
    engine = toy_engine(ToyBackend(cells=2048), store=store)
    turn(engine, SYSTEM + "Hi.")
    assert engine.stats().cells_used > 0
    assert store.usage()["ram"][1] == -(-len(SYSTEM) // BLOCK_TOKENS)


def test_a_growing_tail_replaces_the_shorter_one() -> None:
    store = toy_store()
    engine = small(store)
    for length in range(40, BLOCK_TOKENS, 20):
        turn(engine, "t" * length, 1, session_id="s")
    assert store.usage()["ram"][1] == 1


def test_a_prompt_that_parts_in_the_middle_of_a_block_loads_the_common_half() -> None:
    engine = small(toy_store())
    turn(engine, "c" * 200 + "left" * 30)
    assert cached(turn(engine, "c" * 200 + "right" * 30)) == 200


def test_bounds_of_a_request_hold_for_loads_and_stores() -> None:
    store = toy_store()
    engine = small(store)
    turn(engine, "o" * 600, kv=KvPolicy(max_offload_tokens=256))
    assert store.usage()["ram"][1] == 2
    assert cached(turn(engine, "o" * 600, kv=KvPolicy(max_load_tokens=100))) == 100
    assert cached(turn(engine, "o" * 600, kv=KvPolicy(max_load_tokens=0))) == 0
    assert cached(turn(engine, "o" * 600, kv=KvPolicy(load_tiers=frozenset({"disk"})))) == 0
    assert cached(turn(engine, "o" * 600)) == 599


def test_nothing_is_stored_for_a_request_that_forbids_it() -> None:
    store = toy_store()
    turn(small(store), "o" * 600, kv=KvPolicy(max_offload_tokens=0))
    assert store.usage()["ram"][1] == 0


def test_a_preempted_sequence_goes_on_where_it_was() -> None:
    backend = ToyBackend(cells=600, sequences=8)
    engine = toy_engine(backend, max_running=3, resident_cells=0, store=toy_store(blocks=200))
    heard = {f"prompt number {i} " * 8: Collector() for i in range(3)}
    for prompt, listener in heard.items():
        engine.submit(request(prompt, 200, ignore_eos=True), listener)
    drive(engine)
    assert engine.preemptions_total > 0
    for prompt, listener in heard.items():
        assert listener.finish.usage.completion_tokens == 200
        expected = continuation(list(prompt.encode()), 200)
        if END not in expected:
            assert listener.tokens == expected
    # nothing but tails too short to store was computed twice
    computed = sum(len(prompt) + 199 for prompt in heard)
    assert sum(backend.decoded) <= computed + 16 * engine.preemptions_total


def test_a_block_the_kernels_refuse_is_computed_and_forgotten() -> None:
    backend, store = ToyBackend(cells=1024), toy_store()
    engine = toy_engine(backend, resident_cells=0, store=store)
    turn(engine, SYSTEM)
    backend.refuse_imports = True
    heard = turn(engine, SYSTEM)
    assert cached(heard) == 0 and store.figures.corrupt == 1
    backend.refuse_imports = False
    assert cached(turn(engine, SYSTEM)) == len(SYSTEM) - 1


def test_computing_is_chosen_where_loading_was_measured_to_be_slower(tmp_path: Path) -> None:
    store = toy_store(disk(tmp_path))
    engine = small(store)
    turn(engine, SYSTEM)
    store.close()
    slow = toy_store(disk(tmp_path))
    for _ in range(20):
        slow.figures.read("disk", 5.0, 1024)
    heard = turn(small(slow), SYSTEM)
    assert cached(heard) == 0
    report = heard.finish.kv
    assert report["decision"] == "recompute"
    assert report["expected_load_ms"] > report["expected_recompute_ms"]  # type: ignore[operator]


def test_after_a_failure_of_the_kernels_nothing_of_it_is_stored() -> None:
    backend, store = ToyBackend(cells=1024), toy_store()
    engine = toy_engine(backend, resident_cells=0, store=store)
    turn(engine, "k" * 300)
    stored = store.usage()["ram"][1]
    heard = Collector()
    engine.submit(request("x" * 300, 8), heard)
    engine.step()
    with engine._cache.distrusted():
        engine._end_all(__import__("roost_inference.errors").errors.EngineFailed("broken"))
        engine._cache.evict_all()
    assert store.usage()["ram"][1] == stored


@pytest.mark.parametrize("seed", range(8))
def test_a_random_day_with_small_tiers_serves_only_right_cells(seed: int, tmp_path: Path) -> None:
    """Every import on the toy checks the whole prefix, and every text is checked to the token."""
    rng, clock = random.Random(seed), FakeClock()
    quota = rng.choice((8, 20, 60)) * 1500
    tiers = [disk(tmp_path, quota=quota)] if rng.random() < 0.7 else []
    store = toy_store(*tiers, blocks=rng.choice((2, 6, 20)), clock=clock)
    backend = ToyBackend(cells=1200, sequences=8)
    backend.on_decode = lambda batch: clock.advance((5 + batch.size) / 1000)
    engine = toy_engine(
        backend, max_running=4, batch_tokens=96, resident_cells=300, clock=clock, store=store
    )
    texts: dict[tuple[str, str], str] = {}
    live: dict[str, tuple[tuple[str, str], str, Collector]] = {}
    done = loaded = 0
    for number in range(900):
        if rng.random() < 0.2 and len(live) < 8:
            key = (f"s{rng.randrange(9)}", f"t{rng.randrange(2)}")
            if all(key != other for other, _, _ in live.values()):
                text = texts.get(key, f"{key[1]} system prompt " * 9)
                text = text[:500] + "".join(rng.choices("abc ", k=rng.randint(1, 90)))
                wanted = request(
                    text,
                    rng.randint(1, 30),
                    session_id=key[0],
                    cache_salt=key[1],
                    ignore_eos=True,
                    kv=KvPolicy(max_load_tokens=rng.choice((None, None, 150))),
                )
                heard = Collector()
                engine.submit(wanted, heard)
                live[wanted.id] = (key, text, heard)
        if live and rng.random() < 0.04:
            engine.abort(rng.choice(list(live)))
        if rng.random() < 0.03 and number:
            name, reason = f"s{rng.randrange(9)}", rng.choice(("tool", "approval"))
            for salt in ("t0", "t1"):
                with contextlib.suppress(UnknownSession):
                    engine.session_control._pin(EngineSession(name, salt), reason, 5.0)
        engine.step()
        engine.check()
        for name in [name for name, entry in live.items() if entry[2].is_finished]:
            key, text, heard = live.pop(name)
            full = continuation(list(text.encode()), len(heard.tokens))
            if END not in full:
                assert heard.tokens == full, "somebody else's cells"
            texts[key] = text + heard.text
            done += 1
            loaded += int(str(heard.finish.kv.get("loaded_tokens", 0)))
    drive(engine)
    assert done > 60 and loaded > 0
    assert store.pinned() == 0
    engine.close()
