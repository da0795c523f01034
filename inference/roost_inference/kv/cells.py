"""The ledger of device cells: which sequence holds which cells, shared prefixes counted once.

llama.cpp's unified cache stores one token per cell and lets several sequences share a cell, but
does not tell how many are left. This ledger mirrors it: every operation here happens on the backend
as well, so no decode is tried for which cells are missing.
"""

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.int32]


class CellLedger:
    """Cells by sequence id. Numbers are the ledger's own, not llama.cpp's cell indices."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._holders: NDArray[np.int16] = np.zeros(total, np.int16)
        self._free: list[int] = list(range(total - 1, -1, -1))
        self._held: dict[int, list[int]] = {}

    @property
    def free(self) -> int:
        """Cells that no sequence holds."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Cells that one or more sequences hold."""
        return self.total - len(self._free)

    def length(self, sequence_id: int) -> int:
        """Tokens the sequence holds."""
        return len(self._held.get(sequence_id, ()))

    def extend(self, sequence_id: int, count: int) -> None:
        """Take `count` free cells for the sequence; the caller made sure there are enough."""
        if count > len(self._free):
            raise ValueError(f"{count} cells wanted, {len(self._free)} are free")
        taken = [self._free.pop() for _ in range(count)]
        self._holders[taken] = 1
        self._held.setdefault(sequence_id, []).extend(taken)

    def extend_each(self, sequence_ids: list[int]) -> None:
        """Take one free cell for each; the caller made sure there are enough."""
        taken = [self._free.pop() for _ in sequence_ids]
        for sequence_id, cell in zip(sequence_ids, taken, strict=True):
            self._held[sequence_id].append(cell)
        self._holders[taken] = 1

    def share(self, source: int, target: int, count: int) -> None:
        """Let the empty `target` hold the first `count` cells of `source`, too."""
        if self._held.get(target):
            raise ValueError(f"sequence {target} is not empty")
        cells = self._held[source][:count]
        self._holders[cells] += 1
        self._held[target] = cells

    def truncate(self, sequence_id: int, length: int) -> int:
        """Give up the cells from `length` on; returns how many became free."""
        cells = self._held.get(sequence_id, [])
        dropped = cells[length:]
        del cells[length:]
        if length == 0:
            self._held.pop(sequence_id, None)
        self._holders[dropped] -= 1
        freed = [cell for cell in dropped if self._holders[cell] == 0]
        self._free.extend(reversed(freed))
        return len(freed)

    def distinct(self, sequence_ids: list[int]) -> int:
        """Cells held by any of these sequences."""
        return int(np.count_nonzero(self._mask(sequence_ids)))

    def exclusive(self, sequence_ids: list[int], others: list[int]) -> int:
        """Cells that these sequences hold and none of the others: what evicting them frees."""
        return int(np.count_nonzero(self._mask(sequence_ids) & ~self._mask(others)))

    def check(self) -> None:
        """Raise AssertionError unless free + used = total and every holder is counted."""
        counted = np.zeros(self.total, np.int16)
        for cells in self._held.values():
            assert len(set(cells)) == len(cells), "a sequence holds a cell twice"
            counted[cells] += 1
        assert np.array_equal(counted, self._holders), "holders do not match the sequences"
        assert len(set(self._free)) == len(self._free), "a cell is free twice"
        assert not counted[self._free].any(), "a free cell is held"
        used = int(np.count_nonzero(counted))
        assert used + len(self._free) == self.total, "cells leaked"

    def _mask(self, sequence_ids: list[int]) -> NDArray[np.bool_]:
        mask = np.zeros(self.total, np.bool_)
        for sequence_id in sequence_ids:
            mask[self._held.get(sequence_id, [])] = True
        return mask
