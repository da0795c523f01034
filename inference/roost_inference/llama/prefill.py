"""A context of its own for prefill: one prompt at a time, moved to the main context afterwards.

In the unified KV cache the attention of every row goes over the cells of all sequences, and masked
cells cost time: with three other conversations on the device prefill is a fifth slower. Here a
prompt is alone, and its cells lie in the order of its tokens, so its KV does not depend on other
sequences, to the last bit. The context is a write-back cache in front of the main one:

    [0, stored)     in both
    [stored, end)   here only, until `flush` copies it to the main context

LlamaBackend flushes a sequence before the main context needs it.

A piece may also be computed in the background: between `begin` and `finish` nothing here may be
used.
"""

from collections.abc import Callable
from typing import Any

from roost_inference.backend import DecodeStatus, Payload
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.llama.context import LlamaContext
from roost_inference.llama.piece import BackgroundPiece

# Fewer rows are computed where the sequence is: moving it costs more than is saved.
ROWS_MIN = 16
# KV moves between the contexts in pieces of this many tokens, which bounds the memory for it.
MOVE_TOKENS = 1024

_ONLY = 0


class PrefillContext:
    """Holds at most one sequence of the main context, under an id of its own."""

    def __init__(self, context: LlamaContext, main: LlamaContext, flag: Any) -> None:
        """flag: the abort flag of steps. A piece in the background does not watch it."""
        self.context = context
        self.piece = BackgroundPiece(context, _ONLY, flag)
        self._main = main
        self.held: int | None = None
        self._end = 0
        self._stored = 0
        self._move_tokens = min(MOVE_TOKENS, main.export_tokens_max)

    def end(self, sequence: int) -> int:
        """One past the last position held of a sequence, 0 for any other than the one here."""
        return self._end if sequence == self.held else 0

    def wants(self, batch: Batch) -> bool:
        """Whether the batch is of one sequence and fits here: a piece of a prompt, rows that
        continue the sequence held, or whatever the only running sequence needs. So an answer that
        is generated alone is computed here, too, and is the same whether its KV was loaded or
        never left."""
        rows, first = batch.size, int(batch.sequence_ids[0])
        goes_on = first == self.held and int(batch.positions[0]) == self._end
        goes_on = goes_on or batch.is_alone
        if not goes_on and rows < ROWS_MIN:
            return False
        if int(batch.positions[rows - 1]) >= self.context.cells:
            return False
        if rows > 1 and not (batch.sequence_ids[:rows] == first).all():
            return False
        return goes_on or int(batch.outputs[: rows - 1].max()) == 0

    def decode(self, batch: Batch) -> DecodeStatus:
        """Compute a batch that `wants` accepted; its logits are this context's."""
        self._hold(int(batch.sequence_ids[0]), int(batch.positions[0]))
        status = self.context.decode(batch, sequence=_ONLY)
        self._end = self.context.end(_ONLY)
        return status

    @property
    def is_busy(self) -> bool:
        """Whether a piece is being computed."""
        return self.piece.is_busy

    def begin(self, batch: Batch, threads: int, on_end: Callable[[], None]) -> None:
        """Start to compute a batch that `wants` accepted; see BackgroundPiece."""
        self._hold(int(batch.sequence_ids[0]), int(batch.positions[0]))
        self.piece.begin(batch, threads, on_end)

    def finish(self, *, wait: bool) -> DecodeStatus | None:
        """How the piece ended, None if it is still being computed. Raises what decoding raised."""
        was_busy = self.is_busy
        try:
            return self.piece.finish(wait=wait)
        finally:
            if was_busy and not self.is_busy:
                self._end = self.context.end(_ONLY)

    def _hold(self, sequence: int, length: int) -> None:
        """Hold the first `length` tokens of the sequence and nothing else."""
        if sequence != self.held:
            self.flush()
            self.forget()
            self.held = sequence
        for start in range(self._end, length, self._move_tokens):
            piece = self._main.export(sequence, start, min(start + self._move_tokens, length))
            self._append(piece)
            self._stored = self._end
        if self._end != length:
            raise EngineFailed(f"A prompt goes on at {length}, but {self._end} tokens were read")

    def _append(self, payload: Payload) -> None:
        if not self.context.append(_ONLY, payload):
            self.forget()
            raise EngineFailed("KV could not be moved to the prefill context")
        self._end = self.context.end(_ONLY)

    def flush(self) -> None:
        """Copy to the main context what only this one has. Raises EngineFailed if the main
        context has no cells for it, which the ledger rules out."""
        held = self.held
        if held is None:
            return
        for start in range(self._stored, self._end, self._move_tokens):
            end = min(start + self._move_tokens, self._end)
            if not self._main.append(held, self.context.export(_ONLY, start, end)):
                raise EngineFailed("KV could not be moved from the prefill context")
            self._stored = end

    def appended(self, sequence: int, start: int, payload: Payload) -> None:
        """A block that begins at `start` was appended to the sequence in the main context. Take it
        here as well if this context is free: prefill of the sequence comes next."""
        if self.is_busy:
            return
        if sequence != self.held and start == 0 and self._stored == self._end:
            self.forget()
            self.held = sequence
        fits = self._main.end(sequence) <= self.context.cells
        if sequence == self.held and start == self._stored == self._end and fits:
            self._append(payload)
            self._stored = self._end

    def holds_alone(self, sequence: int, end: int) -> bool:
        """Whether only this context has the positions up to `end`."""
        return sequence == self.held and self._stored < min(end, self._end)

    @property
    def stored(self) -> int:
        """How many leading positions of the sequence held the main context has as well."""
        return self._stored

    def can_hand_over(self, sequence: int) -> bool:
        """Whether all of the sequence is here, so that it can be read here."""
        is_whole = sequence == self.held and self._end >= self._main.end(sequence)
        return is_whole and not self.is_busy

    def read(self, buffer: Payload) -> int:
        """Copy the state of the sequence held to a buffer; returns its bytes."""
        return self.context.read(_ONLY, buffer)

    def export(self, start: int, end: int) -> Payload:
        """The KV of positions [start, end) of the sequence held."""
        return self.context.export(_ONLY, start, end)

    def remove(self, sequence: int, start: int) -> None:
        """Forget the positions of the sequence from `start` on."""
        if sequence != self.held:
            return
        if start == 0:
            self.forget()
            return
        self.context.remove(_ONLY, start)
        self._end = min(self._end, start)
        self._stored = min(self._stored, start)

    def forget(self) -> None:
        """Hold nothing; what was not flushed is lost."""
        self.context.remove(_ONLY, 0)
        self.held, self._end, self._stored = None, 0, 0

    def close(self) -> None:
        """End the piece being computed."""
        self.piece.close()
