"""A drafter of the kind EAGLE-3 computes what the numpy reference does, in any batches."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.drafting import LlamaTaps, PairContext
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny
from roost_inference.testing.tokenwise.tiny_eagle import EagleReference, TinyEagle, write_tiny_eagle

SHAPE = TinyShape(layers=3)
# The largest difference of logits, which are up to 5.
TOLERANCE = 3e-3
TEXT = np.array([5 + at * 7 % 250 for at in range(60)], np.int32)
WIDE = TinyShape(layers=1, embedding=96, heads=3, seed=9)


@pytest.fixture(scope="module")
def target_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("target") / "target.gguf", "llama", SHAPE)


@pytest.fixture
def target(target_file: Path) -> Iterator[LlamaBackend]:
    loaded = LlamaBackend(
        target_file,
        cells=512,
        sequences=4,
        batch_tokens=128,
        outputs=64,
        threads=1,
        kv_type="f16",
    )
    yield loaded
    loaded.close()


def features(target: LlamaBackend, taps: LlamaTaps, tokens: np.ndarray) -> np.ndarray:
    batch = Batch(128)
    batch.add(tokens, 0, 0, output=True)
    assert target.decode(batch) is DecodeStatus.DONE
    found = taps.features(np.arange(len(tokens)))
    assert found is not None
    target.sequence_remove(0, 0)
    return found


@pytest.mark.parametrize(
    "draft",
    [
        TinyEagle(),
        TinyEagle(taps=(2, 0, 1), head_tokens=50, norms_residual=True),
        TinyEagle(norms_features=True, own_embeddings=True),
        TinyEagle(WIDE, head_tokens=50, own_embeddings=True),
    ],
    ids=["shared", "a small head", "its own embeddings", "another width"],
)
def test_logits_and_states_are_those_of_the_reference(
    target: LlamaBackend, target_file: Path, tmp_path: Path, draft: TinyEagle
) -> None:
    path = write_tiny_eagle(tmp_path / "draft.gguf", draft)
    network = PairContext(
        path, target, cells=256, sequences=4, rows=8, outputs=8, threads=1, kv_type="f16"
    )
    taps = LlamaTaps(target, network.facts.taps, network.facts.read)
    taps.switch(on=True)
    largest = 0.0
    for sequence, length in enumerate((21, 5)):  # more rows than a batch has, and fewer
        tokens = TEXT[sequence : sequence + length]
        known = features(target, taps, tokens)[:-1]
        reference = EagleReference(path, target_file)
        ids = np.full(length - 1, sequence, np.int32)
        positions = np.arange(length - 1, dtype=np.int32)
        for _ in range(2):  # what was guessed in the first round is gone in the second
            network.append(ids, positions, tokens[1:], known)
            rows = min(8, length - 1)
            states = network.states(rows)[-1:]
            for state, token, at in zip(
                reference.encoded(known), tokens[1:], range(length - 1), strict=True
            ):
                expected, left = reference.row(int(token), state, at)
            row = rows - 1
            for ahead in range(3):
                found = network.logits(row).copy()
                finite = np.isfinite(expected)
                assert np.array_equal(finite, np.isfinite(found))
                largest = max(largest, float(np.abs(found[finite] - expected[finite]).max()))
                np.testing.assert_allclose(states[0], left, atol=TOLERANCE)
                guess = np.array([40 + ahead], np.int32)
                at = length - 1 + ahead
                network.go_on(ids[:1], np.array([at], np.int32), guess, states)
                expected, left = reference.row(int(guess[0]), states[0], at)
                states, row = network.states(1), 0
            network.remove(sequence, 0)
            reference.forget(length - 1 + 3)
    assert largest < TOLERANCE
    network.close()


def test_rows_of_several_sequences_do_not_see_each_other(
    target: LlamaBackend, tmp_path: Path
) -> None:
    path = write_tiny_eagle(tmp_path / "draft.gguf")
    network = PairContext(
        path, target, cells=256, sequences=4, rows=24, outputs=24, threads=1, kv_type="f16"
    )
    taps = LlamaTaps(target, network.facts.taps, network.facts.read)
    taps.switch(on=True)
    known = [features(target, taps, TEXT[at : at + 6])[:-1] for at in range(2)]
    five = np.arange(5, dtype=np.int32)
    alone = []
    for at in range(2):
        network.append(np.full(5, at, np.int32), five, TEXT[at + 1 : at + 6], known[at])
        alone.append(network.logits(4).copy())
        network.remove(at, 0)
    # The older rows of both first, then the newest ones.
    order = np.array([0, 1, 2, 3, 5, 6, 7, 8, 4, 9])
    ids, positions = np.repeat([0, 1], 5).astype(np.int32)[order], np.tile(five, 2)[order]
    tokens = np.concatenate([TEXT[1:6], TEXT[2:7]])[order]
    network.append(ids, positions, tokens, np.concatenate(known)[order])
    for row, expected in zip((8, 9), alone, strict=True):
        assert float(np.abs(network.logits(row) - expected).max()) < TOLERANCE
    network.close()


def test_exported_cells_are_the_same_in_another_sequence(
    target: LlamaBackend, tmp_path: Path
) -> None:
    path = write_tiny_eagle(tmp_path / "draft.gguf")
    network = PairContext(
        path, target, cells=256, sequences=4, rows=64, outputs=64, threads=1, kv_type="f16"
    )
    taps = LlamaTaps(target, network.facts.taps, network.facts.read)
    taps.switch(on=True)
    known = features(target, taps, TEXT[:41])[:-1]
    ids, positions = np.zeros(40, np.int32), np.arange(40, dtype=np.int32)
    network.append(ids, positions, TEXT[1:41], known)
    expected = network.logits(39).copy()
    pieces = [network.export(0, 0, 25), network.export(0, 25, 39)]
    assert network.attach(1, pieces[1]) == 0, "it does not begin where the sequence ends"
    assert network.attach(1, pieces[0]) == 25 and network.attach(1, pieces[1]) == 39
    network.append(ids[:1] + 1, positions[39:], TEXT[40:41], known[39:])
    assert float(np.abs(network.logits(0) - expected).max()) < 1e-3
    assert network.attach(2, np.zeros(100, np.uint8)) == 0
    network.close()
