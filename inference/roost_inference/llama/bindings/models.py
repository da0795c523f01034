"""Model files: loading, facts from their headers, and requantising."""

import ctypes
from pathlib import Path
from typing import Any

from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.llama.bindings.library import forget_errors, llama, recent_errors

FILE_TYPE_Q4_0 = 2
KV_BITS = {"f16": 16, "q8_0": 8.5, "q4_0": 4.5}


def load_model(path: Path, *, vocabulary_only: bool = False) -> Any:
    """A model handle; EngineUnavailable with llama.cpp's own reason if the file is no good."""
    params = llama.llama_model_default_params()
    params.vocab_only = vocabulary_only
    forget_errors()
    model = llama.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise EngineUnavailable(f"The model {path} can't be loaded: {recent_errors()}")
    return model


def free_model(model: Any) -> None:
    """Give the model back. Its vocabulary and contexts must not be used any more."""
    llama.llama_model_free(model)


def metadata(model: Any, key: str) -> str | None:
    """A value of the GGUF header as text, None if absent."""
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = llama.llama_model_meta_val_str(model, key.encode(), buffer, size)
        if needed < 0:
            return None
        if needed < size:
            return str(buffer.value, "utf-8", "replace")
        size = needed + 1


def chat_template(model: Any) -> str:
    """The Jinja template in the GGUF header, empty if it has none."""
    value = llama.llama_model_chat_template(model, None)
    return value.decode("utf-8", "replace") if value else ""


def trained_context(model: Any) -> int:
    """The longest context the model was trained for, in tokens."""
    return int(llama.llama_model_n_ctx_train(model))


def computes_on_gpu() -> bool:
    """Whether this build hands layers to a GPU."""
    return bool(llama.llama_supports_gpu_offload())


def truncates(model: Any) -> bool:
    """Whether parts of a sequence can be removed; recurrent state can't be cut."""
    return not (llama.llama_model_is_recurrent(model) or llama.llama_model_is_hybrid(model))


def sliding_window(model: Any) -> int:
    """How many tokens a layer with a sliding window looks back; 0 if there are no such layers."""
    return int(llama.llama_model_n_swa(model))


def kv_bytes_per_cell(model: Any, kv_type: str) -> int:
    """Bytes of one KV cell over all layers, as llama.cpp lays it out."""
    heads = llama.llama_model_n_head(model)
    size = llama.llama_model_n_embd(model) // max(heads, 1)
    architecture = metadata(model, "general.architecture")
    key = int(metadata(model, f"{architecture}.attention.key_length") or size)
    value = int(metadata(model, f"{architecture}.attention.value_length") or size)
    numbers = llama.llama_model_n_head_kv(model) * (key + value)
    bits = KV_BITS[kv_type]
    return int(llama.llama_model_n_layer(model) * numbers * bits / 8)


def quantize_q4_0(source: Path, target: Path, threads: int) -> None:
    """Write `source` as Q4_0, which llama.cpp repacks for the CPU. Raises EngineFailed."""
    params = llama.llama_model_quantize_default_params()
    params.ftype = FILE_TYPE_Q4_0
    params.allow_requantize = True
    params.nthread = threads
    forget_errors()
    status = llama.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if status != 0:
        raise EngineFailed(f"{source} can't be requantised to {target}: {recent_errors()}")
