"""The sequences of a context: copying, cutting, and their state as bytes."""

import ctypes
from typing import Any

from roost_inference.llama.bindings.library import at_once, llama

_copy = at_once("llama_memory_seq_cp")
_remove = at_once("llama_memory_seq_rm")
_first = at_once("llama_memory_seq_pos_min")
_last = at_once("llama_memory_seq_pos_max")


def memory(context: Any) -> Any:
    """The handle of a context's KV, for the functions below."""
    return llama.llama_get_memory(context)


def sequence_copy(handle: Any, source: int, target: int, start: int, end: int) -> None:
    """Let `target` share the cells of positions [start, end); -1 leaves an end open."""
    _copy(handle, source, target, start, end)


def sequence_remove(handle: Any, sequence: int, start: int) -> bool:
    """Remove positions from `start` on; False if the model can't, and nothing is removed then."""
    return bool(_remove(handle, sequence, start, -1))


def sequence_remove_before(handle: Any, sequence: int, end: int) -> bool:
    """Remove positions before `end`; False if the model can't, and nothing is removed then."""
    return bool(_remove(handle, sequence, 0, end))


def sequence_first(handle: Any, sequence: int) -> int:
    """The first position held, -1 for an empty sequence."""
    return int(_first(handle, sequence))


def sequence_last(handle: Any, sequence: int) -> int:
    """The last position held, -1 for an empty sequence."""
    return int(_last(handle, sequence))


def sequence_state_bytes(context: Any, sequence: int) -> int:
    """Size of a sequence's state as `read_sequence` writes it."""
    return int(llama.llama_state_seq_get_size(context, sequence))


def read_sequence(context: Any, sequence: int, address: int, size: int) -> int:
    """Copy a sequence's state to the caller's memory; the bytes written, 0 if that failed."""
    target = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8))
    return int(llama.llama_state_seq_get_data(context, target, size, sequence))


def write_sequence(context: Any, sequence: int, address: int, size: int) -> int:
    """Replace a sequence by a state of `read_sequence`; the bytes read, 0 if it was refused."""
    source = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8))
    return int(llama.llama_state_seq_set_data(context, source, size, sequence))
