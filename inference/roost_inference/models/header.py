"""Reads the header of a GGUF file without loading llama.cpp: its keys, but no lists and tensors."""

import struct
from pathlib import Path
from typing import BinaryIO

from roost_inference.errors import InvalidRequest

HEADER_BYTES_MAX = 64 * 2**20
KEYS_MAX = 4096
TEXT_BYTES_MAX = 2**20
LIST_DEPTH_MAX = 4
VERSIONS = (2, 3)

_STRING, _LIST = 8, 9
# The types of a value: their number in the file, and how `struct` writes them.
_FORMS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip

Value = str | int | float | bool


class NotGguf(InvalidRequest):
    """The file is not a GGUF file that can be read."""


def read_header(path: Path) -> dict[str, Value]:
    """The scalar values of the header by key. Raises NotGguf, OSError.

    The lists of a vocabulary are passed over; a file that declares more than HEADER_BYTES_MAX of
    them is refused.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise NotGguf(f"{path} is not a GGUF file")
        version, _, count = struct.unpack("<IQQ", _take(file, 20))
        if version not in VERSIONS or count > KEYS_MAX:
            raise NotGguf(f"{path} has a header of GGUF {version} with {count} keys")
        values: dict[str, Value] = {}
        for _ in range(count):
            key = _text(file)
            value = _value(file, struct.unpack("<I", _take(file, 4))[0], 0)
            if value is not None:
                values[key] = value
    return values


def _value(file: BinaryIO, kind: int, depth: int) -> Value | None:
    if kind == _STRING:
        return _text(file)
    if kind == _LIST:
        _skip_list(file, depth)
        return None
    form = _FORMS.get(kind)
    if form is None:
        raise NotGguf(f"The header has a value of the unknown type {kind}")
    value: Value = struct.unpack(form, _take(file, struct.calcsize(form)))[0]
    return value


def _skip_list(file: BinaryIO, depth: int) -> None:
    kind, count = struct.unpack("<IQ", _take(file, 12))
    if kind in _FORMS:
        _skip(file, count * struct.calcsize(_FORMS[kind]))
        return
    if depth >= LIST_DEPTH_MAX:
        raise NotGguf("The header has lists in lists without end")
    for _ in range(count):
        if kind == _STRING:
            _skip(file, struct.unpack("<Q", _take(file, 8))[0])
        else:
            _value(file, kind, depth + 1)


def _text(file: BinaryIO) -> str:
    size = struct.unpack("<Q", _take(file, 8))[0]
    if size > TEXT_BYTES_MAX:
        raise NotGguf(f"The header has a text of {size} bytes")
    return _take(file, size).decode("utf-8", "replace")


def _take(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size or file.tell() > HEADER_BYTES_MAX:
        raise NotGguf("The header is cut off or too long")
    return data


def _skip(file: BinaryIO, size: int) -> None:
    file.seek(size, 1)
    if file.tell() > HEADER_BYTES_MAX:
        raise NotGguf("The header is too long")
