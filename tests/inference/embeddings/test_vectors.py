"""Vectors of any GGUF embedding model, however it makes one of a text's many."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from roost_inference.embeddings.slices import SEQUENCES_MAX, SLICE_TOKENS, slices
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.llama.embedder import LlamaEmbedder
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny

TEXTS = ["the highest of seven hills", "a ferry", "trams climb the old streets " * 5]
# llama.cpp's numbers of how vectors of tokens become one.
MEAN, CLS, LAST, RANK = 1, 2, 3, 4


def embedder(
    folder: Path, architecture: str, pooling: int | None, context_length: int = 256
) -> LlamaEmbedder:
    path = write_tiny(folder / f"{architecture}.gguf", architecture, TinyShape(pooling=pooling))
    return LlamaEmbedder(path, context_length=context_length)


@pytest.fixture(
    params=[("bert", MEAN), ("bert", CLS), ("llama", LAST), ("gemma3", MEAN)],
    ids=["encoder-mean", "encoder-cls", "decoder-last", "window-mean"],
)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LlamaEmbedder]:
    made = embedder(tmp_path, *request.param)
    yield made
    made.close()


def test_a_vector_does_not_depend_on_the_texts_beside_it(model: LlamaEmbedder) -> None:
    texts = [np.asarray(model.tokenize(text), np.int32) for text in TEXTS]
    together = model.embed(texts)
    assert together.shape == (3, model.dimensions) and np.isfinite(together).all()
    for text, vector in zip(texts, together, strict=True):
        alone = model.embed([text])[0]
        assert np.abs(alone - vector).max() < 0.02, "another order of sums"
    assert np.abs(together[0] - together[1]).max() > 0.1, "other texts have other vectors"


def test_the_same_texts_give_the_same_vectors_again(model: LlamaEmbedder) -> None:
    texts = [np.asarray(model.tokenize(text), np.int32) for text in TEXTS]
    assert np.array_equal(model.embed(texts), model.embed(texts))


@pytest.mark.parametrize(
    ("architecture", "pooling", "name"),
    [("bert", MEAN, "mean"), ("bert", CLS, "cls"), ("llama", LAST, "last"),
     ("bert", None, "mean"), ("llama", None, "last")],
)  # fmt: skip
def test_the_header_says_how_vectors_are_pooled_and_without_it_the_kind_of_model_does(
    tmp_path: Path, architecture: str, pooling: int | None, name: str
) -> None:
    made = embedder(tmp_path, architecture, pooling)
    assert made.pooling == name
    made.close()


def test_poolings_give_different_vectors(tmp_path: Path) -> None:
    vectors = []
    for pooling in (MEAN, CLS, LAST):
        made = embedder(tmp_path, "bert", pooling)
        vectors.append(made.embed([np.asarray(made.tokenize(TEXTS[0]), np.int32)])[0])
        made.close()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(vectors[one] - vectors[other]).max() > 0.1


def test_a_model_that_scores_pairs_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="scores pairs of texts"):
        embedder(tmp_path, "bert", RANK)


def test_more_than_the_context_never_reaches_the_kernels(tmp_path: Path) -> None:
    made = embedder(tmp_path, "bert", MEAN, context_length=64)
    assert made.context_length == 64
    with pytest.raises(EngineFailed, match="can't be computed at once"):
        made.embed([np.ones(65, np.int32)])
    with pytest.raises(EngineFailed, match="can't be computed at once"):
        made.embed([np.ones(1, np.int32)] * (SEQUENCES_MAX + 1))
    made.close()


@pytest.mark.parametrize("seed", range(5))
def test_slices_hold_every_text_once_and_stay_short(seed: int) -> None:
    random = np.random.default_rng(seed)
    texts = [np.ones(int(size), np.int32) for size in random.integers(1, 700, 200)]
    parts = list(slices(texts, 2048))
    assert [n for part in parts for n in part] == list(range(200))
    for part in parts:
        assert len(part) <= SEQUENCES_MAX
        assert len(part) == 1 or sum(len(texts[n]) for n in part) <= SLICE_TOKENS
