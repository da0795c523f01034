"""Contexts: a KV cache and the decodes over it."""

import ctypes
from typing import Any

from roost_inference.errors import EngineUnavailable
from roost_inference.llama.bindings.library import (
    STRLEN,
    at_once,
    forget_errors,
    llama,
    recent_errors,
)

KV_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}
FLASH_ATTENTION_ON = 1
DECODE_DONE, DECODE_NO_CELLS, DECODE_ABORTED = 0, 1, 2

# A GPU goes on computing after the call; what follows must not wait for it with the lock held.
_COMPUTES_APART = bool(llama.llama_supports_gpu_offload())
_get_logits = at_once("llama_get_logits_ith", ctypes.c_void_p)
_set_threads = at_once("llama_set_n_threads")


def create_context(
    model: Any,
    *,
    cells: int,
    batch: int,
    sequences: int,
    outputs: int,
    threads: int,
    kv_type: str,
    unified: bool = True,
    other: Any = None,
) -> Any:
    """A context with flash attention; EngineUnavailable if memory is short.

    `outputs` bounds the rows of a batch that yield logits; llama.cpp wants one per sequence. With
    `unified` all sequences share the cells, otherwise each has an equal part of them for itself.
    `other`: the target's context, whose embeddings and head a drafter shares.
    """
    params = llama.llama_context_default_params()
    params.n_ctx = cells
    params.n_batch = params.n_ubatch = batch
    params.n_seq_max = sequences
    params.n_outputs_max = outputs
    params.n_outputs_max_per_seq = 0
    params.n_threads = params.n_threads_batch = threads
    params.flash_attn_type = FLASH_ATTENTION_ON
    params.type_k = params.type_v = KV_TYPES[kv_type]
    params.kv_unified = unified
    params.ctx_other = other
    forget_errors()
    context = llama.llama_init_from_model(model, params)
    if not context:
        raise EngineUnavailable(f"No context of {cells} KV cells: {recent_errors()}")
    return context


def set_threads(context: Any, threads: int) -> None:
    """Use this many threads for decodes from now on."""
    _set_threads(context, threads, threads)


def free_context(context: Any) -> None:
    """Give the context back."""
    llama.llama_free(context)


def context_cells(context: Any) -> int:
    """KV cells of the context."""
    return int(llama.llama_n_ctx(context))


def set_abort_flag(context: Any, flag: Any) -> None:
    """Decoding stops soon after flag[0] (a ctypes char buffer) becomes non-zero."""
    llama.llama_set_abort_callback(context, STRLEN, ctypes.cast(flag, ctypes.c_void_p))


def make_batch(tokens: Any, positions: Any, counts: Any, pointers: Any, outputs: Any) -> Any:
    """A batch over numpy memory the caller owns; `pointers` holds the address of each row's id."""
    batch = llama.llama_batch()
    for name, array in (
        ("token", tokens), ("pos", positions), ("n_seq_id", counts), ("seq_id", pointers),
        ("logits", outputs),
    ):  # fmt: skip
        kind = dict(batch._fields_)[name]
        setattr(batch, name, ctypes.cast(array.ctypes.data, kind))
    return batch


def decode(context: Any, batch: Any, rows: int) -> int:
    """Compute the first `rows` rows of the batch: a DECODE_ code, or an error of llama.cpp."""
    batch.n_tokens = rows
    status = int(llama.llama_decode(context, batch))
    if _COMPUTES_APART:
        llama.llama_synchronize(context)
    return status


def logits_address(context: Any, row: int) -> int:
    """Address of the row's float32 logits, 0 if the row has none."""
    return _get_logits(context, row) or 0
