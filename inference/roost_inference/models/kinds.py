"""The kinds of memory that models have, and what the engine can do with each. No I/O.

A model with attention keeps KV for each token, so the engine can share, cut, page and roll it back.
A recurrent model keeps one state for all that it read, and a hybrid one both: such a sequence can
only go on. It is served as it is, without what needs parts of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Memory = Literal["attention", "sliding_window", "recurrent", "hybrid"]

# Architectures by llama.cpp's names in GGUF headers (its llm_arch_is_recurrent and
# llm_arch_is_hybrid). The engine asks llama.cpp itself; this is for reading files without it.
RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
HYBRID: Final = frozenset({
    "jamba", "falcon-h1", "plamo2", "granitehybrid", "lfm2", "lfm2moe", "nemotron_h",
    "nemotron_h_moe", "qwen3next", "kimi-linear", "bailingmoe3", "kimi-k3", "glm5-next", "qwen35",
    "qwen35moe", "qwen4exp", "deepseek4", "minimax-01",
})  # fmt: skip
# They make vectors of texts, or turn a whole text into another one: no answers token by token.
ENCODERS: Final = frozenset({
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2",
    "jina-bert-v3", "eurobert", "gemma-embedding", "t5", "t5encoder", "wavtokenizer-dec", "dream",
    "llada", "llada-moe", "rnd1",
})  # fmt: skip
# Their memory has parts that blocks were never proved with: attention in chunks, indexers.
UNPROVEN_BLOCKS: Final = frozenset({
    "llama4", "deepseek32", "glm-dsa", "minimax-m3", "hy_v4", "dots3note",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelKind:
    """What a model keeps of the tokens that it read, and what follows for how it is served.

    export_tokens_max: tokens whose KV can be taken out at once, 0 where none can; window: tokens
    that layers with sliding attention see, 0 without such layers.
    """

    architecture: str = ""
    memory: Memory = "attention"
    window: int = 0
    pages: bool = True

    @property
    def truncates(self) -> bool:
        """Whether part of a sequence can be removed or shared."""
        return self.memory in ("attention", "sliding_window")

    @property
    def restriction(self) -> str:
        """What such a model is served without and why, in a sentence; empty for "nothing"."""
        if not self.truncates:
            return (
                f"{self.architecture} is a {self.memory} model: its state can't be cut into parts. "
                "It is served without paging, speculation and shared beginnings, and a session "
                "whose next prompt does not continue its last turn is computed anew."
            )
        if not self.pages:
            return (
                f"{self.architecture} is served without paging: its KV can't be moved in blocks. "
                "What leaves the device is computed again."
            )
        return ""

    def report(self) -> Mapping[str, object]:
        """The kind as /health shows it."""
        return {
            "architecture": self.architecture,
            "memory": self.memory,
            "window": self.window,
            "paging": self.pages,
            "speculation": self.truncates,
            "shared_prefixes": self.truncates,
            "restriction": self.restriction,
        }


def kind_of(
    architecture: str, *, memory: Memory | None = None, window: int = 0, block_tokens: int
) -> ModelKind:
    """The kind of a model. memory: what the kernels say, by default what the architecture's name
    says; block_tokens: tokens of a KV block, which the window must see."""
    if memory is None:
        named: Memory = "hybrid" if architecture in HYBRID else "attention"
        memory = "recurrent" if architecture in RECURRENT else named
    if memory == "attention" and window:
        memory = "sliding_window"
    pages = memory in ("attention", "sliding_window") and architecture not in UNPROVEN_BLOCKS
    if window and window < block_tokens:
        pages = False
    return ModelKind(architecture, memory, window, pages)
