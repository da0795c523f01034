"""For tests: drafters that read hidden states as files, and what they compute, in numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roost_inference.models.header import read_contents
from roost_inference.models.writer import Tensor, write_gguf
from roost_inference.testing.tiny_gguf import TinyShape, vocabulary_keys

Numbers = NDArray[np.float32]
EPSILON = 1e-5
ROPE_BASE = 10_000.0


@dataclass(frozen=True, slots=True)
class TinyDraft:
    """A drafter for a tiny target. taps: layers of the target; head_tokens: of a head of its own
    with a map to the target's tokens, 0 without; causal: None leaves the key out."""

    shape: TinyShape = field(default_factory=lambda: TinyShape(layers=1, seed=7))
    taps: tuple[int, ...] = (0, 1)
    block: int = 8
    causal: bool | None = None
    head_tokens: int = 0
    mask: int = 0

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The tensors by name, but for the map of tokens."""
        shape, n = self.shape, self.shape.embedding
        key, wide = shape.head * shape.kv_heads, shape.feed_forward
        sizes: dict[str, tuple[int, ...]] = {
            "fc.weight": (n, len(self.taps) * n),
            "enc.output_norm.weight": (n,),
            "output_norm.weight": (n,),
        }
        if self.head_tokens:
            sizes["output.weight"] = (self.head_tokens, n)
        for layer in range(shape.layers):
            sizes |= {
                f"blk.{layer}.{name}.weight": size
                for name, size in {
                    "attn_norm": (n,), "attn_q": (shape.heads * shape.head, n), "attn_k": (key, n),
                    "attn_v": (key, n), "attn_output": (n, shape.heads * shape.head),
                    "attn_q_norm": (shape.head,), "attn_k_norm": (shape.head,),
                    "ffn_norm": (n,), "ffn_gate": (wide, n), "ffn_up": (wide, n),
                    "ffn_down": (n, wide),
                }.items()
            }  # fmt: skip
        return sizes


def write_tiny_draft(
    path: Path,
    draft: TinyDraft | None = None,
    *,
    header: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor | None] | None = None,
) -> Path:
    """Write a `dflash` file with random weights. header, tensors: what differs from it; None leaves
    one out. Returns the path."""
    draft = draft or TinyDraft()
    shape, random = draft.shape, np.random.default_rng(draft.shape.seed)
    keys: dict[str, Any] = {
        "general.architecture": "dflash",
        "general.name": "tiny dflash",
        "general.file_type": 0,
        "dflash.block_count": shape.layers,
        "dflash.context_length": 4096,
        "dflash.embedding_length": shape.embedding,
        "dflash.feed_forward_length": shape.feed_forward,
        "dflash.attention.head_count": shape.heads,
        "dflash.attention.head_count_kv": shape.kv_heads,
        "dflash.attention.key_length": shape.head,
        "dflash.attention.value_length": shape.head,
        "dflash.attention.layer_norm_rms_epsilon": EPSILON,
        "dflash.rope.freq_base": ROPE_BASE,
        "dflash.block_size": draft.block,
        "dflash.target_layers": list(draft.taps),
        "tokenizer.ggml.mask_token_id": draft.mask,
        **vocabulary_keys(shape),
    }
    if draft.causal is not None:
        keys["dflash.attention.causal"] = draft.causal
    weights: dict[str, Tensor] = {}
    for name, size in draft.sizes().items():
        if "norm" in name:
            weights[name] = random.normal(1.0, 0.1, size).astype(np.float32)
        else:
            weights[name] = random.normal(0.0, 1.5 / np.sqrt(size[-1]), size).astype(np.float32)
    if draft.head_tokens:
        weights["d2t"] = np.sort(random.permutation(shape.tokens)[: draft.head_tokens])
    for key, value in (header or {}).items():
        keys[key] = value
    for name, tensor in (tensors or {}).items():
        weights[name] = tensor  # type: ignore[assignment]
    write_gguf(
        path,
        {key: value for key, value in keys.items() if value is not None},
        {name: tensor for name, tensor in weights.items() if tensor is not None},
    )
    return path


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that is not quantised."""
    kinds = {0: np.float32, 1: np.float16, 27: np.int64}
    return {
        name: np.fromfile(
            path, kinds[info.kind], int(np.prod(info.sizes)), offset=info.place
        ).reshape(info.sizes)
        for name, info in read_contents(path).tensors.items()
    }


class DraftReference:
    """What a file of `write_tiny_draft` computes for one sequence: features become keys and values,
    and a block of tokens is computed after them."""

    def __init__(self, draft: Path, target: Path, *, is_causal: bool) -> None:
        self._own, whole = tensors_of(draft), tensors_of(target)
        self._is_causal = is_causal
        contents = read_contents(draft)
        self._layers = int(contents.values["dflash.block_count"])
        self._head = int(contents.values["dflash.attention.key_length"])
        self._embeddings = whole["token_embd.weight"]
        self._tokens = len(self._embeddings)
        self._output = self._own.get(
            "output.weight", whole.get("output.weight", whole["token_embd.weight"])
        )
        self._kept: list[list[tuple[Numbers, Numbers]]] = [[] for _ in range(self._layers)]
        self._positions: list[int] = []

    def inject(self, positions: list[int], features: Numbers) -> None:
        """Keep keys and values of tokens with these features."""
        states = normed(features @ self._own["fc.weight"].T, self._own["enc.output_norm.weight"])
        self._positions += positions
        for layer in range(self._layers):
            self._kept[layer].append(self._keys_values(layer, states, positions))

    def logits(self, tokens: list[int], start: int) -> Numbers:
        """[tokens, vocabulary] logits of a block that begins at position `start`."""
        positions = list(range(start, start + len(tokens)))
        states = self._embeddings[tokens]
        for layer in range(self._layers):
            states = states + self._attention(layer, states, positions)
            weight = self._weights(layer)
            inner = normed(states, weight("ffn_norm"))
            gate = inner @ weight("ffn_gate").T
            inner = gate / (1 + np.exp(-gate)) * (inner @ weight("ffn_up").T)
            states = states + inner @ weight("ffn_down").T
        logits = normed(states, self._own["output_norm.weight"]) @ self._output.T
        if "d2t" not in self._own:
            return logits
        spread = np.full((len(tokens), self._tokens), -np.inf, np.float32)
        spread[:, self._own["d2t"]] = logits
        return spread

    def _weights(self, layer: int) -> Any:
        return lambda name: self._own[f"blk.{layer}.{name}.weight"]

    def _keys_values(
        self, layer: int, states: Numbers, positions: list[int]
    ) -> tuple[Numbers, Numbers]:
        weight = self._weights(layer)
        keys = (states @ weight("attn_k").T).reshape(len(states), -1, self._head)
        values = (states @ weight("attn_v").T).reshape(len(states), -1, self._head)
        return halves(_turned(normed(keys, weight("attn_k_norm")), positions)), halves(values)

    def _attention(self, layer: int, states: Numbers, positions: list[int]) -> Numbers:
        weight = self._weights(layer)
        inner = normed(states, weight("attn_norm"))
        queries = (inner @ weight("attn_q").T).reshape(len(inner), -1, self._head)
        queries = halves(_turned(normed(queries, weight("attn_q_norm")), positions))
        both = [*self._kept[layer], self._keys_values(layer, inner, positions)]
        keys = np.concatenate([keys for keys, _ in both])
        values = np.concatenate([values for _, values in both])
        seen = np.array(self._positions + positions)
        group = queries.shape[1] // keys.shape[1]
        keys, values = np.repeat(keys, group, 1), np.repeat(values, group, 1)
        scores = np.einsum("qhd,khd->kqh", queries, keys) / np.sqrt(self._head)
        sees = np.ones((len(seen), len(positions)), bool)
        if self._is_causal:
            sees = seen[:, None] <= np.array(positions)[None]
        mixed = summed(scores.astype(np.float32), values, sees).reshape(len(inner), -1)
        return np.asarray(mixed @ weight("attn_output").T, np.float32)


def summed(scores: Numbers, values: Numbers, sees: NDArray[np.bool_]) -> Numbers:
    """[queries, heads, head] values weighed by their scores [keys, queries, heads], as the kernels
    sum them: key by key, with the largest score so far as the measure, in 16 bits. sees: [keys,
    queries] whether a query sees a key."""
    total = np.zeros((*scores.shape[1:], values.shape[-1]), np.float32)
    largest = np.full(scores.shape[1:], -np.inf, np.float32)
    weights = np.zeros(scores.shape[1:], np.float32)
    for score, value, seen in zip(scores, values, sees[..., None], strict=True):
        is_new = seen & (score > largest)
        before = np.where(is_new, np.exp(largest - np.where(is_new, score, 0)), 1)
        own = np.where(is_new, 1, np.exp(np.minimum(score - largest, 0))) * seen
        total = halves(halves(total * before[..., None]) + value * own[..., None])
        weights, largest = weights * before + own, np.where(is_new, score, largest)
    return np.asarray(total / weights[..., None], np.float32)


def normed(states: Numbers, weight: Numbers) -> Numbers:
    """RMS norm of each row."""
    size = np.sqrt(np.mean(states.astype(np.float64) ** 2, -1, keepdims=True) + EPSILON)
    return np.asarray(states / size * weight, np.float32)


def halves(numbers: Numbers) -> Numbers:
    """Rounded to 16 bits, as the KV cache holds keys and values, and queries are multiplied."""
    return numbers.astype(np.float16).astype(np.float32)


def _turned(heads: Numbers, positions: list[int]) -> Numbers:
    """Rotary positions: the two halves of a head are the parts of complex numbers."""
    half = heads.shape[-1] // 2
    angles = np.array(positions)[:, None] * ROPE_BASE ** (-np.arange(half) / half)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = heads[..., :half], heads[..., half:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1).astype(np.float32)
