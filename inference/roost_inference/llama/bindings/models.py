"""Model files: loading, and facts from their headers."""

import ctypes
from pathlib import Path
from typing import Any

from roost_inference.errors import EngineUnavailable
from roost_inference.llama.bindings.library import forget_errors, llama, recent_errors

# llama.cpp's file types by number, those that are met.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 25: "IQ4_NL", 30: "IQ4_XS", 32: "BF16", 38: "MXFP4",
}  # fmt: skip
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


def quantisation(model: Any) -> str:
    """The number format of most weights as the file names it; empty for one unknown here."""
    value = metadata(model, "general.file_type") or ""
    return FILE_TYPES.get(int(value), "") if value.isdecimal() else ""


def trained_context(model: Any) -> int:
    """The longest context the model was trained for, in tokens."""
    return int(llama.llama_model_n_ctx_train(model))


def computes_on_gpu() -> bool:
    """Whether this build hands layers to a GPU."""
    return bool(llama.llama_supports_gpu_offload())


def is_recurrent(model: Any) -> bool:
    """Whether all layers keep one state instead of KV."""
    return bool(llama.llama_model_is_recurrent(model))


def is_hybrid(model: Any) -> bool:
    """Whether some layers keep one state instead of KV."""
    return bool(llama.llama_model_is_hybrid(model))


def truncates(model: Any) -> bool:
    """Whether parts of a sequence can be removed; recurrent state can't be cut."""
    return not (is_recurrent(model) or is_hybrid(model))


def sliding_window(model: Any) -> int:
    """How many tokens back the layers with sliding attention see, 0 for a model without them."""
    return int(llama.llama_model_n_swa(model))


def encodes(model: Any) -> bool:
    """Whether a prompt needs a pass of an encoder before a first token can be made."""
    return bool(llama.llama_model_has_encoder(model))


def architecture(model: Any) -> str:
    """The architecture that the GGUF header names, such as `llama` or `gemma3`."""
    return metadata(model, "general.architecture") or ""


def kv_bytes_per_cell(model: Any, kv_type: str) -> int:
    """Bytes of one KV cell over all layers, as llama.cpp lays it out."""
    heads = llama.llama_model_n_head(model)
    size = llama.llama_model_n_embd(model) // max(heads, 1)
    name = architecture(model)
    key = int(metadata(model, f"{name}.attention.key_length") or size)
    value = int(metadata(model, f"{name}.attention.value_length") or size)
    numbers = llama.llama_model_n_head_kv(model) * (key + value)
    bits = KV_BITS[kv_type]
    return int(llama.llama_model_n_layer(model) * numbers * bits / 8)
