"""Writes GGUF files: a header of keys, and tensors that are not quantised."""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

Tensor = NDArray[Any]
_ALIGNMENT, _SIGNED = 32, 5
# llama.cpp's numbers of the formats.
_KINDS: Final = {"float32": 0, "float16": 1, "int64": 27}


def write_gguf(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write GGUF 3: the header, the list of tensors, and their bytes at aligned places.

    header: texts, numbers, truth values and lists of one of these, by key, or values of `raw_keys`.
    Whole numbers have 32 bits. tensors: float32, float16 or int64, with sizes as numpy orders them.
    """
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(header))]
    for key, value in header.items():
        parts += [_text(key), *_value(value)]
    offset = 0
    for name, tensor in tensors.items():
        sizes = tensor.shape[::-1]
        parts.append(_text(name) + struct.pack("<I", len(sizes)))
        parts.append(struct.pack(f"<{len(sizes)}QIQ", *sizes, _KINDS[tensor.dtype.name], offset))
        offset += _padded(tensor.nbytes)
    head = b"".join(parts)
    with path.open("wb") as file:
        file.write(head.ljust(_padded(len(head)), b"\0"))
        for tensor in tensors.values():
            file.write(tensor.tobytes().ljust(_padded(tensor.nbytes), b"\0"))


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, list):
        scalars = [_scalar(one, in_list=True) for one in value]
        yield struct.pack("<IIQ", 9, scalars[0][0], len(value))
        yield from (raw for _, raw in scalars)
    else:
        kind, raw = _scalar(value)
        yield struct.pack("<I", kind) + raw


def _scalar(value: Any, *, in_list: bool = False) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int) and (in_list or value < 0):
        return _SIGNED, struct.pack("<i", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    return 8, _text(value)
