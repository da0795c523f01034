"""For tests: drafters of the kind EAGLE-3 as files, and what they compute, in numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from roost_inference.models.header import read_contents
from roost_inference.models.writer import Tensor, write_gguf
from roost_inference.testing.tiny_drafts import (
    EPSILON,
    ROPE_BASE,
    Numbers,
    halves,
    normed,
    summed,
    tensors_of,
)
from roost_inference.testing.tiny_gguf import TinyShape, vocabulary_keys


@dataclass(frozen=True, slots=True)
class TinyEagle:
    """A drafter for a tiny target. taps: layers of the target; head_tokens: of a head of its own
    with a map to the target's tokens, 0 without; own_embeddings: whether it has some;
    norms_residual, norms_features: the two kinds that published drafters come in."""

    shape: TinyShape = field(default_factory=lambda: TinyShape(layers=1, seed=7))
    taps: tuple[int, ...] = (0, 1, 2)
    target_width: int = 64
    head_tokens: int = 0
    own_embeddings: bool = False
    norms_residual: bool = False
    norms_features: bool = False

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The tensors by name, but for the map of tokens."""
        shape, n, wide = self.shape, self.shape.embedding, self.shape.feed_forward
        key, read = shape.head * shape.kv_heads, len(self.taps) * self.target_width
        sizes: dict[str, tuple[int, ...]] = {"fc.weight": (n, read), "output_norm.weight": (n,)}
        if self.norms_features:
            sizes["enc.output_norm.weight"] = (read,)
        if self.head_tokens:
            sizes["output.weight"] = (self.head_tokens, n)
        if self.own_embeddings:
            sizes["token_embd.weight"] = (shape.tokens, n)
        return sizes | {
            f"blk.0.{name}.weight": size
            for name, size in {
                "attn_norm": (n,), "attn_norm_2": (n,), "attn_q": (shape.heads * shape.head, 2 * n),
                "attn_k": (key, 2 * n), "attn_v": (key, 2 * n),
                "attn_output": (n, shape.heads * shape.head), "ffn_norm": (n,),
                "ffn_gate": (wide, n), "ffn_up": (wide, n), "ffn_down": (n, wide),
            }.items()
        }  # fmt: skip


def write_tiny_eagle(
    path: Path,
    draft: TinyEagle | None = None,
    *,
    header: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write an `eagle3` file with random weights. header, tensors: what differs from it. Returns
    the path."""
    draft = draft or TinyEagle()
    shape, random = draft.shape, np.random.default_rng(draft.shape.seed)
    keys: dict[str, Any] = {
        "general.architecture": "eagle3",
        "general.name": "tiny eagle3",
        "general.file_type": 0,
        "eagle3.block_count": shape.layers,
        "eagle3.context_length": 4096,
        "eagle3.embedding_length": shape.embedding,
        "eagle3.feed_forward_length": shape.feed_forward,
        "eagle3.attention.head_count": shape.heads,
        "eagle3.attention.head_count_kv": shape.kv_heads,
        "eagle3.attention.key_length": shape.head,
        "eagle3.attention.value_length": shape.head,
        "eagle3.attention.layer_norm_rms_epsilon": EPSILON,
        "eagle3.rope.freq_base": ROPE_BASE,
        "eagle3.rope.dimension_count": shape.head,
        "eagle3.target_layers": list(draft.taps),
        "eagle3.target_hidden_size": draft.target_width,
        "eagle3.norm_before_residual": draft.norms_residual,
        "eagle3.norm_before_fc": draft.norms_features,
        **vocabulary_keys(shape),
        **(header or {}),
    }
    weights: dict[str, Tensor] = {}
    for name, size in draft.sizes().items():
        mean, spread = (1.0, 0.1) if "norm" in name else (0.0, 1.5 / np.sqrt(size[-1]))
        weights[name] = random.normal(mean, spread, size).astype(np.float32)
    if draft.head_tokens:
        weights["d2t"] = np.sort(random.permutation(shape.tokens)[: draft.head_tokens])
    write_gguf(path, keys, {**weights, **(tensors or {})})
    return path


class EagleReference:
    """What a file of `write_tiny_eagle` computes for one sequence, row by row."""

    def __init__(self, draft: Path, target: Path) -> None:
        self._own, whole = tensors_of(draft), tensors_of(target)
        values = read_contents(draft).values
        self._head = int(values["eagle3.attention.key_length"])
        self._norms_residual = bool(values["eagle3.norm_before_residual"])
        embeddings = whole["token_embd.weight"]
        self._embeddings = self._own.get("token_embd.weight", embeddings)
        self._output = self._own.get("output.weight", whole.get("output.weight", embeddings))
        self._tokens = len(embeddings)
        self._kept: list[tuple[Numbers, Numbers]] = []

    def encoded(self, features: Numbers) -> Numbers:
        """[rows, width] the states that features become."""
        if "enc.output_norm.weight" in self._own:
            features = normed(features, self._own["enc.output_norm.weight"])
        return np.asarray(features @ self._own["fc.weight"].T, np.float32)

    def row(self, token: int, state: Numbers, position: int) -> tuple[Numbers, Numbers]:
        """The logits of a token with the state before it, and the state that it leaves. Keys and
        values are kept."""
        weight = self._weight
        own, told = normed(self._embeddings[token], weight("attn_norm")), normed(
            state, weight("attn_norm_2")
        )  # fmt: skip
        both = np.concatenate([own, told])
        residual = told if self._norms_residual else state
        heads = [(both @ weight(f"attn_{name}").T).reshape(-1, self._head) for name in "qkv"]
        query, key = halves(_turned(heads[0], position)), halves(_turned(heads[1], position))
        self._kept.append((key, halves(heads[2])))
        group = len(query) // len(key)
        keys = np.stack([np.repeat(key, group, 0) for key, _ in self._kept])
        values = np.stack([np.repeat(value, group, 0) for _, value in self._kept])
        scores = np.einsum("hd,khd->kh", query, keys)[:, None] / np.sqrt(self._head)
        sees = np.ones((len(keys), 1), bool)
        mixed = summed(scores.astype(np.float32), values[:, None], sees).reshape(-1)
        inner = residual + mixed @ weight("attn_output").T
        normal = normed(inner, weight("ffn_norm"))
        gate = normal @ weight("ffn_gate").T
        left = (
            inner
            + (gate / (1 + np.exp(-gate)) * (normal @ weight("ffn_up").T)) @ weight("ffn_down").T
        )
        logits = normed(left, self._own["output_norm.weight"]) @ self._output.T
        if "d2t" in self._own:
            spread = np.full(self._tokens, -np.inf, np.float32)
            spread[self._own["d2t"]] = logits
            logits = spread
        return np.asarray(logits, np.float32), np.asarray(left, np.float32)

    def forget(self, rows: int) -> None:
        """Drop the newest rows."""
        del self._kept[len(self._kept) - rows :]

    def _weight(self, name: str) -> Tensor:
        return self._own[f"blk.0.{name}.weight"]


def _turned(heads: Numbers, position: int) -> Numbers:
    """Rotary positions: neighbours in a head are the parts of complex numbers."""
    half = heads.shape[-1] // 2
    angles = position * ROPE_BASE ** (-np.arange(half) / half)
    cos, sin = np.cos(angles), np.sin(angles)
    a, b = heads[..., 0::2], heads[..., 1::2]
    turned = np.stack([a * cos - b * sin, a * sin + b * cos], -1)
    return turned.reshape(heads.shape).astype(np.float32)
