"""Rows of one decode step under one token budget."""

from collections.abc import Sequence as Many

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
# Rows that llama.cpp's attention computes together, where there are as many of one sequence.
TILE_ROWS = 64


class Batch:
    """Up to `capacity` rows as parallel int32 arrays: token, position, sequence id, and an int8
    flag for rows whose logits are wanted. Reused from step to step; knows nothing of kernels."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        # Whether its rows are of the only sequence that runs.
        self.is_alone = False
        # Whether it is computed with all threads: another number of them sums in another order.
        self.is_exact = False
        self.tokens: Tokens = np.zeros(capacity, np.int32)
        self.positions: Tokens = np.zeros(capacity, np.int32)
        self.sequence_ids: Tokens = np.zeros(capacity, np.int32)
        self.outputs: NDArray[np.int8] = np.zeros(capacity, np.int8)

    @property
    def rows_left(self) -> int:
        """How many more rows fit."""
        return self.capacity - self.size

    def clear(self) -> None:
        """Remove all rows."""
        self.size = 0
        self.is_alone = self.is_exact = False

    def add(
        self,
        tokens: Tokens | Many[int],
        position: int,
        sequence_id: int,
        output: bool = False,
        *,
        every_output: bool = False,
    ) -> int:
        """Append consecutive tokens of one sequence from `position` on; with `output` the last
        row yields logits, with `every_output` all do. Returns the index of that last row."""
        count = len(tokens)
        if not 0 < count <= self.rows_left:
            raise ValueError(f"{count} rows do not fit, {self.rows_left} are left")
        rows = slice(self.size, self.size + count)
        self.tokens[rows] = tokens
        self.positions[rows] = np.arange(position, position + count, dtype=np.int32)
        self.sequence_ids[rows] = sequence_id
        self.outputs[rows] = every_output
        self.size += count
        self.outputs[self.size - 1] = output or every_output
        return self.size - 1

    def add_last(self, tokens: list[int], positions: list[int], sequence_ids: list[int]) -> None:
        """Append one row each of several sequences, all with logits."""
        rows = slice(self.size, self.size + len(tokens))
        if rows.stop > self.capacity:
            raise ValueError(f"{len(tokens)} rows do not fit, {self.rows_left} are left")
        self.tokens[rows] = tokens
        self.positions[rows] = positions
        self.sequence_ids[rows] = sequence_ids
        self.outputs[rows] = 1
        self.size = rows.stop

    def take(self, other: "Batch", rows: NDArray[np.intp]) -> None:
        """Hold these rows of another batch, in this order, and nothing else."""
        self.size = len(rows)
        held = slice(0, self.size)
        self.tokens[held] = other.tokens[rows]
        self.positions[held] = other.positions[rows]
        self.sequence_ids[held] = other.sequence_ids[rows]
        self.outputs[held] = other.outputs[rows]
