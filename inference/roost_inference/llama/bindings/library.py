"""llama.cpp itself: loaded once, checked against what these bindings were written for, and quiet.

llama.cpp's ABI moves between commits without a version bump, and a structure passed by value
with one field more is read as garbage. So the packages are pinned, and the sizes and the defaults
of the structures are compared with those seen when these bindings were written. Which of the
installed builds it is, `llama.builds` says.
"""

import ctypes
import logging
import os
from collections import deque
from typing import Any

from roost_inference.errors import EngineUnavailable
from roost_inference.llama import builds
from roost_inference.llama.bindings.declarations import declare
from roost_inference.llama.threads import limit_spinning

CONTEXT_PARAMS_BYTES = {"native": 160, "portable": 168}
MODEL_PARAMS_BYTES = 80
QUANTIZE_PARAMS_BYTES = 64
LOG_LINES_KEPT = 40

# A few defaults spread over each structure: if a field were inserted, they would not line up.
CONTEXT_DEFAULTS = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_threads": 4, "flash_attn_type": -1,
    "yarn_beta_fast": -1.0, "type_k": 1, "type_v": 1, "embeddings": False, "offload_kqv": True,
    "no_perf": True, "op_offload": True, "swa_full": True, "kv_unified": False, "n_samplers": 0,
}  # fmt: skip
MODEL_DEFAULTS = {
    "n_gpu_layers": -1, "split_mode": 1, "main_gpu": 0, "vocab_only": False,
    "use_extra_bufts": True, "load_mtp": False,
}  # fmt: skip

log = logging.getLogger("roost_inference.llama")


def _load() -> tuple[builds.Choice, Any]:
    """The build that is to run and its functions, or EngineUnavailable saying what is missing."""
    # on an assertion it would otherwise start a debugger on this process and print for seconds
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    limit_spinning()
    choice = builds.choose(builds.wanted())
    build = choice.build
    try:
        library = declare(ctypes.CDLL(str(build.library)), is_native=build.name == "native")
    except (OSError, AttributeError) as error:
        hint = " (Debian: apt-get install libgomp1)" if "libgomp" in str(error) else ""
        raise EngineUnavailable(f"{build.package} can't be loaded: {error}{hint}") from error
    return choice, library


def check_layout(library: Any, name: str) -> None:
    """Raise EngineUnavailable if the structures differ from those this file was written for.
    name: of the build, "native" or "portable"."""
    structures: list[tuple[str, int, Any, dict[str, Any]]] = [
        (
            *("context", CONTEXT_PARAMS_BYTES[name]),
            *(library.llama_context_default_params, CONTEXT_DEFAULTS),
        ),
        ("model", MODEL_PARAMS_BYTES, library.llama_model_default_params, MODEL_DEFAULTS),
    ]
    if name == "native":
        quantize = library.llama_model_quantize_default_params
        structures.append(("quantize", QUANTIZE_PARAMS_BYTES, quantize, {}))
    for structure, size, defaults, expected in structures:
        params = defaults()
        actual = {key: getattr(params, key) for key in expected}
        if ctypes.sizeof(params) != size or actual != expected:
            raise EngineUnavailable(
                f"llama.cpp's {structure} parameters have another layout than expected "
                f"({ctypes.sizeof(params)} bytes, {size} expected; defaults {actual}). "
                "Install the locked requirements again."
            )


chosen, llama = _load()
check_layout(llama, chosen.build.name)
_without_release = ctypes.PyDLL(str(chosen.build.library))


def at_once(name: str, result: Any = None) -> Any:
    """A function that takes microseconds, to be called without giving up the interpreter's lock:
    to get it back from a busy thread takes up to 5 ms. result: another ctypes type for what the
    function returns."""
    original = getattr(llama, name)
    function = getattr(_without_release, name)
    function.argtypes = original.argtypes
    function.restype = original.restype if result is None else result
    return function


_recent: deque[str] = deque(maxlen=LOG_LINES_KEPT)
# llama.cpp's warnings are for people who tune models, so they are only information here.
_LEVELS = {3: logging.INFO, 4: logging.ERROR}


# An interrupted decode logs these lines; its status says the same.
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


_log_callback = llama.llama_log_callback(_on_log)  # kept: ctypes does not hold it for C
llama.llama_log_set(_log_callback, ctypes.c_void_p(0))
llama.llama_backend_init()

# strlen as abort callback: called by the compute thread after every graph node without the GIL.
# It returns 0 for an empty string and 1 once another thread wrote a byte into the buffer.
STRLEN = ctypes.cast(ctypes.CDLL(None).strlen, llama.ggml_abort_callback)


def forget_errors() -> None:
    """Forget the warnings and errors of earlier calls."""
    _recent.clear()


def recent_errors() -> str:
    """llama.cpp's last warnings and errors, newest last; forgets them."""
    text = "; ".join(list(_recent)[-4:])
    _recent.clear()
    return text or "llama.cpp gave no reason"


def build_id() -> str:
    """Identity of the kernels' files: package, version, and a digest of its libraries."""
    return chosen.build.id


def kv_id() -> str:
    """Identity of the KV that the kernels compute; see Build.kv_id."""
    return chosen.build.kv_id


def sleeps_at_barriers() -> bool:
    """Whether threads of a decode that wait long for another of them give up their cores: with
    libgomp they do, with other thread pools they may wait busily for ever."""
    return hasattr(_without_release, "GOMP_parallel")


def kernels() -> tuple[str, str]:
    """Which kernels run, "native" or "portable", and why not the native ones, else empty."""
    return chosen.build.name, chosen.reason
