"""Answers that are written at once have KV of their own, and nobody can tell but by the clock."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.llama import backend as backend_module
from roost_inference.llama import memory
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.quantize import bundled_model, requantised
from roost_inference.llama.streaming.pool import ENTER_ANSWERS, StreamPool
from roost_inference.llama.streaming.state import UnknownLayout

TEXT = (
    "The city lies on seven hills at the mouth of the river. Trams climb the old streets, ferries "
    "cross to the other bank, and the castle looks down on it all. "
)
CELLS, STREAMS, STREAM_CELLS = 8192, 6, 512
PER_TOKEN = 23_040
NEAR_TIE = 0.7
Logits = NDArray[np.float32]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return requantised(bundled_model(), tmp_path_factory.mktemp("streams") / "models", 2)


def load(model: Path, streams: int = STREAMS, prefill_cells: int = 1024) -> LlamaBackend:
    return LlamaBackend(
        model,
        cells=CELLS,
        sequences=12,
        batch_tokens=512,
        outputs=64,
        threads=1,
        kv_type="f16",
        prefill_cells=prefill_cells,
        streams=streams,
        stream_memory=STREAMS * STREAM_CELLS * PER_TOKEN,
    )


@pytest.fixture(scope="module", params=[1024, 0], ids=["read apart", "read in the library"])
def kernels(model: Path, request: pytest.FixtureRequest) -> Iterator[LlamaBackend]:
    loaded = load(model, prefill_cells=request.param)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def plain(model: Path) -> Iterator[LlamaBackend]:
    loaded = load(model, streams=0, prefill_cells=0)
    assert loaded.streams is None
    yield loaded
    loaded.close()


@pytest.fixture(autouse=True)
def _empty(kernels: LlamaBackend, plain: LlamaBackend) -> Iterator[None]:
    yield
    for backend in (kernels, plain):
        for sequence in range(backend.sequences):
            backend.sequence_remove(sequence, 0)
            assert backend.sequence_end(sequence) == 0
    pool_of(kernels).check()
    assert len(pool_of(kernels)) == 0


def pool_of(kernels: LlamaBackend) -> StreamPool:
    assert kernels.streams is not None
    return kernels.streams.pool


def tokens(kernels: LlamaBackend, count: int, shift: int = 0) -> list[int]:
    return kernels.vocabulary.tokenize(TEXT * ((count + shift) // 30 + 1))[shift : shift + count]


def read(kernels: LlamaBackend, sequence: int, text: list[int], at: int = 0) -> None:
    batch = Batch(512)
    for start in range(0, len(text), 400):
        batch.clear()
        batch.add(text[start : start + 400], at + start, sequence, output=True)
        assert kernels.decode(batch) is DecodeStatus.DONE


def write(kernels: LlamaBackend, sequences: Sequence[int], token: int = 42) -> list[Logits]:
    """One step of answers: the logits of each."""
    batch = Batch(512)
    ends = [kernels.sequence_end(sequence) for sequence in sequences]
    batch.add_last([token] * len(ends), ends, list(sequences))
    assert kernels.decode(batch) is DecodeStatus.DONE
    for sequence, end in zip(sequences, ends, strict=True):
        assert kernels.sequence_end(sequence) == end + 1
    pool = kernels.streams.pool if kernels.streams is not None else None
    if pool is not None:
        pool.check()
    return [kernels.logits(row).copy() for row in range(len(ends))]


def assert_alike(found: Sequence[Logits], expected: Sequence[Logits]) -> None:
    """The same up to the order of sums: cells lie elsewhere, rows are computed side by side."""
    for one, other in zip(found, expected, strict=True):
        assert one.max() - one[int(other.argmax())] < NEAR_TIE
        assert np.corrcoef(one, other)[0, 1] > 0.997


def both(kernels: LlamaBackend, plain: LlamaBackend, lengths: Sequence[int]) -> range:
    for sequence, length in enumerate(lengths):
        for backend in (kernels, plain):
            read(backend, sequence, tokens(backend, length, sequence))
    return range(len(lengths))


def test_a_copied_sequence_goes_on_with_the_same_logits_to_the_last_bit(
    kernels: LlamaBackend, plain: LlamaBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Alone, so the rows are computed by the same kernels, and nothing but the copy could differ.
    monkeypatch.setattr(pool_of(kernels), "enter_at", 1)
    both(kernels, plain, [300])
    for token in (42, 7, 99):
        assert np.array_equal(write(kernels, [0], token)[0], write(plain, [0], token)[0])
    assert 0 in pool_of(kernels)


def test_many_answers_write_the_same_in_streams_as_in_one_cache(
    kernels: LlamaBackend, plain: LlamaBackend
) -> None:
    sequences = both(kernels, plain, [40, 300, 7, 120, 260])
    for token in (42, 7, 99):
        assert_alike(write(kernels, sequences, token), write(plain, sequences, token))
    assert len(pool_of(kernels)) == len(sequences)


def test_few_answers_stay_in_the_library(kernels: LlamaBackend, plain: LlamaBackend) -> None:
    sequences = both(kernels, plain, [40] * (ENTER_ANSWERS - 1))
    write(kernels, sequences)
    assert len(pool_of(kernels)) == 0


def test_an_answer_that_is_too_long_or_one_too_many_is_written_beside_the_streams(
    kernels: LlamaBackend, plain: LlamaBackend
) -> None:
    sequences = both(kernels, plain, [STREAM_CELLS, 30, 31, 32, 33, 34, 35, 36])
    for token in (42, 7):
        order = list(reversed(sequences))
        assert_alike(write(kernels, order, token), write(plain, order, token))
    assert 0 not in pool_of(kernels) and len(pool_of(kernels)) == STREAMS


def test_an_answer_that_outgrows_its_stream_goes_on_in_the_library(
    kernels: LlamaBackend, plain: LlamaBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 4
    monkeypatch.setattr(pool_of(kernels), "room", room)
    sequences = both(kernels, plain, [STREAM_CELLS - room - 1, 20, 21, 22])
    write(kernels, sequences), write(plain, sequences)
    assert 0 in pool_of(kernels)
    for step in range(room + 2):
        found, expected = write(kernels, sequences, step), write(plain, sequences, step)
    assert_alike(found, expected)
    assert 0 not in pool_of(kernels) and len(pool_of(kernels)) == 3


def test_whoever_leaves_is_whole_in_the_library(kernels: LlamaBackend, plain: LlamaBackend) -> None:
    sequences = both(kernels, plain, [140, 150, 160, 170])
    for token in (42, 7, 99):
        write(kernels, sequences, token), write(plain, sequences, token)
    # The first ends, the last one takes its stream; then a prompt goes on in each.
    assert_alike(write(kernels, sequences[1:]), write(plain, sequences[1:]))
    for sequence in sequences:
        for backend in (kernels, plain):
            read(backend, sequence, tokens(backend, 20, 3), backend.sequence_end(sequence))
        assert sequence not in pool_of(kernels)
    assert_alike(write(kernels, sequences[:2]), write(plain, sequences[:2]))


def test_blocks_and_copies_of_an_answer_in_a_stream_are_whole(
    kernels: LlamaBackend, plain: LlamaBackend
) -> None:
    sequences = both(kernels, plain, [126, 126, 126, 126])
    for token in (42, 7, 99):
        write(kernels, sequences, token), write(plain, sequences, token)
    for backend in (kernels, plain):
        backend.sequence_copy(0, 6, 0, 129)
        blocks = [backend.export_block(1, 0, 128), backend.export_block(1, 128, 129)]
        assert all(backend.import_block(7, block) for block in blocks)
        assert backend.sequence_end(6) == backend.sequence_end(7) == 129
    assert 0 in pool_of(kernels) and 1 not in pool_of(kernels)
    later = [0, 1, 2, 3, 6, 7]
    assert_alike(write(kernels, later), write(plain, later))


def test_refused_drafts_leave_no_trace(kernels: LlamaBackend, plain: LlamaBackend) -> None:
    sequences = both(kernels, plain, [50, 60, 70, 80])
    for backend in (kernels, plain):
        write(backend, sequences)
        batch, ends = Batch(512), [backend.sequence_end(s) for s in sequences]
        batch.add_last([42] * 4, ends, list(sequences))
        for sequence in (1, 3):
            batch.add([5, 6, 7], ends[sequence] + 1, sequence, every_output=True)
        assert backend.decode(batch) is DecodeStatus.DONE
        assert backend.sequence_end(3) == ends[3] + 4
        drafted = [backend.logits(row).copy() for row in range(10)]
        for sequence in (1, 3):
            backend.sequence_remove(sequence, ends[sequence] + 1)
        backend.drafted = drafted  # type: ignore[attr-defined]
    assert_alike(kernels.drafted, plain.drafted)  # type: ignore[attr-defined]
    assert_alike(write(kernels, sequences), write(plain, sequences))


def test_an_interrupted_step_can_be_repeated(kernels: LlamaBackend, plain: LlamaBackend) -> None:
    sequences = both(kernels, plain, [50, 60, 70, 80, STREAM_CELLS])
    write(kernels, sequences), write(plain, sequences)
    ends = [kernels.sequence_end(sequence) for sequence in sequences]
    kernels.interrupt()
    batch = Batch(512)
    batch.add_last([42] * 5, ends, list(sequences))
    assert kernels.decode(batch) is DecodeStatus.ABORTED
    kernels.clear_interrupt()
    for sequence, end in zip(sequences, ends, strict=True):
        kernels.sequence_remove(sequence, end)
    assert_alike(write(kernels, sequences), write(plain, sequences))


@pytest.mark.parametrize("problem", ["layout", "memory", "setting"])
def test_without_streams_answers_are_written_in_the_library(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, problem: str
) -> None:
    def differs(*arguments: object) -> None:
        raise UnknownLayout("it has another magic number")

    if problem == "layout":
        monkeypatch.setattr(backend_module, "trial", differs)
    if problem == "memory":
        monkeypatch.setattr(memory, "available_memory_bytes", lambda: 470 * 2**20)
    loaded = load(model, prefill_cells=0, streams=0 if problem == "setting" else STREAMS)
    try:
        assert loaded.streams is None
        lines = [r for r in caplog.records if "KV of their own" in r.message]
        lines += [r for r in caplog.records if "Answers get no context" in r.message]
        assert len(lines) == (problem != "setting")
        for sequence in range(5):
            read(loaded, sequence, tokens(loaded, 30))
        write(loaded, range(5))
    finally:
        loaded.close()


def test_kernels_that_refuse_a_sequence_later_cost_one_line_and_nothing_else(
    model: Path,
    plain: LlamaBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    loaded = load(model)
    try:
        assert loaded.streams is not None
        monkeypatch.setattr(loaded.streams.context, "replace", lambda stream, state: False)
        sequences = both(loaded, plain, [40, 50, 60, 70])
        for token in (42, 7):
            assert_alike(write(loaded, sequences, token), write(plain, sequences, token))
        assert len([r for r in caplog.records if "any more" in r.message]) == 1
    finally:
        loaded.close()
