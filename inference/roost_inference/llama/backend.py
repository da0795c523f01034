"""llama.cpp behind the Backend protocol; every guard against its asserts lives here.

llama.cpp ends the process on misuse (more rows than n_batch, an unknown sequence id), so the
arguments are checked in Python first.
"""

import ctypes
import hashlib
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from llguidance import LLTokenizer

from roost_inference.backend import DecodeStatus, Logits, Payload
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.machine import available_memory_bytes
from roost_inference.llama.threads import ThreadTuner

# Beside the KV the compute buffers and the logits take memory; below this it would be a gamble.
MEMORY_MARGIN_BYTES = 256 * 2**20


class LlamaVocabulary:
    """Tokens of a loaded model; thread-safe, as llama.cpp's vocabulary is read-only."""

    def __init__(self, model: Any) -> None:
        self._handle = bindings.vocabulary(model)
        self._pieces: dict[int, bytes] = {}
        self._grammar: LLTokenizer | None = None
        self._lock = threading.Lock()
        self.size = bindings.vocabulary_size(self._handle)
        self.end_tokens = bindings.end_tokens(self._handle)

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        return bindings.tokenize(self._handle, text, special=special)

    def token_bytes(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = bindings.token_bytes(self._handle, token, special=False)
            self._pieces[token] = piece
        return piece

    def special_text(self, token: int) -> str:
        """A control token as it is written, e.g. <|im_end|>; empty for "none"."""
        if token < 0:
            return ""
        return bindings.token_bytes(self._handle, token, special=True).decode("utf-8", "replace")

    @property
    def bos_eos(self) -> tuple[int, int]:
        return bindings.bos_eos(self._handle)

    def grammar_tokenizer(self) -> LLTokenizer:
        from llguidance.llamacpp import lltokenizer_from_vocab

        with self._lock:
            if self._grammar is None:
                eos = self.bos_eos[1]
                others = sorted(self.end_tokens - {eos})
                with warnings.catch_warnings():  # llguidance calls a function by its old name
                    warnings.simplefilter("ignore", DeprecationWarning)
                    self._grammar = lltokenizer_from_vocab(self._handle, eos_token=[eos, *others])
            return self._grammar


class LlamaBackend:
    """One model, one context, one unified KV cache."""

    def __init__(
        self,
        path: Path,
        *,
        cells: int,
        sequences: int,
        batch_tokens: int,
        outputs: int,
        threads: int,
        kv_type: str,
    ) -> None:
        self.path = path
        self._model = bindings.load_model(path)
        self._context: Any = None
        try:
            self._check_memory(cells, kv_type)
            self._context = bindings.create_context(
                self._model,
                cells=cells,
                batch=batch_tokens,
                sequences=sequences + 1,  # the last one is the scratch of block export
                outputs=max(outputs, sequences + 1),
                threads=threads,
                kv_type=kv_type,
            )
        except BaseException:
            self.close()
            raise
        self.vocabulary = LlamaVocabulary(self._model)
        self.cells = min(cells, bindings.context_cells(self._context))
        self.sequences = sequences
        self.truncates = bindings.truncates(self._model)
        self.identity = _identity(path, kv_type)
        self._scratch = sequences
        self._memory = bindings.memory(self._context)
        self._flag = ctypes.create_string_buffer(2)
        bindings.set_abort_flag(self._context, self._flag)
        self._tuner, self._threads = ThreadTuner(threads), threads
        self._capacity = batch_tokens
        self._allocate(batch_tokens)

    def _allocate(self, capacity: int) -> None:
        """Arrays the C batch points into; they live as long as this object."""
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._ids = np.zeros(capacity, np.int32)
        self._outputs = np.zeros(capacity, np.int8)
        self._counts = np.ones(capacity, np.int32)
        addresses = self._ids.ctypes.data + 4 * np.arange(capacity, dtype=np.uint64)
        self._pointers = addresses.astype(np.uint64)
        self._batch = bindings.make_batch(
            self._tokens, self._positions, self._counts, self._pointers, self._outputs
        )

    def _check_memory(self, cells: int, kv_type: str) -> None:
        """Refuse a cache that does not fit: llama.cpp zeroes it, and the kernel would kill us."""
        needed = cells * bindings.kv_bytes_per_cell(self._model, kv_type) + MEMORY_MARGIN_BYTES
        free = available_memory_bytes()
        if free is not None and needed > free:
            raise EngineUnavailable(
                f"A context of {cells} tokens needs {needed / 2**30:.1f} GiB, only "
                f"{free / 2**30:.1f} GiB are free. Set a smaller engine context_length."
            )

    @property
    def trained_context(self) -> int:
        return bindings.trained_context(self._model)

    @property
    def chat_template(self) -> str:
        return bindings.chat_template(self._model)

    def decode(self, batch: Batch) -> DecodeStatus:
        rows = batch.size
        if not 0 < rows <= self._capacity:
            raise EngineFailed(f"A batch of {rows} rows, 1 to {self._capacity} are possible")
        if not 0 <= int(batch.sequence_ids[:rows].max()) < self.sequences:
            raise EngineFailed(f"A sequence id is not below {self.sequences}")
        self._tokens[:rows] = batch.tokens[:rows]
        self._positions[:rows] = batch.positions[:rows]
        self._ids[:rows] = batch.sequence_ids[:rows]
        self._outputs[:rows] = batch.outputs[:rows]
        status = self._compute(rows)
        if status == bindings.DECODE_DONE:
            return DecodeStatus.DONE
        if status == bindings.DECODE_NO_CELLS:
            return DecodeStatus.NO_CELLS
        if status == bindings.DECODE_ABORTED:
            return DecodeStatus.ABORTED
        raise EngineFailed(f"llama.cpp failed ({status}): {bindings.recent_errors()}")

    def _compute(self, rows: int) -> int:
        """Decode the batch with as many threads as do it fastest."""
        threads = self._tuner.choose(rows)
        if threads != self._threads:
            bindings.set_threads(self._context, threads)
            self._threads = threads
        started = time.perf_counter()
        status = bindings.decode(self._context, self._batch, rows)
        if status == bindings.DECODE_DONE:
            self._tuner.observe(rows, (time.perf_counter() - started) * 1000)
        return status

    def logits(self, row: int) -> Logits:
        address = bindings.logits_address(self._context, row)
        if not address:
            raise EngineFailed(f"Row {row} of the batch has no logits")
        memory = (ctypes.c_float * self.vocabulary.size).from_address(address)
        return np.ctypeslib.as_array(memory)

    def sequence_copy(self, source: int, target: int, start: int, end: int) -> None:
        bindings.sequence_copy(self._memory, source, target, start, end)

    def sequence_remove(self, sequence: int, start: int) -> bool:
        return bindings.sequence_remove(self._memory, sequence, start)

    def sequence_end(self, sequence: int) -> int:
        return bindings.sequence_last(self._memory, sequence) + 1

    def export_block(self, sequence: int, start: int, end: int) -> Payload:
        if not 0 <= start < end <= self.sequence_end(sequence):
            raise EngineFailed(f"Positions {start} to {end} are not held")
        self.sequence_copy(sequence, self._scratch, start, end)
        try:
            payload = np.empty(
                bindings.sequence_state_bytes(self._context, self._scratch), np.uint8
            )
            address, size = payload.ctypes.data, payload.nbytes
            written = bindings.read_sequence(self._context, self._scratch, address, size)
        finally:
            self.sequence_remove(self._scratch, 0)
        if written != size:
            raise EngineFailed(f"A block was not exported: {bindings.recent_errors()}")
        return payload

    def import_block(self, sequence: int, payload: Payload) -> bool:
        payload = np.ascontiguousarray(payload)
        address, size = payload.ctypes.data, payload.nbytes
        try:
            if bindings.write_sequence(self._context, self._scratch, address, size) == 0:
                return False
            # what the blob says counts, so a block is never attached anywhere but at the end
            if bindings.sequence_first(self._memory, self._scratch) != self.sequence_end(sequence):
                return False
            bindings.sequence_copy(self._memory, self._scratch, sequence, -1, -1)
        finally:
            self.sequence_remove(self._scratch, 0)
        return True

    def interrupt(self) -> None:
        self._flag[0] = b"\x01"

    def clear_interrupt(self) -> None:
        self._flag[0] = b"\x00"

    def close(self) -> None:
        """Give back context and model; safe to call twice."""
        if self._context is not None:
            bindings.free_context(self._context)
            self._context = None
        if self._model is not None:
            bindings.free_model(self._model)
            self._model = None


def _identity(path: Path, kv_type: str) -> str:
    """Weights by content, kernels by build, and everything that changes a stored number."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(2**22):
            digest.update(chunk)
    return f"{digest.hexdigest()} {kv_type} unified flash {bindings.build_id()}"
