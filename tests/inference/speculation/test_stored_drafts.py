"""A drafter's cells are stored beside the blocks of the model's KV, and come back with them."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roost_inference.engine import Engine
from roost_inference.errors import EngineFailed
from roost_inference.kv.block import identity_digest
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.disk import DiskTier
from roost_inference.speculation.hidden.library import DraftCompanion, DraftLibrary
from roost_inference.testing.drafting import answer_to, answer_without_end
from roost_inference.testing.harness import (
    Collector,
    FakeClock,
    drive,
    request,
    toy_engine,
    toy_speculator,
    toy_store,
)
from roost_inference.testing.tokenwise.toy_pairs import CheckedPairs, ToyPairs, toy_pairs
from roost_inference.testing.toy import END
from roost_inference.testing.toy_hidden import CheckedDrafter, TappedToy, ToyNetwork, toy_hidden

BOTH = pytest.mark.parametrize("kind", ["blocks", "pairs"])
CELLS = 2048
LONG = "the instructions of this conversation, which are long enough for a block, " * 3
Drafter = CheckedDrafter | CheckedPairs


def build(
    kind: str, store: BlockStore, *, keeps: bool = True, cells: int = CELLS, **sizes: Any
) -> tuple[Engine, Drafter]:
    backend = TappedToy(cells=CELLS, **sizes)
    drafter: Drafter = (
        toy_hidden(backend, ToyNetwork(cells=cells))
        if kind == "blocks"
        else toy_pairs(backend, ToyPairs(cells=cells))
    )
    speculator = toy_speculator(drafter)
    if keeps:
        library = DraftLibrary(store, "a drafter")
        drafter.library = library
        speculator.companion = DraftCompanion(library, drafter)
    return toy_engine(backend, store=store, speculator=speculator), drafter


def ask(engine: Engine, prompt: str, count: int, **fields: object) -> Collector:
    heard = Collector()
    engine.submit(request(prompt, count, ignore_eos=True, **fields), heard)
    drive(engine)
    return heard


def accepted(heard: Collector) -> tuple[int, int]:
    figures = heard.finish.speculation
    return (0, 0) if figures is None else (figures.accepted_tokens, figures.draft_tokens)


def pieces(store: BlockStore, salt: str = "") -> int:
    root = store.root(salt, "a drafter")
    return sum(store._index.chain(node)[0].head.parent == root for node in _nodes(store))


def _nodes(store: BlockStore) -> list[Any]:
    return list(store._index.nodes.values())


def forgotten(engine: Engine, drafter: Drafter) -> None:
    """Neither the device nor the drafter has anything, as after a restart."""
    engine._cache.evict_all()
    drafter._following.clear()
    drafter._apply_changes()


@BOTH
def test_what_was_stored_comes_back_before_the_first_guess(kind: str) -> None:
    engine, drafter = build(kind, toy_store(blocks=200))
    first = ask(engine, LONG, 100, session_id="s", cache_salt="a")
    forgotten(engine, drafter)
    assert engine.store is not None
    assert pieces(engine.store, "a") == len(_nodes(engine.store)) / 2 > 1
    goes_on = LONG + first.text + " and then"
    second = ask(engine, goes_on, 40, session_id="s", cache_salt="a")
    assert second.tokens == answer_without_end(goes_on, 40, cells=CELLS)
    assert second.finish.usage.cached_tokens > 200
    (text,) = drafter._following._ended.values()
    assert text.held.begin == 0, "it knows the text from its beginning"
    if kind == "blocks":  # pairs lack the features of one token, which the toy can't do without
        right, drafted = accepted(second)
        assert right > 20 and right > 0.6 * drafted
    engine.close()


@BOTH
def test_without_the_store_it_begins_behind_what_was_loaded(kind: str) -> None:
    engine, drafter = build(kind, toy_store(blocks=200), keeps=False)
    first = ask(engine, LONG, 100, session_id="s", cache_salt="a")
    forgotten(engine, drafter)
    second = ask(engine, LONG + first.text + " and", 40, session_id="s", cache_salt="a")
    (text,) = drafter._following._ended.values()
    assert text.held.begin > 200 and accepted(second)[0] == 0
    engine.close()


@BOTH
def test_another_salt_and_another_drafter_see_nothing(kind: str) -> None:
    store = toy_store(blocks=200)
    engine, drafter = build(kind, store)
    ask(engine, LONG, 100, session_id="s", cache_salt="a")
    forgotten(engine, drafter)
    tokens = np.frombuffer(LONG.encode(), np.uint8).astype(np.int32)
    assert DraftLibrary(store, "a drafter").pieces("a", tokens)[1] > 200
    assert DraftLibrary(store, "a drafter").pieces("b", tokens) == ([], 0)
    assert DraftLibrary(store, "another").pieces("a", tokens) == ([], 0)
    engine.close()


@BOTH
def test_pieces_go_through_the_tiers_and_outlive_the_engine(kind: str, tmp_path: Path) -> None:
    def tier() -> DiskTier:
        return DiskTier(tmp_path, identity_digest("toy"), 2**24, free_bytes_min=0)

    engine, _ = build(kind, toy_store(tier(), blocks=200))
    first = ask(engine, LONG, 100, session_id="s")
    engine.close()
    engine, drafter = build(kind, toy_store(tier(), blocks=200))
    assert engine.store is not None
    goes_on = LONG + first.text + " and then"
    second = ask(engine, goes_on, 40, session_id="s")
    assert second.tokens == answer_without_end(goes_on, 40, cells=CELLS)
    assert "disk" in str(second.finish.kv["loaded_from"])
    (text,) = drafter._following._ended.values()
    assert text.held.begin == 0
    engine.close()


@BOTH
def test_a_piece_that_the_kernels_refuse_costs_nothing_but_its_guesses(kind: str) -> None:
    engine, drafter = build(kind, toy_store(blocks=200))
    first = ask(engine, LONG, 100, session_id="s")
    forgotten(engine, drafter)
    drafter.network.attach = lambda sequence, payload: 0  # type: ignore[method-assign]
    goes_on = LONG + first.text + " and then"
    second = ask(engine, goes_on, 40, session_id="s")
    assert second.tokens == answer_without_end(goes_on, 40, cells=CELLS)
    assert not drafter.network.is_closed and accepted(second)[1] > 0
    engine.close()


@BOTH
def test_pieces_for_which_there_is_no_room_stay_away(kind: str) -> None:
    store = toy_store(blocks=200)
    engine, drafter = build(kind, store)
    first = ask(engine, LONG, 100, session_id="s")
    forgotten(engine, drafter)
    engine, drafter = build(kind, store, cells=200)
    second = ask(engine, LONG + first.text + " and then", 40, session_id="s")
    (text,) = drafter._following._ended.values()
    assert text.held.begin > 200 and accepted(second)[1] > 0
    engine.close()


@BOTH
def test_cells_that_can_not_be_exported_end_the_storing_and_no_answer(kind: str) -> None:
    def fail(*_: object) -> None:
        raise EngineFailed("out of order")

    engine, drafter = build(kind, toy_store(blocks=200))
    drafter.network.export = fail  # type: ignore[assignment]
    heard = ask(engine, LONG, 60)
    engine._cache.evict_all()
    assert heard.tokens == answer_without_end(LONG, 60, cells=CELLS)
    assert engine.store is not None and pieces(engine.store) == 0 < len(_nodes(engine.store))
    assert accepted(ask(engine, "another " + LONG, 60))[0] > 20, "it still guesses"
    engine.close()


@BOTH
def test_a_drafter_that_rests_or_has_failed_stores_nothing(kind: str) -> None:
    engine, drafter = build(kind, toy_store(blocks=200))
    drafter.rest()
    ask(engine, LONG, 60)
    engine._cache.evict_all()
    assert engine.store is not None and pieces(engine.store) == 0 < len(_nodes(engine.store))
    drafter.close()
    ask(engine, "another " + LONG, 60)
    engine._cache.evict_all()
    assert pieces(engine.store) == 0
    engine.close()


@BOTH
@pytest.mark.parametrize("seed", [*range(6), 26])
def test_a_random_day_with_small_tiers_keeps_texts_and_what_is_held_of_them(
    kind: str, seed: int, tmp_path: Path
) -> None:
    """The checks of the networks and of the drafters hold for whatever comes back."""
    rng, clock = random.Random(seed), FakeClock()
    tier = DiskTier(tmp_path, identity_digest("toy"), rng.choice((40, 160)) * 1500)
    store = toy_store(tier, blocks=rng.choice((6, 40)), clock=clock)
    backend = TappedToy(cells=rng.choice((600, 1200)), sequences=8)
    cells = rng.choice((300, 1200))
    drafter: Drafter = (
        toy_hidden(backend, ToyNetwork(cells=cells, sequences=rng.choice((4, 16))))
        if kind == "blocks"
        else toy_pairs(backend, ToyPairs(cells=cells, sequences=rng.choice((4, 16))))
    )
    library = DraftLibrary(store, "a drafter")
    drafter.library = library
    speculator = toy_speculator(drafter, depth_max=8)
    speculator.companion = DraftCompanion(library, drafter)
    engine = toy_engine(
        backend, max_running=3, resident_cells=100, store=store, speculator=speculator, clock=clock
    )
    texts = {name: f"session {name}: " + LONG[: rng.randrange(len(LONG))] for name in "abcd"}
    asked = []
    for _ in range(24):
        name = rng.choice("abcd")
        prompt = texts[name][-900:] if rng.random() < 0.1 else texts[name]
        prompt = f"{prompt} turn {rng.randrange(9)}"
        if len(prompt) > 480:
            texts[name] = f"session {name}: " + LONG[: rng.randrange(len(LONG))]
            continue
        heard, count = Collector(), rng.randrange(5, 60)
        engine.submit(request(prompt, count, session_id=name, cache_salt=name), heard)
        asked.append((prompt, count, heard))
        for _ in range(rng.choice((3, 200))):
            engine.step()
            engine.check()
            clock.advance(0.01)
        if heard.is_finished:
            texts[name] = prompt + heard.text
        if rng.random() < 0.3:
            forgotten(engine, drafter)
    drive(engine)
    for prompt, count, heard in asked:
        full = [token for token in answer_to(prompt, count) if token != END]
        assert heard.tokens == full, "somebody else's text"
    assert len(asked) > 10 and not drafter.network.is_closed
    assert not speculator.companion.has_failed
    engine.close()
