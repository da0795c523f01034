"""Texts for a drafter are kept with their hidden states, and drafters judged by what follows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from roost_inference.distilling.distillation import header_of, mask_of, taps_of
from roost_inference.distilling.measurement import (
    Depth,
    DraftMeasurement,
    hits,
    measure_draft,
    open_target,
)
from roost_inference.distilling.texts import Text, TextStore, Writer
from roost_inference.errors import EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.drafting import LlamaTaps, target_embeddings
from roost_inference.models.drafts import TargetFacts, check_draft
from roost_inference.models.writer import write_gguf
from roost_inference.testing.tiny_drafts import TinyDraft, tensors_of, write_tiny_draft
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny

SHAPE = TinyShape(layers=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model") / "target.gguf", "llama", SHAPE)


@pytest.fixture(scope="module")
def target(model: Path) -> Iterator[LlamaBackend]:
    loaded = open_target(model, threads=1)
    yield loaded
    loaded.close()


def test_texts_side_by_side_are_those_of_each_alone(target: LlamaBackend) -> None:
    writer = Writer(target, LlamaTaps(target, (0, 2), SHAPE.embedding), temperature=0.0)
    asked = [[5 + n, *range(70, 80 + 3 * n)] for n in range(3)]
    together = list(writer.write(asked, 20))
    embeddings = target_embeddings(target)
    for prompt, text in zip(asked, together, strict=True):
        alone = next(writer.write([prompt], 20))
        assert np.array_equal(alone.tokens, text.tokens)
        assert text.tokens[: text.prompt_length].tolist() == prompt
        assert text.features.shape == (len(text.tokens) - 1, 2 * SHAPE.embedding)
        first = text.features[:, : SHAPE.embedding].astype(np.float32)
        np.testing.assert_allclose(first, embeddings[text.tokens[:-1]], atol=2e-3)
        np.testing.assert_allclose(
            alone.features.astype(np.float32), text.features.astype(np.float32), atol=2e-2
        )


def test_a_store_keeps_what_fits_and_gives_it_back(tmp_path: Path) -> None:
    store = TextStore(tmp_path, room=25, width=4)
    texts = [
        Text(np.arange(size, dtype=np.int32), 2, np.full((size - 1, 4), size, np.float16))
        for size in (10, 12, 9)
    ]
    store.fill(iter(texts))
    assert len(store) == 2 and store.size == 22
    assert np.array_equal(store.get(1).tokens, texts[1].tokens)
    assert np.array_equal(store.get(1).features, texts[1].features)
    assert store.counts(20)[:13].tolist() == [2] * 10 + [1, 1, 0]


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"tokens need .* MiB in .* half of that"):
        TextStore(tmp_path, room=10**12, width=4096)
    assert not list(tmp_path.iterdir())


class Network:
    """Guesses that tokens count up."""

    mask = -1

    def __init__(self) -> None:
        self.given = 0
        self.last = 0

    def inject(self, ids: np.ndarray, positions: np.ndarray, features: np.ndarray) -> None:
        assert len(ids) == len(positions) == len(features)
        assert positions.tolist() == list(range(self.given, self.given + len(positions)))
        self.given += len(positions)

    def compute(self, ids: np.ndarray, positions: np.ndarray, tokens: np.ndarray) -> None:
        assert positions[0] == self.given and (tokens[1:] == self.mask).all()
        self.last = int(tokens[0])

    def logits(self, row: int) -> np.ndarray:
        logits = np.zeros(100, np.float32)
        logits[self.last + row] = 1
        return logits

    def remove(self, sequence: int, start: int) -> None:
        self.given = min(self.given, start)


def test_guesses_count_as_long_as_all_before_them_are_right() -> None:
    tokens = np.array([9, 9, 1, 2, 3, 4, 50, 51, 60], np.int32)
    text = Text(tokens, 2, np.zeros((8, 4), np.float16))
    right, places = hits(Network(), [text], 3)  # type: ignore[arg-type]
    # From the places of 1, 2, 3 and 4: three, two, one and none are right.
    assert places == 4 and right.tolist() == [3, 2, 1]


def test_the_best_depth_and_the_acceptance_follow_from_what_was_measured() -> None:
    depths = (Depth(1, 0.5, 1.5, 0.3, 1.05), Depth(2, 0.2, 1.7, 0.4, 1.2), Depth(3, 0.0, 1.7, 1, 1))
    measured = DraftMeasurement(depths, 100)
    assert measured.best.depth == 2
    assert measured.acceptance == (0.5, 0.4, 0.0)


def test_the_file_of_a_trained_network_is_a_drafter_for_the_model(
    model: Path, target: LlamaBackend, tmp_path: Path
) -> None:
    """What the training ends with, without the training: tensors, a header with the model's
    vocabulary, a head of some tokens, quantised."""
    layers, draft = taps_of(SHAPE.layers), TinyDraft(taps=(1, 2), head_tokens=40)
    assert layers == (1, 2)
    mask = mask_of(target, np.zeros(SHAPE.tokens, np.int64))
    assert not target.vocabulary.token_bytes(mask)
    assert mask not in target.vocabulary.end_tokens

    class Sizes:
        width, heads, kv_heads, head, feed_forward, guesses = 64, 2, 1, 32, 128, 3
        epsilon, rope_base = 1e-5, 10_000.0

    plain, quantised = tmp_path / "plain.gguf", tmp_path / "draft.gguf"
    tensors = tensors_of(write_tiny_draft(tmp_path / "random.gguf", draft))
    write_gguf(plain, header_of(model, Sizes, layers, mask), tensors)
    bindings.quantize(plain, quantised, 1)
    facts = check_draft(quantised, TargetFacts("llama", 3, 64, SHAPE.tokens))
    assert facts.taps == layers and facts.block == 4
    measured = measure_draft(target, quantised, count=2, answer=24)
    assert len(measured.depths) == 3 and measured.places > 0
    assert all(one.speed > 0 for one in measured.depths)
