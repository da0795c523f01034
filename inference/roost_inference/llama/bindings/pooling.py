"""Contexts that make one vector of each sequence."""

import ctypes
from typing import Any

from roost_inference.errors import EngineUnavailable
from roost_inference.llama.bindings.library import forget_errors, llama, recent_errors

POOLING_UNSPECIFIED = -1
POOLINGS = {"none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
_NAMES = {number: name for name, number in POOLINGS.items()}


def create_pooling_context(
    model: Any, *, tokens: int, sequences: int, threads: int, pooling: str | None = None
) -> Any:
    """A context that computes up to `tokens` tokens of up to `sequences` texts at once.

    pooling: one of POOLINGS, None for what the model says. Raises EngineUnavailable if memory is
    short.
    """
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = tokens
    params.n_seq_max = sequences
    params.n_threads = params.n_threads_batch = threads
    params.pooling_type = POOLING_UNSPECIFIED if pooling is None else POOLINGS[pooling]
    params.embeddings = True
    params.kv_unified = True
    forget_errors()
    context = llama.llama_init_from_model(model, params)
    if not context:
        raise EngineUnavailable(f"No context of {tokens} tokens for vectors: {recent_errors()}")
    return context


def pooling(context: Any) -> str:
    """How the vectors of a text's tokens become one: a name of POOLINGS."""
    return _NAMES.get(int(llama.llama_pooling_type(context)), "none")


def vector_length(model: Any) -> int:
    """Numbers of one vector."""
    return int(llama.llama_model_n_embd_out(model))


def forget_all(context: Any) -> None:
    """Forget what was computed before; encoders remember nothing anyway."""
    memory = llama.llama_get_memory(context)
    if memory:
        llama.llama_memory_clear(memory, False)


def vector_address(context: Any, sequence: int) -> int:
    """Address of the float32 vector of a sequence of the last decode, 0 if it has none."""
    pointer = llama.llama_get_embeddings_seq(context, sequence)
    return ctypes.addressof(pointer.contents) if pointer else 0
