"""Writes GGUF files of a few hundred KiB with random weights: one of each kind of architecture.

llama.cpp treats them as large ones of their kind. Every byte is a token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roost_inference.models.writer import write_gguf

TRAINED_CONTEXT = 4096
MARKERS = ("<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6

Tensor = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TinyShape:
    """Sizes of a tiny model. window: of sliding attention; embedding: a multiple of 256 where the
    file is to be quantised; pooling: llama.cpp's number, None for no such key."""

    layers: int = 2
    embedding: int = 64
    heads: int = 2
    kv_heads: int = 1
    feed_forward: int = 128
    window: int = 128
    pooling: int | None = None
    markers: tuple[str, ...] = MARKERS
    template: str = TEMPLATE
    seed: int = 0

    @property
    def head(self) -> int:
        """Numbers of one head."""
        return self.embedding // self.heads

    @property
    def tokens(self) -> int:
        """Size of the vocabulary."""
        return 3 + 256 + 1 + len(self.markers)


def write_tiny(path: Path, architecture: str, shape: TinyShape | None = None) -> Path:
    """Write a model of the architecture: llama, gemma3, mamba, lfm2 or bert. Returns the path."""
    shape = shape or TinyShape()
    random = np.random.default_rng(shape.seed)
    keys, shapes = _BUILDERS[architecture](shape)
    named = {f"{architecture}.{key}": value for key, value in keys.items()}
    if shape.pooling is not None:
        named[f"{architecture}.pooling_type"] = shape.pooling
    header = {
        "general.architecture": architecture,
        "general.name": f"tiny {architecture}",
        "general.file_type": 0,
        **named,
        **vocabulary_keys(shape),
    }
    tensors = {name: _weights(random, name, size) for name, size in shapes.items()}
    write_gguf(path, header, tensors)
    return path


Built = tuple[dict[str, Any], dict[str, tuple[int, ...]]]


def _common(shape: TinyShape) -> dict[str, Any]:
    return {
        "block_count": shape.layers,
        "context_length": TRAINED_CONTEXT,
        "embedding_length": shape.embedding,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "vocab_size": shape.tokens,
    }


def _outer(shape: TinyShape, norm: str = "output_norm") -> dict[str, tuple[int, ...]]:
    return {
        "token_embd.weight": (shape.tokens, shape.embedding),
        f"{norm}.weight": (shape.embedding,),
    }


def _attention(shape: TinyShape) -> dict[str, tuple[int, ...]]:
    n, key = shape.embedding, shape.head * shape.kv_heads
    return {
        "attn_norm": (n,), "attn_q": (n, n), "attn_k": (key, n), "attn_v": (key, n),
        "attn_output": (n, n),
    }  # fmt: skip


def _gated(shape: TinyShape) -> dict[str, tuple[int, ...]]:
    n, wide = shape.embedding, shape.feed_forward
    return {"ffn_norm": (n,), "ffn_gate": (wide, n), "ffn_up": (wide, n), "ffn_down": (n, wide)}


def _layer(number: int, sizes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {
        f"blk.{number}.{name}{'' if '.' in name else '.weight'}": size
        for name, size in sizes.items()
    }


def _llama(shape: TinyShape) -> Built:
    tensors = _outer(shape)
    for number in range(shape.layers):
        tensors |= _layer(number, {**_attention(shape), **_gated(shape)})
    return {**_common(shape), "rope.dimension_count": shape.head}, tensors


def _gemma3(shape: TinyShape) -> Built:
    """Every sixth layer sees all tokens, the others the last `window` ones."""
    tensors = _outer(shape)
    extra = {
        "attn_q_norm": (shape.head,),
        "attn_k_norm": (shape.head,),
        "post_attention_norm": (shape.embedding,),
        "post_ffw_norm": (shape.embedding,),
    }
    for number in range(shape.layers):
        tensors |= _layer(number, {**_attention(shape), **_gated(shape), **extra})
    keys = {
        **_common(shape),
        "attention.key_length": shape.head,
        "attention.value_length": shape.head,
        "attention.sliding_window": shape.window,
        "rope.freq_base": 1_000_000.0,
    }
    return keys, tensors


def _mamba(shape: TinyShape) -> Built:
    n, inner, states, rank, kernel = shape.embedding, 2 * shape.embedding, 8, 4, 4
    sizes: dict[str, tuple[int, ...]] = {
        "attn_norm": (n,), "ssm_in": (2 * inner, n), "ssm_conv1d": (inner, kernel),
        "ssm_conv1d.bias": (inner,), "ssm_x": (rank + 2 * states, inner),
        "ssm_dt": (inner, rank), "ssm_dt.bias": (inner,), "ssm_a": (inner, states),
        "ssm_d": (inner,), "ssm_out": (n, inner),
    }  # fmt: skip
    tensors = _outer(shape)
    for number in range(shape.layers):
        layer = _layer(number, sizes)
        for name in ("ssm_a", "ssm_d"):
            layer[f"blk.{number}.{name}"] = layer.pop(f"blk.{number}.{name}.weight")
        tensors |= layer
    keys = {
        **_common(shape),
        "attention.head_count": 0,
        "attention.head_count_kv": 0,
        "feed_forward_length": 0,
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": states,
        "ssm.time_step_rank": rank,
    }
    return keys, tensors


def _lfm2(shape: TinyShape) -> Built:
    """Half of the layers are attention, the others keep a state of the last tokens."""
    n, kernel = shape.embedding, 3
    tensors = _outer(shape, "token_embd_norm")
    heads = [0 if number % 2 == 0 else shape.kv_heads for number in range(shape.layers)]
    for number, kv in enumerate(heads):
        part = _attention(shape)
        if kv:
            part |= {"attn_q_norm": (shape.head,), "attn_k_norm": (shape.head,)}
        else:
            part = {
                "attn_norm": (n,), "shortconv.conv.weight": (n, kernel),
                "shortconv.in_proj.weight": (3 * n, n), "shortconv.out_proj.weight": (n, n),
            }  # fmt: skip
        tensors |= _layer(number, {**part, **_gated(shape)})
    keys = {**_common(shape), "attention.head_count_kv": heads, "shortconv.l_cache": kernel}
    return keys, tensors


def _bert(shape: TinyShape) -> Built:
    n, wide = shape.embedding, shape.feed_forward
    tensors = {
        "token_embd.weight": (shape.tokens, n),
        "token_types.weight": (2, n),
        "position_embd.weight": (512, n),
        "token_embd_norm.weight": (n,),
        "token_embd_norm.bias": (n,),
    }
    sizes: dict[str, tuple[int, ...]] = {}
    for name, size in {
        "attn_q": (n, n), "attn_k": (n, n), "attn_v": (n, n), "attn_output": (n, n),
        "attn_output_norm": (n,), "ffn_up": (wide, n), "ffn_down": (n, wide),
        "layer_output_norm": (n,),
    }.items():  # fmt: skip
        sizes |= {name: size, f"{name}.bias": size[:1]}
    for number in range(shape.layers):
        tensors |= _layer(number, sizes)
    keys = {
        **_common(shape),
        "context_length": 512,
        "attention.head_count_kv": shape.heads,
        "attention.causal": False,
        "attention.layer_norm_epsilon": 1e-5,
    }
    return keys, tensors


_BUILDERS = {"llama": _llama, "gemma3": _gemma3, "mamba": _mamba, "lfm2": _lfm2, "bert": _bert}


def _weights(random: np.random.Generator, name: str, size: Sequence[int]) -> Tensor:
    """Norms near 1, biases near 0, and matrices that keep the size of what goes through them."""
    if name.endswith("ssm_a"):
        return -np.abs(random.normal(1.0, 0.2, size)).astype(np.float32)
    if "norm" in name and name.endswith("weight"):
        return random.normal(1.0, 0.1, size).astype(np.float32)
    if len(size) == 1:
        return random.normal(0.0, 0.1, size).astype(np.float32)
    return random.normal(0.0, 1.5 / np.sqrt(size[-1]), size).astype(np.float32)


def vocabulary_keys(shape: TinyShape) -> dict[str, Any]:
    """A SentencePiece vocabulary of bytes and the space."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["\u2581", *shape.markers]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, _NORMAL]
    kinds += [_CONTROL] * len(shape.markers)
    end = tokens.index("<|im_end|>") if "<|im_end|>" in tokens else 2
    facts: dict[str, Any] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * len(tokens),
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.add_space_prefix": False,
    }
    if shape.template:
        facts["tokenizer.chat_template"] = shape.template
    return facts
