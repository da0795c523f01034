"""The functions and structures of llama.cpp that the bindings use, declared for ctypes.

Declared here and not taken from a package, so that one build serves as well as the other. The two
differ in one structure: the portable build, which is newer, has a field more among the context's
parameters. `library.check_layout` compares the defaults that each build fills in.
"""

import ctypes
from collections.abc import Mapping
from ctypes import (
    POINTER,
    c_bool,
    c_char_p,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from types import SimpleNamespace
from typing import Any, Final

abort_callback: Final = ctypes.CFUNCTYPE(c_bool, c_void_p)
log_callback: Final = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)

Fields = list[tuple[str, Any]]
_CONTEXT_HEAD: Final[Fields] = [
    ("n_ctx", c_uint32),
    ("n_batch", c_uint32),
    ("n_ubatch", c_uint32),
    ("n_seq_max", c_uint32),
    ("n_rs_seq", c_uint32),
    ("n_outputs_max", c_uint32),
    ("n_outputs_max_per_seq", c_uint32),
    ("n_threads", c_int32),
    ("n_threads_batch", c_int32),
    ("ctx_type", c_int),
    ("rope_scaling_type", c_int),
    ("pooling_type", c_int),
    ("attention_type", c_int),
    ("flash_attn_type", c_int),
    ("rope_freq_base", c_float),
    ("rope_freq_scale", c_float),
    ("yarn_ext_factor", c_float),
    ("yarn_attn_factor", c_float),
    ("yarn_beta_fast", c_float),
    ("yarn_beta_slow", c_float),
    ("yarn_orig_ctx", c_uint32),
    ("defrag_thold", c_float),
    ("cb_eval", c_void_p),
    ("cb_eval_user_data", c_void_p),
    ("type_k", c_int),
    ("type_v", c_int),
]
_CONTEXT_TAIL: Final[Fields] = [
    ("abort_callback", c_void_p),
    ("abort_callback_data", c_void_p),
    ("embeddings", c_bool),
    ("offload_kqv", c_bool),
    ("no_perf", c_bool),
    ("op_offload", c_bool),
    ("swa_full", c_bool),
    ("kv_unified", c_bool),
    ("samplers", c_void_p),
    ("n_samplers", c_size_t),
    ("ctx_other", c_void_p),
]


class NativeContextParams(ctypes.Structure):
    """`llama_context_params` of llama-cpp-python 0.3.36: 160 bytes."""

    _fields_ = [*_CONTEXT_HEAD, *_CONTEXT_TAIL]


class PortableContextParams(ctypes.Structure):
    """`llama_context_params` of xllamacpp 2026.10.11549: 168 bytes."""

    _fields_ = [*_CONTEXT_HEAD, ("moe_cache_size", c_size_t), *_CONTEXT_TAIL]


class ModelParams(ctypes.Structure):
    """`llama_model_params`: 80 bytes."""

    _fields_ = [
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    ]


class QuantizeParams(ctypes.Structure):
    """`llama_model_quantize_params` of the native build: 64 bytes. The portable one has none."""

    _fields_ = [
        ("nthread", c_int32),
        ("ftype", c_int),
        ("output_tensor_type", c_int),
        ("token_embedding_type", c_int),
        ("allow_requantize", c_bool),
        ("quantize_output_tensor", c_bool),
        ("only_copy", c_bool),
        ("pure", c_bool),
        ("keep_split", c_bool),
        ("dry_run", c_bool),
        ("imatrix", c_void_p),
        ("kv_overrides", c_void_p),
        ("tt_overrides", c_void_p),
        ("prune_layers", c_void_p),
        ("max_buf_size", c_size_t),
    ]


class Batch(ctypes.Structure):
    """`llama_batch`: rows in memory that the caller owns."""

    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


# What each function returns, and what it takes. Handles are c_void_p.
_model: Final = {
    name: (c_int32, (c_void_p,))
    for name in ["n_ctx_train", "n_embd", "n_embd_out", "n_head", "n_head_kv", "n_layer", "n_swa"]
}
_vocab: Final = {name: (c_int32, (c_void_p,)) for name in ("bos", "eos", "n_tokens", "type")}
FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (log_callback, c_void_p)),
    "llama_supports_gpu_offload": (c_bool, ()),
    "llama_model_default_params": (ModelParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParams)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_meta_val_str": (c_int32, (c_void_p, c_char_p, c_char_p, c_size_t)),
    "llama_model_chat_template": (c_char_p, (c_void_p, c_char_p)),
    "llama_model_has_encoder": (c_bool, (c_void_p,)),
    "llama_model_is_recurrent": (c_bool, (c_void_p,)),
    "llama_model_is_hybrid": (c_bool, (c_void_p,)),
    **{f"llama_model_{name}": signature for name, signature in _model.items()},
    **{f"llama_vocab_{name}": signature for name, signature in _vocab.items()},
    "llama_vocab_get_add_bos": (c_bool, (c_void_p,)),
    "llama_vocab_get_attr": (c_int, (c_void_p, c_int32)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_tokenize": (
        c_int32,
        (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool),
    ),
    "llama_token_to_piece": (c_int32, (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool)),
    "llama_free": (None, (c_void_p,)),
    "llama_n_ctx": (c_uint32, (c_void_p,)),
    "llama_set_n_threads": (None, (c_void_p, c_int32, c_int32)),
    "llama_set_abort_callback": (None, (c_void_p, abort_callback, c_void_p)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits_ith": (POINTER(c_float), (c_void_p, c_int32)),
    "llama_get_embeddings_seq": (POINTER(c_float), (c_void_p, c_int32)),
    "llama_pooling_type": (c_int, (c_void_p,)),
    "llama_synchronize": (None, (c_void_p,)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_memory_seq_cp": (None, (c_void_p, c_int32, c_int32, c_int32, c_int32)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_memory_seq_pos_min": (c_int32, (c_void_p, c_int32)),
    "llama_memory_seq_pos_max": (c_int32, (c_void_p, c_int32)),
    "llama_state_seq_get_size": (c_size_t, (c_void_p, c_int32)),
    "llama_state_seq_get_data": (c_size_t, (c_void_p, POINTER(c_uint8), c_size_t, c_int32)),
    "llama_state_seq_set_data": (c_size_t, (c_void_p, POINTER(c_uint8), c_size_t, c_int32)),
}
# The portable build is made without these; see `requantise`.
NATIVE_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "llama_model_quantize_default_params": (QuantizeParams, ()),
    "llama_model_quantize": (c_uint32, (c_char_p, c_char_p, POINTER(QuantizeParams))),
}


def declare(library: ctypes.CDLL, *, is_native: bool) -> Any:
    """What the bindings use of llama.cpp, by its names in C. Raises AttributeError naming the
    first function that the library lacks."""
    params: Any = NativeContextParams if is_native else PortableContextParams
    functions = FUNCTIONS | {
        "llama_context_default_params": (params, ()),
        "llama_init_from_model": (c_void_p, (c_void_p, params)),
    }
    llama = declared(library, functions | NATIVE_FUNCTIONS if is_native else functions)
    llama.llama_batch = Batch
    llama.ggml_abort_callback, llama.llama_log_callback = abort_callback, log_callback
    return llama


def declared(library: ctypes.CDLL, functions: Mapping[str, tuple[Any, tuple[Any, ...]]]) -> Any:
    """These functions of a library by name, typed. Raises AttributeError for one it lacks."""
    namespace = SimpleNamespace()
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
        setattr(namespace, name, function)
    return namespace
