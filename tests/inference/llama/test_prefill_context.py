"""Prompts are read in a context of their own, and nobody can tell but by the clock."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.llama import bindings, memory, prefill
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.piece import NICER, BackgroundPiece
from roost_inference.llama.quantize import bundled_model, requantised

TEXT = (
    "The city lies on seven hills at the mouth of the river. Trams climb the old streets, ferries "
    "cross to the other bank, and the castle looks down on it all. "
)
CELLS, PREFILL_CELLS = 4096, 1024


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return requantised(bundled_model(), tmp_path_factory.mktemp("prefill") / "models", 2)


def load(model: Path, prefill_cells: int, *, threads: int = 1) -> LlamaBackend:
    return LlamaBackend(
        model,
        cells=CELLS,
        sequences=4,
        batch_tokens=512,
        outputs=64,
        threads=threads,
        kv_type="f16",
        prefill_cells=prefill_cells,
    )


@pytest.fixture(scope="module")
def kernels(model: Path) -> Iterator[LlamaBackend]:
    loaded = load(model, PREFILL_CELLS)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def plain(model: Path) -> Iterator[LlamaBackend]:
    loaded = load(model, 0)
    yield loaded
    loaded.close()


@pytest.fixture(autouse=True)
def _empty(kernels: LlamaBackend) -> Iterator[None]:
    yield
    for sequence in range(kernels.sequences):
        kernels.sequence_remove(sequence, 0)
        assert kernels.sequence_end(sequence) == 0


def tokens(kernels: LlamaBackend, count: int) -> list[int]:
    return kernels.vocabulary.tokenize(TEXT * (count // 30 + 1))[:count]


def read(kernels: LlamaBackend, sequence: int, text: list[int], at: int = 0) -> NDArray[np.float32]:
    batch = Batch(512)
    row = batch.add(text, at, sequence, output=True)
    assert kernels.decode(batch) is DecodeStatus.DONE
    assert kernels.sequence_end(sequence) == at + len(text)
    return kernels.logits(row).copy()


def test_what_is_read_does_not_depend_on_who_else_is_served_to_the_last_bit(
    kernels: LlamaBackend,
) -> None:
    text = tokens(kernels, 300)
    alone = read(kernels, 0, text)
    kernels.sequence_remove(0, 0)
    for other in (1, 2):
        read(kernels, other, tokens(kernels, 200 + other))
        read(kernels, other, [7], 200 + other)
    assert np.array_equal(read(kernels, 0, text), alone)


def test_answers_go_on_behind_a_prompt_as_if_it_had_been_read_beside_them(
    kernels: LlamaBackend, plain: LlamaBackend
) -> None:
    text = tokens(kernels, 300)
    expected = [read(plain, 0, text), read(plain, 0, [42], 300), read(plain, 0, text[:40], 301)]
    found = [read(kernels, 0, text), read(kernels, 0, [42], 300), read(kernels, 0, text[:40], 301)]
    plain.sequence_remove(0, 0)
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-3


def test_who_writes_alone_writes_the_same_whether_it_was_loaded_or_never_left(
    kernels: LlamaBackend,
) -> None:
    text = tokens(kernels, 300)
    read(kernels, 0, text)
    for at in range(300, 310):
        read(kernels, 0, [at], at)
    stayed = [read(kernels, 0, text[:50], 310), read(kernels, 0, [42], 360)]
    kernels.sequence_remove(0, 310)
    blocks = [kernels.export_block(0, at, min(at + 128, 310)) for at in (0, 128, 256)]
    read(kernels, 1, text[:100])
    kernels.sequence_remove(0, 0)
    read(kernels, 2, text[:200])
    assert all(kernels.import_block(3, block) for block in blocks)
    loaded = [read(kernels, 3, text[:50], 310), read(kernels, 3, [42], 360)]
    for one, other in zip(stayed, loaded, strict=True):
        assert np.array_equal(one, other)


def test_prompts_that_take_turns_lose_nothing(
    kernels: LlamaBackend, plain: LlamaBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than one piece moves each time, and the last one is not full.
    monkeypatch.setattr(prefill, "MOVE_TOKENS", 256)
    text = tokens(kernels, 600)
    for at in range(0, len(text), 200):
        for sequence in (0, 1):
            piece = text[at : at + 200]
            found, expected = read(kernels, sequence, piece, at), read(plain, sequence, piece, at)
            assert int(found.argmax()) == int(expected.argmax())
            assert np.corrcoef(found, expected)[0, 1] > 0.999
    for sequence in (0, 1):
        plain.sequence_remove(sequence, 0)


def test_blocks_and_copies_of_a_prompt_just_read_are_whole(kernels: LlamaBackend) -> None:
    text = tokens(kernels, 256)
    before = read(kernels, 0, [*text, 42])
    kernels.sequence_remove(0, 256)
    blocks = [kernels.export_block(0, 0, 128), kernels.export_block(0, 128, 256)]
    kernels.sequence_copy(0, 1, 0, 256)
    assert kernels.sequence_end(1) == 256
    kernels.sequence_remove(0, 0)
    for block in blocks:
        assert kernels.import_block(2, block)
    for sequence in (1, 2):
        after = read(kernels, sequence, [42], 256)
        assert int(after.argmax()) == int(before.argmax())


def test_a_loaded_session_goes_on_where_it_was_loaded(
    kernels: LlamaBackend, plain: LlamaBackend
) -> None:
    text = tokens(kernels, 500)
    expected = read(plain, 0, text)
    plain.sequence_remove(0, 0)
    read(kernels, 0, text[:256])
    blocks = [kernels.export_block(0, at, at + 128) for at in (0, 128)]
    kernels.sequence_remove(0, 0)
    assert all(kernels.import_block(3, block) for block in blocks)
    assert np.abs(read(kernels, 3, text[256:], 256) - expected).max() < 1e-3


def test_a_prompt_that_is_too_long_goes_on_in_the_main_context(kernels: LlamaBackend) -> None:
    text = tokens(kernels, PREFILL_CELLS + 300)
    for at in range(0, len(text), 512):
        read(kernels, 0, text[at : at + 512], at)
    assert kernels.sequence_end(0) == len(text)


def test_an_interrupted_piece_leaves_what_was_there(kernels: LlamaBackend) -> None:
    text = tokens(kernels, 400)
    read(kernels, 0, text[:200])
    kernels.interrupt()
    batch = Batch(512)
    batch.add(text[200:], 200, 0, output=True)
    assert kernels.decode(batch) is DecodeStatus.ABORTED
    kernels.clear_interrupt()
    kernels.sequence_remove(0, 200)
    again = read(kernels, 0, text[200:], 200)
    kernels.sequence_remove(0, 0)
    read(kernels, 0, text[:200])
    assert np.array_equal(read(kernels, 0, text[200:], 200), again)


def test_without_memory_for_it_prompts_are_read_beside_the_others(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = [64 * 2**30, 2**20]
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: free.pop(0))
    loaded = load(model, PREFILL_CELLS)
    assert "Prompts get no context of their own" in caplog.text
    read(loaded, 0, tokens(loaded, 100))
    loaded.close()


@pytest.fixture(scope="module")
def two_cores(model: Path) -> Iterator[LlamaBackend]:
    loaded = load(model, PREFILL_CELLS, threads=2)
    yield loaded
    loaded.close()


def piece_of(text: list[int]) -> Batch:
    """Computed with all threads, as another number of them sums in another order."""
    batch = Batch(512)
    batch.add(text, 0, 0, output=True)
    batch.is_exact = True
    return batch


def read_exactly(kernels: LlamaBackend, text: list[int]) -> NDArray[np.float32]:
    assert kernels.decode(piece_of(text)) is DecodeStatus.DONE
    found = kernels.logits(len(text) - 1).copy()
    kernels.sequence_remove(0, 0)
    return found


def test_a_piece_in_the_background_gives_the_same_numbers_while_others_are_computed(
    two_cores: LlamaBackend,
) -> None:
    text, ended = tokens(two_cores, 400), threading.Event()
    expected = read_exactly(two_cores, text)
    other = read(two_cores, 1, [5])
    assert two_cores.begin_prefill(piece_of(text), ended.set)
    for at in range(1, 4):
        other = read(two_cores, 1, [5], at)
    assert ended.wait(120) and two_cores.finish_prefill(wait=False) is DecodeStatus.DONE
    assert np.array_equal(two_cores.logits(len(text) - 1), expected)
    two_cores.sequence_remove(1, 3)
    assert np.corrcoef(read(two_cores, 1, [5], 3), other)[0, 1] > 0.999
    for sequence in (0, 1):
        two_cores.sequence_remove(sequence, 0)


def test_a_step_that_is_interrupted_does_not_stop_the_piece_beside_it(
    two_cores: LlamaBackend,
) -> None:
    text = tokens(two_cores, 400)
    assert two_cores.begin_prefill(piece_of(text), lambda: None)
    two_cores.interrupt()
    step = Batch(8)
    step.add([5], 0, 1, output=True)
    assert two_cores.decode(step) is DecodeStatus.ABORTED
    two_cores.clear_interrupt()
    assert two_cores.finish_prefill(wait=True) is DecodeStatus.DONE
    assert two_cores.sequence_end(0) == len(text)
    for sequence in (0, 1):
        two_cores.sequence_remove(sequence, 0)


def test_a_piece_that_is_stopped_leaves_nothing_and_its_thread_ends(
    two_cores: LlamaBackend,
) -> None:
    text, ended = tokens(two_cores, 400), threading.Event()
    assert two_cores.begin_prefill(piece_of(text), ended.set)
    two_cores.stop_prefill()
    assert two_cores.finish_prefill(wait=True) is DecodeStatus.ABORTED
    assert ended.wait(120) and two_cores.sequence_end(0) == 0
    assert np.array_equal(read_exactly(two_cores, text), read_exactly(two_cores, text))
    while any(thread.name.startswith("prefill") for thread in threading.enumerate()):
        time.sleep(0.01)


def piece_beside(kernels: LlamaBackend) -> BackgroundPiece:
    assert kernels._prefill is not None
    return kernels._prefill.piece


def test_a_piece_makes_no_progress_while_it_is_held_and_goes_on_as_if_it_had_not_been(
    two_cores: LlamaBackend,
) -> None:
    text, ended = tokens(two_cores, 400), threading.Event()
    expected = read_exactly(two_cores, text)
    with piece_beside(two_cores)._gate.held():
        assert two_cores.begin_prefill(piece_of(text), ended.set)
        assert not ended.wait(2)
    assert ended.wait(120) and two_cores.finish_prefill(wait=False) is DecodeStatus.DONE
    assert np.array_equal(two_cores.logits(len(text) - 1), expected)
    two_cores.sequence_remove(0, 0)


@pytest.mark.parametrize("pauses", [True, False])
def test_the_piece_pauses_for_a_step_or_leaves_it_a_core_where_it_would_wait_busily(
    two_cores: LlamaBackend, monkeypatch: pytest.MonkeyPatch, pauses: bool
) -> None:
    piece, compute, seen = piece_beside(two_cores), bindings.decode, []
    held: list[bool] = []

    @contextmanager
    def paused() -> Iterator[None]:
        held.append(True)
        with BackgroundPiece.paused(piece):
            yield
        held.clear()

    def decode(context: object, batch: object, rows: int) -> int:
        if rows == 1:
            seen.append((bool(held), two_cores._main.threads_max))
        return compute(context, batch, rows)

    monkeypatch.setattr(piece, "paused", paused)
    monkeypatch.setattr(bindings, "decode", decode)
    monkeypatch.setattr(two_cores, "_pauses", pauses)
    assert two_cores.begin_prefill(piece_of(tokens(two_cores, 400)), lambda: None)
    read(two_cores, 1, [5])
    assert two_cores.finish_prefill(wait=True) is DecodeStatus.DONE
    assert seen == [(True, None) if pauses else (False, 1)]
    for sequence in (0, 1):
        two_cores.sequence_remove(sequence, 0)


def test_the_choice_of_threads_learns_nothing_from_steps_beside_a_piece(
    two_cores: LlamaBackend,
) -> None:
    main = two_cores._main
    assert two_cores.begin_prefill(piece_of(tokens(two_cores, 40)), lambda: None)
    assert not main.tunes
    two_cores.stop_prefill()
    two_cores.finish_prefill(wait=True)
    assert main.tunes and main.threads_max is None
    two_cores.sequence_remove(0, 0)


@pytest.mark.parametrize("gives_way", [True, False])
def test_a_piece_has_a_low_priority_unless_it_starved_and_steps_keep_theirs(
    two_cores: LlamaBackend, gives_way: bool
) -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    before, seen, ended = priority(), [], threading.Event()
    nicer = NICER if gives_way and sys.platform == "linux" else 0

    def note() -> None:
        seen.append(priority())
        ended.set()

    piece_beside(two_cores).gives_way = gives_way
    assert two_cores.begin_prefill(piece_of(tokens(two_cores, 40)), note)
    assert ended.wait(120) and two_cores.finish_prefill(wait=True) is DecodeStatus.DONE
    assert seen == [min(before + nicer, 19)] and priority() == before
    two_cores.sequence_remove(0, 0)


def test_a_piece_that_starves_gives_way_no_more_until_one_is_served(
    two_cores: LlamaBackend,
) -> None:
    piece = piece_beside(two_cores)
    piece.gives_way = True
    for share, gives_way in ((0.5, True), (0.1, False), (0.5, False), (0.95, True), (0.5, True)):
        piece._judge(share)
        assert piece.gives_way is gives_way


def test_a_backend_that_closes_ends_the_piece_and_may_close_twice(model: Path) -> None:
    loaded, ended = load(model, PREFILL_CELLS, threads=2), threading.Event()
    assert loaded.begin_prefill(piece_of(tokens(loaded, 400)), ended.set)
    loaded.close()
    loaded.close()
    assert ended.wait(120)
