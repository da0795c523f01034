"""Reads the header of a GGUF file without loading llama.cpp: its keys, and the list of tensors."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from roost_inference.errors import InvalidRequest

HEADER_BYTES_MAX = 64 * 2**20
KEYS_MAX = 4096
TEXT_BYTES_MAX = 2**20
LIST_DEPTH_MAX = 4
# Longer lists of numbers, and all lists of texts, are passed over.
LIST_KEPT_MAX = 4096
TENSORS_MAX = 2**16
DIMENSIONS_MAX = 4
ALIGNMENT = 32
VERSIONS = (2, 3)

_STRING, _LIST = 8, 9
# The types of a value: their number in the file, and how `struct` writes them.
_FORMS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip

Value = str | int | float | bool


Numbers = tuple[int | float | bool, ...]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor of the file. sizes: as numpy orders them; kind: llama.cpp's number of the format;
    place: where its bytes begin in the file."""

    sizes: tuple[int, ...]
    kind: int
    place: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What a GGUF file says of itself: values and short lists of numbers by key, and tensors."""

    values: Mapping[str, Value]
    lists: Mapping[str, Numbers]
    tensors: Mapping[str, TensorInfo]


class NotGguf(InvalidRequest):
    """The file is not a GGUF file that can be read."""


def read_header(path: Path) -> dict[str, Value]:
    """The scalar values of the header by key. Raises NotGguf, OSError.

    The lists of a vocabulary are passed over; a file that declares more than HEADER_BYTES_MAX of
    them is refused.
    """
    with path.open("rb") as file:
        _, values, _ = _keys(file, path)
    return values


def read_contents(path: Path) -> Contents:
    """Values, short lists of numbers and the list of tensors. Raises NotGguf, OSError."""
    with path.open("rb") as file:
        count, values, lists = _keys(file, path)
        if count > TENSORS_MAX:
            raise NotGguf(f"{path} has {count} tensors")
        raw: list[tuple[str, tuple[int, ...], int, int]] = []
        for _ in range(count):
            name, dimensions = _text(file), struct.unpack("<I", _take(file, 4))[0]
            if not 0 < dimensions <= DIMENSIONS_MAX:
                raise NotGguf(f"{path} has a tensor of {dimensions} dimensions")
            sizes = struct.unpack(f"<{dimensions}Q", _take(file, 8 * dimensions))[::-1]
            kind, offset = struct.unpack("<IQ", _take(file, 12))
            raw.append((name, sizes, kind, offset))
        align = values.get("general.alignment", ALIGNMENT)
        step = align if isinstance(align, int) and align > 0 else ALIGNMENT
        begin = -(-file.tell() // step) * step
    tensors = {name: TensorInfo(sizes, kind, begin + at) for name, sizes, kind, at in raw}
    return Contents(values, lists, tensors)


def raw_keys(path: Path, prefix: str) -> dict[str, bytes]:
    """The values of the keys with this prefix as they lie in the file, type first, for `write_gguf`
    to copy. Raises NotGguf, OSError."""
    found: dict[str, bytes] = {}
    with path.open("rb") as file:
        for key, begin, end, _ in _spans(file, path, []):
            if key.startswith(prefix):
                file.seek(begin)
                found[key] = file.read(end - begin)
    return found


def _keys(file: BinaryIO, path: Path) -> tuple[int, dict[str, Value], dict[str, Numbers]]:
    """How many tensors there are, and the values and lists of numbers by key."""
    tensors: list[int] = []
    values: dict[str, Value] = {}
    lists: dict[str, Numbers] = {}
    for key, _, _, value in _spans(file, path, tensors):
        if isinstance(value, tuple):
            lists[key] = value
        elif value is not None:
            values[key] = value
    return tensors[0], values, lists


def _spans(
    file: BinaryIO, path: Path, tensors: list[int]
) -> Iterator[tuple[str, int, int, Value | Numbers | None]]:
    """Each key, where its value begins and ends, and the value. Notes the number of tensors."""
    if file.read(4) != b"GGUF":
        raise NotGguf(f"{path} is not a GGUF file")
    version, tensor_count, count = struct.unpack("<IQQ", _take(file, 20))
    if version not in VERSIONS or count > KEYS_MAX:
        raise NotGguf(f"{path} has a header of GGUF {version} with {count} keys")
    tensors.append(tensor_count)
    for _ in range(count):
        key, begin = _text(file), file.tell()
        value = _value(file, struct.unpack("<I", _take(file, 4))[0], 0)
        yield key, begin, file.tell(), value


def _value(file: BinaryIO, kind: int, depth: int) -> Value | Numbers | None:
    if kind == _STRING:
        return _text(file)
    if kind == _LIST:
        return _list(file, depth)
    form = _FORMS.get(kind)
    if form is None:
        raise NotGguf(f"The header has a value of the unknown type {kind}")
    value: Value = struct.unpack(form, _take(file, struct.calcsize(form)))[0]
    return value


def _list(file: BinaryIO, depth: int) -> Numbers | None:
    """A short list of numbers; None for any other, which is passed over."""
    kind, count = struct.unpack("<IQ", _take(file, 12))
    form = _FORMS.get(kind)
    if form is not None and count <= LIST_KEPT_MAX:
        return struct.unpack(f"<{count}{form[1]}", _take(file, count * struct.calcsize(form)))
    if form is not None:
        _skip(file, count * struct.calcsize(form))
        return None
    if depth >= LIST_DEPTH_MAX:
        raise NotGguf("The header has lists in lists without end")
    for _ in range(count):
        if kind == _STRING:
            _skip(file, struct.unpack("<Q", _take(file, 8))[0])
        else:
            _value(file, kind, depth + 1)
    return None


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
