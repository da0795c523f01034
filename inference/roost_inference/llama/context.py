"""One llama.cpp context: a KV cache, the batch it computes, and checks before every call.

llama.cpp ends the process on misuse (more rows than n_batch, an unknown sequence id), so the
arguments are checked in Python first.

Layers with sliding attention see the last tokens alone, and llama.cpp gives the cells of tokens
that their only sequence sees no more to others, even with a cache for all tokens (find_slot).
Forks, rollbacks and exported blocks would miss them without a word. So every sequence of such a
model has a shadow: a second id that holds the same cells, which are kept then.
"""

import ctypes
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from roost_inference.backend import DecodeStatus, Features, Logits, Payload, Rows
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.threads import ThreadTuner

SEQUENCES_MAX = 256  # llama.cpp's LLAMA_MAX_SEQ

_STATUS = {
    bindings.DECODE_DONE: DecodeStatus.DONE,
    bindings.DECODE_NO_CELLS: DecodeStatus.NO_CELLS,
    bindings.DECODE_ABORTED: DecodeStatus.ABORTED,
}


class LlamaContext:
    """Sequences in one KV cache. Used by one thread at a time."""

    def __init__(
        self,
        model: Any,
        *,
        cells: int,
        sequences: int,
        batch_tokens: int,
        outputs: int,
        threads: int,
        kv_type: str,
        abort_flag: Any,
        unified: bool = True,
    ) -> None:
        """abort_flag: see bindings.set_abort_flag. unified: the sequences share the cells; if not,
        each has `cells` of its own, and only whole sequences can be read and replaced. Raises
        EngineUnavailable."""
        # A state that can't be cut is never shared, so nothing is missed.
        window = bindings.sliding_window(model) if bindings.truncates(model) else 0
        # The last sequence of a unified cache is the scratch of block export.
        ids = sequences + unified
        self._ids_per_row, ids = (2, 2 * ids) if window else (1, ids)
        if ids > SEQUENCES_MAX:
            raise EngineUnavailable(
                f"A model with sliding attention takes two ids for each sequence: set the engine's "
                f"max_sequences to {SEQUENCES_MAX // 2 - 1} at most"
            )
        # A longer piece can't be exported: its first tokens are out of its last one's sight.
        self.export_tokens_max = window or sys.maxsize
        self._context: Any = bindings.create_context(
            model,
            cells=cells if unified else cells * sequences,
            batch=batch_tokens,
            sequences=ids,
            outputs=max(outputs, ids),
            threads=threads,
            kv_type=kv_type,
            unified=unified,
        )
        total = bindings.context_cells(self._context)
        self.cells = min(cells, total if unified else total // sequences)
        self.sequences = sequences
        self._scratch = sequences
        self._shadow = sequences + 1
        self._memory = bindings.memory(self._context)
        if not self._memory or bindings.encodes(model):
            self.close()
            raise EngineUnavailable(
                f"A model of the architecture {bindings.architecture(model)} can't write answers. "
                "One that makes vectors of texts belongs in the engine's embedding_model."
            )
        self._vocabulary_size = bindings.vocabulary_size(bindings.vocabulary(model))
        bindings.set_abort_flag(self._context, abort_flag)
        self._tuner, self._threads, self._threads_most = ThreadTuner(threads), threads, threads
        # The layers whose inputs the next decodes keep, and those that the last one kept.
        self.taps: tuple[int, ...] = ()
        self._tapped: tuple[int, ...] = ()
        self.model = model
        self.layers_and_width = bindings.layers_and_width(model)
        self._width = self.layers_and_width[1]
        # Fewer threads than the tuner would take, while others compute as well.
        self.threads_max: int | None = None
        # Whether the tuner learns from decodes: not from those that others may slow down.
        self.tunes = True
        self._capacity = batch_tokens
        # Views by address: making one costs more than a greedy choice from it.
        self._logits: dict[int, Logits] = {}
        self._allocate(batch_tokens)

    def _allocate(self, capacity: int) -> None:
        """Arrays the C batch points into; they live as long as this object."""
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._ids = np.zeros((capacity, self._ids_per_row), np.int32)
        self._outputs = np.zeros(capacity, np.int8)
        self._counts = np.full(capacity, self._ids_per_row, np.int32)
        step = self._ids.strides[0]
        addresses = self._ids.ctypes.data + step * np.arange(capacity, dtype=np.uint64)
        self._pointers = addresses.astype(np.uint64)
        self._batch = bindings.make_batch(
            self._tokens, self._positions, self._counts, self._pointers, self._outputs
        )

    @property
    def handle(self) -> Any:
        """The context as the bindings know it, for one that shares its model's weights."""
        return self._context

    def decode(self, batch: Batch, *, sequence: int | None = None) -> DecodeStatus:
        """See Backend.decode. `sequence` replaces the sequence ids of all rows."""
        rows = batch.size
        if not 0 < rows <= self._capacity:
            raise EngineFailed(f"A batch of {rows} rows, 1 to {self._capacity} are possible")
        ids = self._ids[:rows]
        ids[:, 0] = batch.sequence_ids[:rows] if sequence is None else sequence
        if self._ids_per_row == 2:
            ids[:, 1] = ids[:, 0] + self._shadow
        highest = sequence if sequence is not None else int(batch.sequence_ids[:rows].max())
        if not 0 <= highest < self.sequences:
            raise EngineFailed(f"A sequence id is not below {self.sequences}")
        self._tokens[:rows] = batch.tokens[:rows]
        self._positions[:rows] = batch.positions[:rows]
        self._outputs[:rows] = batch.outputs[:rows]
        status = _STATUS.get(code := self._compute(rows, batch.is_exact))
        if status is not DecodeStatus.DONE and self._ids_per_row == 2:
            self._even_out(np.unique(ids[:, 0]))
        if status is None:
            raise EngineFailed(f"llama.cpp failed ({code}): {bindings.recent_errors()}")
        return status

    def _even_out(self, sequences: Iterable[int]) -> None:
        """llama.cpp takes an unfinished batch back from the first id of each row alone."""
        for sequence in map(int, sequences):
            end = self.end(sequence)
            bindings.sequence_remove(self._memory, sequence + self._shadow, end)

    def _compute(self, rows: int, is_exact: bool) -> int:
        """Decode the batch with the number of threads that is fastest for its size, or all."""
        limit = self.threads_max if self.threads_max or not is_exact else self._threads_most
        threads = self._tuner.choose(rows) if limit is None else limit
        if threads != self._threads:
            bindings.set_threads(self._context, threads)
            self._threads = threads
        if self.taps != self._tapped:
            self._set_taps()
        started = time.perf_counter()
        status = bindings.decode(self._context, self._batch, rows)
        if status == bindings.DECODE_DONE and limit is None and self.tunes:
            self._tuner.observe(rows, (time.perf_counter() - started) * 1000)
        return status

    def _set_taps(self) -> None:
        """Tap the wanted layers. Done right before a decode: it may run on another thread."""
        for layer in set(self.taps) ^ set(self._tapped):
            bindings.set_tap(self._context, layer, layer in self.taps)
        self._tapped = self.taps

    def features(self, rows: Rows, into: Features) -> bool:
        """Copy the inputs of the tapped layers, side by side, for these rows of the last decode.
        False if it kept none, or those of other layers."""
        if len(self._tapped) * self._width != into.shape[1]:
            return False
        shape = self._capacity, self._width
        for at, layer in enumerate(self._tapped):
            memory = bindings.tap_address(self._context, layer)
            inputs = np.ctypeslib.as_array(
                (ctypes.c_float * (shape[0] * shape[1])).from_address(memory)
            )
            into[:, at * self._width : (at + 1) * self._width] = inputs.reshape(shape)[rows]
        return True

    def logits(self, row: int) -> Logits:
        """A view of the row's logits, valid until the next decode."""
        address = bindings.logits_address(self._context, row)
        if not address:
            raise EngineFailed(f"Row {row} of the batch has no logits")
        view = self._logits.get(address)
        if view is None:
            if len(self._logits) >= self._capacity:
                self._logits.clear()  # llama.cpp has moved its buffer many times
            memory = (ctypes.c_float * self._vocabulary_size).from_address(address)
            view = self._logits[address] = np.ctypeslib.as_array(memory)
        return view

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Let `target` share the cells of positions [start, end) of `source`."""
        bindings.sequence_copy(self._memory, source, target, start, end)
        if self._ids_per_row == 2:
            bindings.sequence_copy(self._memory, source, target + self._shadow, start, end)

    def remove(self, sequence: int, start: int) -> bool:
        """Remove positions from `start` on; False if the model cannot."""
        if self._ids_per_row == 2:
            bindings.sequence_remove(self._memory, sequence + self._shadow, start)
        return bindings.sequence_remove(self._memory, sequence, start)

    def end(self, sequence: int) -> int:
        """One past the last position held."""
        return bindings.sequence_last(self._memory, sequence) + 1

    def export(self, sequence: int, start: int, end: int) -> Payload:
        """A copy of the KV of positions [start, end). Raises EngineFailed."""
        if not 0 <= start < end <= self.end(sequence):
            raise EngineFailed(f"Positions {start} to {end} are not held")
        if end - start > self.export_tokens_max:
            raise EngineFailed(f"At most {self.export_tokens_max} tokens can be exported at once")
        self.copy(sequence, self._scratch, start, end)
        try:
            payload = np.empty(
                bindings.sequence_state_bytes(self._context, self._scratch), np.uint8
            )
            address, size = payload.ctypes.data, payload.nbytes
            written = bindings.read_sequence(self._context, self._scratch, address, size)
        finally:
            self.remove(self._scratch, 0)
        if written != size:
            raise EngineFailed(f"A block was not exported: {bindings.recent_errors()}")
        return payload

    def append(self, sequence: int, payload: Payload) -> bool:
        """Add exported KV to a sequence that ends where it starts. False if the kernels refuse
        it; the sequence is unchanged then."""
        payload = np.ascontiguousarray(payload)
        address, size = payload.ctypes.data, payload.nbytes
        try:
            if bindings.write_sequence(self._context, self._scratch, address, size) == 0:
                return False
            # The payload names its positions: a block is never attached anywhere but at the end.
            if bindings.sequence_first(self._memory, self._scratch) != self.end(sequence):
                return False
            self.copy(self._scratch, sequence, -1, -1)
        finally:
            self.remove(self._scratch, 0)
        return True

    def remove_before(self, sequence: int, end: int) -> bool:
        """Remove positions before `end`; False if the model cannot."""
        return bindings.sequence_remove_before(self._memory, sequence, end)

    def read(self, sequence: int, buffer: Payload) -> int:
        """Copy the whole state of a sequence to the beginning of `buffer`. Returns its bytes;
        raises EngineFailed if that is not possible."""
        size = bindings.read_sequence(self._context, sequence, buffer.ctypes.data, buffer.nbytes)
        if size == 0:
            raise EngineFailed(f"A sequence was not copied: {bindings.recent_errors()}")
        return size

    def read_scratch(self, sequence: int, end: int, buffer: Payload) -> int:
        """The same for the positions before `end`, by way of the scratch sequence."""
        self.copy(sequence, self._scratch, 0, end)
        try:
            return self.read(self._scratch, buffer)
        finally:
            self.remove(self._scratch, 0)

    def replace(self, sequence: int, state: Payload) -> bool:
        """Let a sequence hold a state of `read` and nothing else. False if the kernels refuse it;
        the sequence is empty then."""
        if (
            bindings.write_sequence(self._context, sequence, state.ctypes.data, state.nbytes)
            != state.nbytes
        ):
            self.remove(sequence, 0)
            return False
        return True

    def set_abort_flag(self, flag: Any) -> None:
        """Let decodes watch this flag from now on; see bindings.set_abort_flag."""
        bindings.set_abort_flag(self._context, flag)

    def pass_gate(self, gate: bindings.Gate) -> None:
        """Let decodes pass this gate from now on, and watch no flag."""
        gate.watch(self._context)

    def close(self) -> None:
        """Give the context back; safe to call twice."""
        if self._context is not None:
            bindings.free_context(self._context)
            self._context = None
