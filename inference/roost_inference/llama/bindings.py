"""The only file that names llama.cpp's functions: checked at load, typed, and quiet.

llama.cpp's ABI moves between commits without a version bump, and a structure passed by value
with one field more is read as garbage. So the package version is pinned, and the sizes and the
defaults of the structures are compared with those seen when this file was written.
"""

import ctypes
import hashlib
import importlib.metadata
import logging
import os
from collections import deque
from pathlib import Path
from typing import Any

from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.llama.threads import limit_spinning

PACKAGE_VERSION = "0.3.36"
CONTEXT_PARAMS_BYTES = 160
MODEL_PARAMS_BYTES = 80
QUANTIZE_PARAMS_BYTES = 64
LOG_LINES_KEPT = 40

# A few defaults spread over each structure: if a field were inserted, they would not line up.
CONTEXT_DEFAULTS = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "flash_attn_type": -1, "yarn_beta_fast": -1.0,
    "type_k": 1, "type_v": 1, "offload_kqv": True, "swa_full": True, "kv_unified": False,
}  # fmt: skip
MODEL_DEFAULTS = {
    "n_gpu_layers": -1, "split_mode": 1, "main_gpu": 0, "vocab_only": False,
    "use_extra_bufts": True, "load_mtp": False,
}  # fmt: skip

KV_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}
FILE_TYPE_Q4_0 = 2
FLASH_ATTENTION_ON = 1
VOCABULARY_SPM, VOCABULARY_BPE = 1, 2
TOKEN_STRIPS = 1 << 7 | 1 << 8  # whitespace before a token, and behind it
DECODE_DONE, DECODE_NO_CELLS, DECODE_ABORTED = 0, 1, 2

log = logging.getLogger("roost_inference.llama")


def _load() -> Any:
    """The low-level module of llama-cpp-python, or EngineUnavailable saying what is missing."""
    # on an assertion it would otherwise start a debugger on this process and print for seconds
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    limit_spinning()
    try:
        version = importlib.metadata.version("llama-cpp-python")
        import llama_cpp._utils
        import llama_cpp.llama_cpp as library
    except (ImportError, OSError, RuntimeError, importlib.metadata.PackageNotFoundError) as error:
        raise EngineUnavailable(f"llama-cpp-python can't be loaded: {error}") from error
    check_version(version)
    for file in (llama_cpp._utils.outnull_file, llama_cpp._utils.errnull_file):
        file.close()  # the package opens /dev/null twice on import, for a class we don't use
    return library


def check_version(version: str) -> None:
    """Raise EngineUnavailable unless it is the version these bindings were written for."""
    if version != PACKAGE_VERSION:
        raise EngineUnavailable(
            f"llama-cpp-python {version} is installed, this build needs {PACKAGE_VERSION}: "
            "its ABI changes between versions. Install the locked requirements."
        )


def check_layout(library: Any) -> None:
    """Raise EngineUnavailable if the structures differ from those this file was written for."""
    for name, size, defaults, expected in (
        ("context", CONTEXT_PARAMS_BYTES, library.llama_context_default_params, CONTEXT_DEFAULTS),
        ("model", MODEL_PARAMS_BYTES, library.llama_model_default_params, MODEL_DEFAULTS),
        ("quantize", QUANTIZE_PARAMS_BYTES, library.llama_model_quantize_default_params, {}),
    ):
        params = defaults()
        found = {key: getattr(params, key) for key in expected}
        if ctypes.sizeof(params) != size or found != expected:
            raise EngineUnavailable(
                f"llama.cpp's {name} parameters have another layout than expected "
                f"({ctypes.sizeof(params)} bytes, {size} expected; defaults {found}). "
                "Reinstall llama-cpp-python from the locked requirements."
            )


_library: Any = _load()
check_layout(_library)

_recent: deque[str] = deque(maxlen=LOG_LINES_KEPT)
# Its warnings are meant for people who tune models, so they are no warnings of ours.
_LEVELS = {3: logging.INFO, 4: logging.ERROR}


# What an interrupted decode leaves in the log; its status says it already.
_ABORT_LINES = ("graph_compute:", "process_ubatch:", "llama_decode:", "decode: removing memory")


def _on_log(level: int, text: bytes, _data: object) -> None:
    line = text.decode("utf-8", "replace").rstrip()
    if line.startswith(_ABORT_LINES):
        _recent.append(line)
        log.debug("%s", line)
    elif line and line.strip("."):
        if level in (3, 4):
            _recent.append(line)
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


_log_callback = _library.llama_log_callback(_on_log)  # kept: ctypes does not hold it for C
_library.llama_log_set(_log_callback, ctypes.c_void_p(0))
_library.llama_backend_init()

# strlen as abort callback: called by the compute thread after every graph node without the GIL.
# It returns 0 for an empty string and 1 once another thread wrote a byte into the buffer.
_strlen = ctypes.cast(ctypes.CDLL(None).strlen, _library.ggml_abort_callback)


def recent_errors() -> str:
    """llama.cpp's last warnings and errors, newest last; forgets them."""
    text = "; ".join(list(_recent)[-4:])
    _recent.clear()
    return text or "llama.cpp gave no reason"


def build_id() -> str:
    """Identity of the kernels: package version and the hash of the shared library."""
    folder = Path(_library.__file__).parent / "lib"
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*llama.*")):
        if not path.is_symlink():
            digest.update(path.read_bytes())
    return f"llama-cpp-python {PACKAGE_VERSION} ({digest.hexdigest()[:12]})"


def load_model(path: Path, *, vocabulary_only: bool = False) -> Any:
    """A model handle; EngineUnavailable with llama.cpp's own reason if the file is no good."""
    params = _library.llama_model_default_params()
    params.vocab_only = vocabulary_only
    _recent.clear()
    model = _library.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise EngineUnavailable(f"The model {path} can't be loaded: {recent_errors()}")
    return model


def free_model(model: Any) -> None:
    _library.llama_model_free(model)


def metadata(model: Any, key: str) -> str | None:
    """A value of the GGUF header as text, None if absent."""
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = _library.llama_model_meta_val_str(model, key.encode(), buffer, size)
        if needed < 0:
            return None
        if needed < size:
            return str(buffer.value, "utf-8", "replace")
        size = needed + 1


def chat_template(model: Any) -> str:
    value = _library.llama_model_chat_template(model, None)
    return value.decode("utf-8", "replace") if value else ""


def trained_context(model: Any) -> int:
    return int(_library.llama_model_n_ctx_train(model))


def computes_on_gpu() -> bool:
    """Whether this build hands layers to a GPU."""
    return bool(_library.llama_supports_gpu_offload())


def truncates(model: Any) -> bool:
    """Whether parts of a sequence can be removed; recurrent state can't be cut."""
    return not (_library.llama_model_is_recurrent(model) or _library.llama_model_is_hybrid(model))


def kv_bytes_per_cell(model: Any, kv_type: str) -> int:
    """Bytes of one KV cell over all layers, as llama.cpp lays it out."""
    heads = _library.llama_model_n_head(model)
    size = _library.llama_model_n_embd(model) // max(heads, 1)
    architecture = metadata(model, "general.architecture")
    key = int(metadata(model, f"{architecture}.attention.key_length") or size)
    value = int(metadata(model, f"{architecture}.attention.value_length") or size)
    numbers = _library.llama_model_n_head_kv(model) * (key + value)
    bits = {"f16": 16, "q8_0": 8.5, "q4_0": 4.5}[kv_type]
    return int(_library.llama_model_n_layer(model) * numbers * bits / 8)


def quantize_q4_0(source: Path, target: Path, threads: int) -> None:
    """Write `source` as Q4_0, which llama.cpp repacks for the CPU. Raises EngineFailed."""
    params = _library.llama_model_quantize_default_params()
    params.ftype = FILE_TYPE_Q4_0
    params.allow_requantize = True
    params.nthread = threads
    _recent.clear()
    status = _library.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if status != 0:
        raise EngineFailed(f"{source} can't be requantised to {target}: {recent_errors()}")


def create_context(
    model: Any, *, cells: int, batch: int, sequences: int, outputs: int, threads: int, kv_type: str
) -> Any:
    """A context with unified KV and flash attention; EngineUnavailable if memory is short.

    `outputs` bounds the rows of a batch that yield logits; llama.cpp wants one per sequence.
    """
    params = _library.llama_context_default_params()
    params.n_ctx = cells
    params.n_batch = params.n_ubatch = batch
    params.n_seq_max = sequences
    params.n_outputs_max = outputs
    params.n_outputs_max_per_seq = 0
    params.n_threads = params.n_threads_batch = threads
    params.flash_attn_type = FLASH_ATTENTION_ON
    params.type_k = params.type_v = KV_TYPES[kv_type]
    params.kv_unified = True
    _recent.clear()
    context = _library.llama_init_from_model(model, params)
    if not context:
        raise EngineUnavailable(f"No context of {cells} KV cells: {recent_errors()}")
    return context


def set_threads(context: Any, threads: int) -> None:
    """For decodes from now on."""
    _library.llama_set_n_threads(context, threads, threads)


def free_context(context: Any) -> None:
    _library.llama_free(context)


def context_cells(context: Any) -> int:
    return int(_library.llama_n_ctx(context))


def set_abort_flag(context: Any, flag: Any) -> None:
    """Decoding stops soon after flag[0] (a ctypes char buffer) becomes non-zero."""
    _library.llama_set_abort_callback(context, _strlen, ctypes.cast(flag, ctypes.c_void_p))


def make_batch(tokens: Any, positions: Any, counts: Any, pointers: Any, outputs: Any) -> Any:
    """A batch over numpy memory the caller owns; `pointers` holds the address of each row's id."""
    batch = _library.llama_batch()
    for name, array in (
        ("token", tokens), ("pos", positions), ("n_seq_id", counts), ("seq_id", pointers),
        ("logits", outputs),
    ):  # fmt: skip
        kind = dict(batch._fields_)[name]
        setattr(batch, name, ctypes.cast(array.ctypes.data, kind))
    return batch


def decode(context: Any, batch: Any, rows: int) -> int:
    batch.n_tokens = rows
    return int(_library.llama_decode(context, batch))


def logits_address(context: Any, row: int) -> int:
    """Address of the row's float32 logits, 0 if the row has none."""
    pointer = _library.llama_get_logits_ith(context, row)
    return ctypes.addressof(pointer.contents) if pointer else 0


def memory(context: Any) -> Any:
    return _library.llama_get_memory(context)


def sequence_copy(handle: Any, source: int, target: int, start: int, end: int) -> None:
    _library.llama_memory_seq_cp(handle, source, target, start, end)


def sequence_remove(handle: Any, sequence: int, start: int) -> bool:
    return bool(_library.llama_memory_seq_rm(handle, sequence, start, -1))


def sequence_first(handle: Any, sequence: int) -> int:
    return int(_library.llama_memory_seq_pos_min(handle, sequence))


def sequence_last(handle: Any, sequence: int) -> int:
    return int(_library.llama_memory_seq_pos_max(handle, sequence))


def sequence_state_bytes(context: Any, sequence: int) -> int:
    """Size of a sequence's state as `read_sequence` writes it."""
    return int(_library.llama_state_seq_get_size(context, sequence))


def read_sequence(context: Any, sequence: int, address: int, size: int) -> int:
    """Copy a sequence's state to the caller's memory; the bytes written, 0 if that failed."""
    target = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8))
    return int(_library.llama_state_seq_get_data(context, target, size, sequence))


def write_sequence(context: Any, sequence: int, address: int, size: int) -> int:
    """Replace a sequence by a state of `read_sequence`; the bytes read, 0 if it was refused."""
    source = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8))
    return int(_library.llama_state_seq_set_data(context, source, size, sequence))


def vocabulary(model: Any) -> Any:
    return _library.llama_model_get_vocab(model)


def vocabulary_size(vocab: Any) -> int:
    return int(_library.llama_vocab_n_tokens(vocab))


def end_tokens(vocab: Any) -> frozenset[int]:
    return frozenset(
        token for token in range(vocabulary_size(vocab))
        if _library.llama_vocab_is_eog(vocab, token)
    )  # fmt: skip


def bos_eos(vocab: Any) -> tuple[int, int]:
    return int(_library.llama_vocab_bos(vocab)), int(_library.llama_vocab_eos(vocab))


def covers_bytes(vocab: Any) -> bool:
    """Whether tokens cover a text's bytes one after the other; other kinds normalise it first."""
    return _library.llama_vocab_type(vocab) in (VOCABULARY_SPM, VOCABULARY_BPE)


def strips_space(vocab: Any) -> bool:
    """Whether any token swallows the whitespace beside it."""
    return any(
        _library.llama_vocab_get_attr(vocab, token) & TOKEN_STRIPS
        for token in range(vocabulary_size(vocab))
    )


def token_bytes(vocab: Any, token: int, *, special: bool) -> bytes:
    size = 64
    while True:
        buffer = ctypes.create_string_buffer(size)
        count = _library.llama_token_to_piece(vocab, token, buffer, size, 0, special)
        if count >= 0:
            return buffer.raw[:count]
        size = -count


def tokenize(vocab: Any, text: str, *, special: bool) -> list[int]:
    raw = text.encode("utf-8", "surrogatepass")
    size = max(len(raw), 8)
    while True:
        tokens = (ctypes.c_int32 * size)()
        count = _library.llama_tokenize(vocab, raw, len(raw), tokens, size, False, special)
        if count >= 0:
            return tokens[:count]
        size = -count
