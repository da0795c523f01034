"""Hidden states come out of every context in the batch's order, and drafters compute with them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.drafting import DraftContext, LlamaTaps
from roost_inference.testing.tiny_drafts import (
    DraftReference,
    TinyDraft,
    tensors_of,
    write_tiny_draft,
)
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny

SHAPE = TinyShape(layers=3)
# The largest difference of logits, which are up to 5. The reference rounds where the kernels do;
# what is left is numbers that lie between two of 16 bits.
TOLERANCE = 3e-3
TEXT = np.array([5 + at * 7 % 250 for at in range(60)], np.int32)


@pytest.fixture(scope="module")
def target_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("target") / "target.gguf", "llama", SHAPE)


@pytest.fixture
def target(target_file: Path) -> Iterator[LlamaBackend]:
    loaded = LlamaBackend(
        target_file,
        cells=2048,
        sequences=8,
        batch_tokens=128,
        outputs=64,
        threads=1,
        kv_type="f16",
        prefill_cells=512,
        streams=4,
        stream_memory=4 * 512 * 3 * 2 * 32 * 2,
    )
    assert loaded.streams is not None
    yield loaded
    loaded.close()


def decode(target: LlamaBackend, *parts: tuple[int, int, np.ndarray, bool]) -> None:
    """Decode parts of sequences: id, first position, tokens, and whether all have logits."""
    batch = Batch(128)
    for sequence, start, tokens, every in parts:
        batch.add(tokens, start, sequence, output=True, every_output=every)
    assert target.decode(batch) is DecodeStatus.DONE


def where(target: LlamaBackend) -> object:
    return target.computed


def features(target: LlamaBackend, taps: LlamaTaps, rows: list[int]) -> np.ndarray:
    found = taps.features(np.array(rows, np.intp))
    assert found is not None
    return found


def test_the_input_of_the_first_layer_is_the_embeddings_of_the_batch_in_every_context(
    target: LlamaBackend, target_file: Path
) -> None:
    taps = LlamaTaps(target, (0,), SHAPE.embedding)
    taps.switch(on=True)
    embeddings = tensors_of(target_file)["token_embd.weight"]
    prefill, streams = target.contexts[1], target.streams
    assert streams is not None
    for sequence in range(6):
        decode(target, (sequence, 0, TEXT[sequence : sequence + 20], False))
        assert where(target) is prefill
        np.testing.assert_allclose(
            features(target, taps, [3, 0, 19]),
            embeddings[TEXT[sequence : sequence + 20][[3, 0, 19]]],
            atol=1e-6,
        )
    decode(target, (5, 20, TEXT[:1], False), (1, 20, TEXT[1:2], False))
    assert where(target) is target.contexts[0]
    np.testing.assert_allclose(features(target, taps, [1, 0]), embeddings[TEXT[[1, 0]]], atol=1e-6)
    # Five answers in four streams, in any order and with drafts of different lengths.
    parts = [
        (s, 20 if s not in (1, 5) else 21, TEXT[s : s + 1 + s % 2], True) for s in (4, 2, 1, 0, 3)
    ]
    decode(target, *parts)
    assert where(target) is streams and len(streams.pool) == 4
    tokens = np.concatenate([tokens for _, _, tokens, _ in parts])
    np.testing.assert_allclose(
        features(target, taps, list(range(len(tokens)))), embeddings[tokens], atol=1e-6
    )
    np.testing.assert_allclose(
        features(target, taps, [5, 2]), embeddings[tokens[[5, 2]]], atol=1e-6
    )


def test_deep_layers_are_the_same_in_every_context(target: LlamaBackend) -> None:
    taps = LlamaTaps(target, (2, 0, 1), SHAPE.embedding)
    taps.switch(on=True)
    decode(target, (0, 0, TEXT[:40], False))
    apart = features(target, taps, list(range(40)))
    for sequence in range(1, 5):
        decode(target, (sequence, 0, TEXT[:5], False), (7, 5 * sequence, TEXT[:5], False))
        np.testing.assert_allclose(features(target, taps, list(range(5))), apart[:5], atol=1e-2)
    rows = [(sequence, 5, TEXT[5:6], True) for sequence in range(1, 5)]
    decode(target, *rows)
    assert where(target) is target.streams
    for at in range(4):
        np.testing.assert_allclose(features(target, taps, [at]), apart[5:6], atol=1e-2)


def test_taps_change_no_logits_and_switched_off_give_nothing(target: LlamaBackend) -> None:
    taps = LlamaTaps(target, (1, 2), SHAPE.embedding)
    seen = []
    for on in (False, True, False):
        taps.switch(on=on)
        decode(target, (0, 0, TEXT, False))
        seen.append(target.logits(len(TEXT) - 1).copy())
        assert (taps.features(np.zeros(1, np.intp)) is not None) == on
        target.sequence_remove(0, 0)
    assert np.array_equal(seen[0], seen[1]) and np.array_equal(seen[0], seen[2])


@pytest.mark.parametrize("head_tokens", [0, 50], ids=["the target's head", "a small head"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("causal", [None, False, True])
def test_logits_of_a_drafter_are_those_of_the_reference(
    target: LlamaBackend,
    target_file: Path,
    tmp_path: Path,
    causal: bool | None,
    layers: int,
    head_tokens: int,
) -> None:
    draft = TinyDraft(
        TinyShape(layers=layers, seed=7), taps=(2, 1), causal=causal, head_tokens=head_tokens
    )
    path = write_tiny_draft(tmp_path / "draft.gguf", draft)
    network = open_draft(path, target)
    assert network.facts.is_causal == bool(causal) and network.facts.taps == (2, 1)
    taps = LlamaTaps(target, network.facts.taps, network.facts.read)
    taps.switch(on=True)
    references = [DraftReference(path, target_file, is_causal=bool(causal)) for _ in range(2)]
    for sequence, length in enumerate((30, 17)):
        decode(target, (sequence, 0, TEXT[sequence : sequence + length], False))
        rows = features(target, taps, list(range(length)))
        ids, positions = np.full(length, sequence, np.int32), np.arange(length, dtype=np.int32)
        kept = positions >= 5 * sequence  # nothing is known of where the second begins
        network.inject(ids[kept], positions[kept], rows[kept])
        references[sequence].inject(positions[kept].tolist(), rows[kept])
    for _ in range(2):  # the block of the first round is gone in the second
        blocks = [[9, draft.mask, draft.mask, draft.mask], [77, draft.mask]]
        ids = np.repeat([0, 1], [4, 2]).astype(np.int32)
        positions = np.array([30, 31, 32, 33, 17, 18], np.int32)
        network.compute(ids, positions, np.array([*blocks[0], *blocks[1]], np.int32))
        found = np.stack([network.logits(row).copy() for row in range(6)])
        expected = np.concatenate(
            [references[0].logits(blocks[0], 30), references[1].logits(blocks[1], 17)]
        )
        finite = np.isfinite(expected)
        assert np.array_equal(finite, np.isfinite(found))
        difference = float(np.abs(found[finite] - expected[finite]).max())
        assert difference < TOLERANCE
        for sequence, end in ((0, 30), (1, 17)):
            network.remove(sequence, end)
    network.close()


def open_draft(path: Path, target: LlamaBackend) -> DraftContext:
    return DraftContext(
        path, target, cells=512, sequences=4, rows=24, outputs=24, threads=1, kv_type="f16"
    )


def test_where_no_values_are_summed_logits_are_those_of_the_reference_to_a_thousandth(
    target: LlamaBackend, target_file: Path, tmp_path: Path
) -> None:
    """A block of one token that sees itself alone."""
    path = write_tiny_draft(tmp_path / "draft.gguf", TinyDraft(causal=True, taps=(2, 1)))
    network, reference = open_draft(path, target), DraftReference(path, target_file, is_causal=True)
    one = np.zeros(1, np.int32)
    network.compute(one, one + 19, one + 9)
    assert float(np.abs(network.logits(0) - reference.logits([9], 19)[0]).max()) < 1e-3
    network.close()


def test_exported_cells_are_the_same_in_another_sequence(
    target: LlamaBackend, tmp_path: Path
) -> None:
    path = write_tiny_draft(tmp_path / "draft.gguf", TinyDraft(taps=(2, 1)))
    network = open_draft(path, target)
    taps = LlamaTaps(target, network.facts.taps, network.facts.read)
    taps.switch(on=True)
    decode(target, (0, 0, TEXT[:40], False))
    ids, positions = np.zeros(40, np.int32), np.arange(40, dtype=np.int32)
    network.inject(ids, positions, features(target, taps, list(range(40))))
    block, places = np.array([9, 0, 0], np.int32), np.arange(40, 43, dtype=np.int32)
    network.compute(ids[:3], places, block)
    expected = network.logits(1).copy()
    network.remove(0, 40)
    pieces = [network.export(0, 0, 25), network.export(0, 25, 40)]
    assert network.attach(1, pieces[1]) == 0, "it does not begin where the sequence ends"
    assert network.attach(1, pieces[0]) == 25 and network.attach(1, pieces[1]) == 40
    network.compute(ids[:3] + 1, places, block)
    assert float(np.abs(network.logits(1) - expected).max()) < 1e-3
    network.close()
