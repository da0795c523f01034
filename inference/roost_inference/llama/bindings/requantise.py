"""Writes a model as Q4_0, which llama.cpp repacks for the CPU: by llama.cpp's own function, or,
in the portable build, which is made without it, tensor by tensor in the same way."""

import ctypes
import math
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ctypes import POINTER, c_bool, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from roost_inference.errors import EngineFailed
from roost_inference.llama.bindings import declarations
from roost_inference.llama.bindings.library import chosen, forget_errors, llama, recent_errors

FILE_TYPE_Q4_0: Final = 2
FILE_TYPE_Q4_K_M: Final = 15
QUANTIZATION_VERSION: Final = 2  # GGML_QNT_VERSION
# Number types of ggml, their numbers in a block, and the bytes of a block.
F32, F16, Q4_0, Q8_0, Q6_K = 0, 1, 2, 8, 14
BLOCKS: Final = {Q4_0: (32, 18), Q8_0: (32, 34), Q6_K: (256, 210)}


def quantize(source: Path, target: Path, threads: int, file_type: int = FILE_TYPE_Q4_0) -> None:
    """Write `source` in a type that llama.cpp repacks for the CPU; the portable build writes Q4_0
    alone. Raises EngineFailed."""
    forget_errors()
    if chosen.build.name == "portable":
        if file_type != FILE_TYPE_Q4_0:
            raise EngineFailed(f"{source} can't be requantised: portable kernels write Q4_0 alone")
        _rewrite(source, target, threads)
        return
    params = llama.llama_model_quantize_default_params()
    params.ftype = file_type
    params.allow_requantize = True
    params.nthread = threads
    status = llama.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    if status != 0:
        raise EngineFailed(f"{source} can't be requantised to {target}: {recent_errors()}")


class _GgufParams(ctypes.Structure):
    _fields_ = [("no_alloc", c_bool), ("ctx", POINTER(c_void_p))]


_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "gguf_init_from_file": (c_void_p, (c_char_p, _GgufParams)),
    "gguf_init_empty": (c_void_p, ()),
    "gguf_free": (None, (c_void_p,)),
    "gguf_set_kv": (None, (c_void_p, c_void_p)),
    "gguf_set_val_u32": (None, (c_void_p, c_char_p, c_uint32)),
    "gguf_get_n_tensors": (c_int64, (c_void_p,)),
    "gguf_get_tensor_name": (c_char_p, (c_void_p, c_int64)),
    "gguf_get_tensor_type": (c_int, (c_void_p, c_int64)),
    "gguf_get_tensor_ne": (POINTER(c_int64), (c_void_p, c_int64)),
    "gguf_add_tensor": (None, (c_void_p, c_void_p)),
    "gguf_set_tensor_type": (None, (c_void_p, c_char_p, c_int)),
    "gguf_set_tensor_data": (None, (c_void_p, c_char_p, c_void_p)),
    "gguf_write_to_file": (c_bool, (c_void_p, c_char_p, c_bool)),
    "ggml_get_tensor": (c_void_p, (c_void_p, c_char_p)),
    "ggml_get_data": (c_void_p, (c_void_p,)),
    "ggml_free": (None, (c_void_p,)),
    "ggml_type_name": (c_char_p, (c_int,)),
    "ggml_quantize_chunk": (
        c_size_t,
        (c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p),
    ),
}


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of the source. shape: as GGUF has it, the row's length first."""

    name: bytes
    kind: int
    shape: tuple[int, ...]
    handle: int
    data: int


def _rewrite(source: Path, target: Path, threads: int) -> None:
    """llama_model_quantize with the functions that the portable build has."""
    library = ctypes.CDLL(str(chosen.build.library))
    ggml = declarations.declared(library, _FUNCTIONS)
    with _opened(ggml, source) as (header, memory):
        tensors = sorted(_tensors(ggml, header, memory), key=_place)
        is_tied = all(tensor.name != b"output.weight" for tensor in tensors)
        made = ggml.gguf_init_empty()
        try:
            ggml.gguf_set_kv(made, header)
            ggml.gguf_set_val_u32(made, b"general.quantization_version", QUANTIZATION_VERSION)
            ggml.gguf_set_val_u32(made, b"general.file_type", FILE_TYPE_Q4_0)
            kinds = {tensor.name: _new_kind(tensor, is_tied=is_tied) for tensor in tensors}
            with ThreadPoolExecutor(threads) as pool:
                data = list(
                    pool.map(lambda one: _converted(library, ggml, one, kinds[one.name]), tensors)
                )
            for tensor, converted in zip(tensors, data, strict=True):
                ggml.gguf_add_tensor(made, tensor.handle)
                if converted is not None:
                    ggml.gguf_set_tensor_type(made, tensor.name, kinds[tensor.name])
                    address = ctypes.cast(converted, c_void_p)
                    ggml.gguf_set_tensor_data(made, tensor.name, address)
            if not ggml.gguf_write_to_file(made, str(target).encode(), False):
                raise EngineFailed(f"{source} can't be requantised to {target}: it is not written")
        finally:
            ggml.gguf_free(made)


@contextmanager
def _opened(ggml: Any, source: Path) -> Iterator[tuple[int, int]]:
    """The file's header and the memory of its tensors, read whole."""
    memory = c_void_p()
    params = _GgufParams(no_alloc=False, ctx=ctypes.pointer(memory))
    header = ggml.gguf_init_from_file(str(source).encode(), params)
    if not header or not memory.value:
        raise EngineFailed(f"{source} can't be requantised: {recent_errors()}")
    try:
        yield header, memory.value
    finally:
        ggml.gguf_free(header)
        ggml.ggml_free(memory)


def _tensors(ggml: Any, header: int, memory: int) -> Iterator[_Tensor]:
    for index in range(ggml.gguf_get_n_tensors(header)):
        name = ggml.gguf_get_tensor_name(header, index)
        handle = ggml.ggml_get_tensor(memory, name)
        shape = tuple(ggml.gguf_get_tensor_ne(header, index)[:4])
        kind = ggml.gguf_get_tensor_type(header, index)
        yield _Tensor(name, kind, shape, handle, ggml.ggml_get_data(handle))


def _place(tensor: _Tensor) -> tuple[int, bytes]:
    """llama.cpp's order of tensors: by layer, those of no layer first, then by name."""
    layer = re.match(rb"blk\.(\d+)\.", tensor.name)
    return int(layer.group(1)) if layer else -1, tensor.name


def _new_kind(tensor: _Tensor, *, is_tied: bool) -> int:
    """The type that llama_model_quantize writes for a Q4_0 file: vectors stay as they are, the
    matrix of the output gets Q6_K, or Q8_0 where its rows are no multiple of 256, others Q4_0."""
    row = tensor.shape[0]
    if sum(length > 1 for length in tensor.shape) < 2 or not tensor.name.endswith(b"weight"):
        return tensor.kind
    is_output = tensor.name == b"output.weight" or (is_tied and tensor.name == b"token_embd.weight")
    kind = (Q6_K if row % 256 == 0 else Q8_0) if is_output else Q4_0
    return kind if row % BLOCKS[kind][0] == 0 else tensor.kind


def _converted(library: ctypes.CDLL, ggml: Any, tensor: _Tensor, kind: int) -> Any:
    """The tensor's numbers in another type, None where it keeps its own."""
    if kind == tensor.kind:
        return None
    row, numbers = tensor.shape[0], math.prod(tensor.shape)
    block, size = BLOCKS[kind]
    target = ctypes.create_string_buffer(numbers // block * size)
    floats = _floats(library, ggml, tensor, numbers)
    ggml.ggml_quantize_chunk(kind, floats, target, 0, numbers // row, row, None)
    return target


def _floats(library: ctypes.CDLL, ggml: Any, tensor: _Tensor, numbers: int) -> Any:
    """The tensor as 32-bit floats; the memory itself for a tensor that is."""
    if tensor.kind == F32:
        return c_void_p(tensor.data)
    name = ggml.ggml_type_name(tensor.kind).decode()
    symbol = "ggml_fp16_to_fp32_row" if tensor.kind == F16 else f"dequantize_row_{name}"
    try:
        read = getattr(library, symbol)
    except AttributeError:
        raise EngineFailed(f"{tensor.name.decode()} is {name}, which can't be read") from None
    read.restype, read.argtypes = None, (c_void_p, c_void_p, c_int64)
    floats = (ctypes.c_float * numbers)()
    read(tensor.data, floats, numbers)
    return floats
