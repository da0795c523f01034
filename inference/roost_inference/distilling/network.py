"""The network of a drafter while it is trained: one layer of `dflash`, in torch.

It computes what llama.cpp does with the file that comes of it: features become keys and values at
their tokens' positions, and each block of a last token and masks sees those before it and itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, silu

# How much less each further guess counts: it is only read if those before it are right.
DECAY = 0.8
IGNORED = -100

Numbers = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the layer. taps: layers of the target that it reads; guesses: of one block."""

    width: int
    heads: int
    kv_heads: int
    head: int
    feed_forward: int
    taps: int
    guesses: int
    epsilon: float = 1e-5
    rope_base: float = 10_000.0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that are trained, by their names in a GGUF file."""
        n, key = self.width, self.head * self.kv_heads
        layer = {
            "attn_norm": (n,), "attn_q": (self.heads * self.head, n), "attn_k": (key, n),
            "attn_v": (key, n), "attn_output": (n, self.heads * self.head),
            "attn_q_norm": (self.head,), "attn_k_norm": (self.head,), "ffn_norm": (n,),
            "ffn_gate": (self.feed_forward, n), "ffn_up": (self.feed_forward, n),
            "ffn_down": (n, self.feed_forward),
        }  # fmt: skip
        return {
            "fc.weight": (n, self.taps * n),
            "enc.output_norm.weight": (n,),
            "output_norm.weight": (n,),
            **{f"blk.0.{name}.weight": shape for name, shape in layer.items()},
        }


class DraftNetwork(nn.Module):
    """One layer. Embeddings and head are the target's and stay."""

    def __init__(
        self, sizes: Sizes, embeddings: Numbers, head_tokens: NDArray[np.int64], mask: int
    ) -> None:
        """embeddings: [tokens, width]; head_tokens: those that may be guessed; mask: the token in
        place of those to guess."""
        super().__init__()
        self.sizes, self.mask = sizes, mask
        self._embeddings = torch.from_numpy(embeddings)
        self._head = self._embeddings[torch.from_numpy(head_tokens)]
        self._place = torch.full((len(embeddings),), IGNORED)
        self._place[torch.from_numpy(head_tokens)] = torch.arange(len(head_tokens))
        self._names = {name.replace(".", "/"): name for name in sizes.shapes()}
        generator = torch.Generator().manual_seed(0)
        for key, name in self._names.items():
            shape = sizes.shapes()[name]
            start = torch.ones(shape)
            if len(shape) > 1:
                start = torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
            self.register_parameter(key.replace("/", "_"), nn.Parameter(start))

    def tensors(self) -> dict[str, Numbers]:
        """What is trained, by the names of a GGUF file."""
        return {name: self._get(name).detach().numpy().copy() for name in self._names.values()}

    def set(self, tensors: Mapping[str, Numbers]) -> None:
        """Begin with these tensors, or some of them."""
        with torch.no_grad():
            for name, tensor in tensors.items():
                self._get(name).copy_(torch.from_numpy(tensor))

    def _get(self, name: str) -> nn.Parameter:
        return self.get_parameter(name.replace(".", "_"))

    def logits(self, features: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        """[places, guesses, head] logits of the tokens behind some places of a text.

        features: [tokens, taps * width] of the text from its first token on; places: indexes of the
        last known token of each block.
        """
        sizes, steps = self.sizes, torch.arange(self.sizes.guesses + 1)
        context = self._norm(features @ self._get("fc.weight").T, "enc.output_norm.weight")
        known = torch.arange(len(features))
        keys, values = self._keys_values(context, known)
        block = torch.full((len(places), len(steps)), self.mask)
        block[:, 0] = tokens[places]
        positions = (places[:, None] + steps).reshape(-1)
        states = self._embeddings[block].reshape(-1, sizes.width)
        inner = self._norm(states, "blk.0.attn_norm.weight")
        queries = (inner @ self._get("blk.0.attn_q.weight").T).view(-1, sizes.heads, sizes.head)
        queries = self._turn(self._norm(queries, "blk.0.attn_q_norm.weight"), positions)
        own_keys, own_values = self._keys_values(inner, positions)
        owner = torch.arange(len(places)).repeat_interleave(len(steps))
        seen = torch.cat(
            [known[None] < places[owner][:, None], owner[None] == owner[:, None]], dim=1
        )
        mixed = self._attend(
            queries, torch.cat([keys, own_keys]), torch.cat([values, own_values]), seen
        )
        states = states + mixed @ self._get("blk.0.attn_output.weight").T
        inner = self._norm(states, "blk.0.ffn_norm.weight")
        gate = silu(inner @ self._get("blk.0.ffn_gate.weight").T)
        up = inner @ self._get("blk.0.ffn_up.weight").T
        states = states + (gate * up) @ self._get("blk.0.ffn_down.weight").T
        guessed = states.view(len(places), len(steps), -1)[:, 1:]
        return self._norm(guessed, "output_norm.weight") @ self._head.T

    def loss(self, features: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        """How unlikely the tokens behind these places are, those further on less and less."""
        steps = torch.arange(1, self.sizes.guesses + 1)
        wanted = self._place[tokens[places[:, None] + steps]]
        logits = self.logits(features, tokens, places)
        each = cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none"
        )
        weights = (DECAY ** (steps - 1)).expand(wanted.shape) * (wanted != IGNORED)
        return (each.view(wanted.shape) * weights).sum() / weights.sum().clamp(min=1e-6)

    def _norm(self, states: Tensor, name: str) -> Tensor:
        size = torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + self.sizes.epsilon)
        return states * size * self._get(name)

    def _keys_values(self, states: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        sizes = self.sizes
        keys = (states @ self._get("blk.0.attn_k.weight").T).view(-1, sizes.kv_heads, sizes.head)
        values = (states @ self._get("blk.0.attn_v.weight").T).view(-1, sizes.kv_heads, sizes.head)
        return self._turn(self._norm(keys, "blk.0.attn_k_norm.weight"), positions), values

    def _turn(self, heads: Tensor, positions: Tensor) -> Tensor:
        half = self.sizes.head // 2
        speeds = self.sizes.rope_base ** (-torch.arange(half) / half)
        angles = positions[:, None, None] * speeds
        a, b = heads[..., :half], heads[..., half:]
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        group = self.sizes.heads // self.sizes.kv_heads
        mixed = nn.functional.scaled_dot_product_attention(
            queries.transpose(0, 1),
            keys.repeat_interleave(group, 1).transpose(0, 1),
            values.repeat_interleave(group, 1).transpose(0, 1),
            attn_mask=seen,
        )
        return mixed.transpose(0, 1).flatten(1)
