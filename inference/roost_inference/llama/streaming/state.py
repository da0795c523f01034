"""The state of a sequence as llama.cpp writes it: checked, cut, and made to fit another context.

A state begins with a magic number, the sequence id and the number of streams of its context. For
each stream follow a number of cells and, unless that is 0, three parts:

    cells    12 bytes each: position, number of sequences (1), sequence id
    header   whether values are transposed (0), and the number of layers
    rows     for each layer the keys of all cells, then for each layer the values: number format,
             bytes of a row, and the rows

None of this is documented. So the layout is read once from a state whose cells are known, and every
state is compared with it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roost_inference.backend import Payload

MAGIC = 0xAF143CD8
HEAD_BYTES = 12
CELL_BYTES = 12
_COUNT_BYTES = 4
_PARTS_HEADER_BYTES = 8
_ROWS_HEADER_BYTES = 12


class UnknownLayout(Exception):
    """A state is not laid out as these functions expect."""


@dataclass(frozen=True, slots=True)
class StateLayout:
    """Bytes of a row of keys or values, in the order of a state: keys of all layers, values of all
    layers."""

    rows: tuple[int, ...]

    def size(self, cells: int, streams: int = 1) -> int:
        """Bytes of a state of this many cells from a context of this many streams."""
        per_cell = CELL_BYTES + sum(self.rows)
        headers = _PARTS_HEADER_BYTES + _ROWS_HEADER_BYTES * len(self.rows)
        return HEAD_BYTES + _COUNT_BYTES * streams + (headers + cells * per_cell if cells else 0)

    def check(self, state: Payload, cells: int) -> None:
        """Raise UnknownLayout unless it is a state of this many cells from one stream."""
        magic, streams, count = _words(state, 0)[0], _words(state, 8)[0], _words(state, 12)[0]
        if (magic, streams, count) != (MAGIC, 1, cells) or len(state) != self.size(cells):
            raise UnknownLayout(
                f"{len(state)} bytes, magic {magic:#x}, {streams} streams, {count} cells; "
                f"{self.size(cells)} bytes and {cells} cells were expected"
            )

    def from_position(self, state: Payload, start: int) -> Payload:
        """A state of the cells of `state` whose positions are not below `start`."""
        count = int(_words(state, 12)[0])
        at = HEAD_BYTES + _COUNT_BYTES
        cells = state[at : at + count * CELL_BYTES].reshape(count, CELL_BYTES)
        chosen = np.flatnonzero(_positions(cells) >= start)
        tail = np.empty(self.size(len(chosen)), np.uint8)
        tail[:HEAD_BYTES] = state[:HEAD_BYTES]
        tail[HEAD_BYTES:at] = np.array([len(chosen)], np.uint32).view(np.uint8)
        to = at + len(chosen) * CELL_BYTES
        tail[at:to].reshape(-1, CELL_BYTES)[:] = cells[chosen]
        at += count * CELL_BYTES
        tail[to : to + _PARTS_HEADER_BYTES] = state[at : at + _PARTS_HEADER_BYTES]
        at, to = at + _PARTS_HEADER_BYTES, to + _PARTS_HEADER_BYTES
        for row in self.rows:
            tail[to : to + _ROWS_HEADER_BYTES] = state[at : at + _ROWS_HEADER_BYTES]
            at, to = at + _ROWS_HEADER_BYTES, to + _ROWS_HEADER_BYTES
            kept = state[at : at + count * row].reshape(count, row)[chosen]
            tail[to : to + kept.size] = kept.reshape(-1)
            at, to = at + count * row, to + kept.size
        return tail


def read_layout(state: Payload, cells: int, row_bytes: int) -> StateLayout:
    """The layout of a state of positions 0 to `cells` from one stream. Raises UnknownLayout if it
    does not add up. row_bytes: of all keys and values of a cell, as the model says."""
    if len(state) < 16 or tuple(_words(state, 0, 4)[[0, 2, 3]]) != (MAGIC, 1, cells):
        raise UnknownLayout("the state begins with other numbers")
    at = HEAD_BYTES + _COUNT_BYTES
    table = state[at : at + cells * CELL_BYTES].reshape(cells, CELL_BYTES)
    if sorted(_positions(table)) != list(range(cells)) or (_fields(table, 4) != 1).any():
        raise UnknownLayout("the cells have more than a position and a sequence")
    at += cells * CELL_BYTES
    transposed, layers = _words(state, at, 2).tolist()
    if transposed or not layers:
        raise UnknownLayout("values are transposed")
    at += _PARTS_HEADER_BYTES
    rows: list[int] = []
    while at < len(state):
        row = int(state[at + 4 : at + _ROWS_HEADER_BYTES].copy().view(np.uint64)[0])
        rows.append(row)
        at += _ROWS_HEADER_BYTES + cells * row
    layout = StateLayout(tuple(rows))
    if at != len(state) or len(rows) != 2 * layers or sum(rows) != row_bytes:
        raise UnknownLayout(f"{len(rows)} parts of {sum(rows)} bytes a cell in {layers} layers")
    layout.check(state, cells)
    return layout


def for_streams(buffer: Payload, size: int, streams: int) -> Payload:
    """The state in the first `size` bytes of `buffer`, changed there for a context of so many
    streams: its cells come first, and the other streams are empty."""
    _put(buffer, 8, streams)
    end = size + _COUNT_BYTES * (streams - 1)
    buffer[size:end] = 0
    return buffer[:end]


def from_stream(buffer: Payload, size: int, streams: int, stream: int) -> Payload:
    """The state in the first `size` bytes of `buffer`, read from one of so many streams, changed
    there to one of a context with a single stream. Raises UnknownLayout."""
    counts = _words(buffer, HEAD_BYTES, stream + 1)
    behind = _words(buffer, size - _COUNT_BYTES * (streams - 1 - stream), streams - 1 - stream)
    if tuple(_words(buffer, 0, 3)[[0, 2]]) != (MAGIC, streams):
        raise UnknownLayout("the state begins with other numbers")
    if counts[:-1].any() or behind.any():
        raise UnknownLayout("more than one stream holds cells of the sequence")
    begin = _COUNT_BYTES * stream
    _put(buffer, begin, MAGIC)
    _put(buffer, begin + 4, 0)
    _put(buffer, begin + 8, 1)
    return buffer[begin : size - _COUNT_BYTES * (streams - 1 - stream)]


def _words(state: Payload, at: int, count: int = 1) -> NDArray[np.uint32]:
    return state[at : at + 4 * count].copy().view(np.uint32)


def _put(state: Payload, at: int, word: int) -> None:
    state[at : at + 4] = np.array([word], np.uint32).view(np.uint8)


def _positions(cells: Payload) -> NDArray[np.int32]:
    return _fields(cells, 0)


def _fields(cells: Payload, at: int) -> NDArray[np.int32]:
    """The number at this byte of each cell."""
    return np.ascontiguousarray(cells[:, at : at + 4]).view(np.int32).reshape(-1)
