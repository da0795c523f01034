"""A second context in which every answer has a KV cache for itself, a stream.

In the unified cache each row walks over the cells of all sequences, and a masked cell costs time,
too: with sixteen answers of 400 tokens a step takes nearly twice as long as in streams. So the
unified context is the library, where sequences are shared, paged and read, and answers that are
written side by side are copied to streams. See StreamPool for who is where.
"""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from roost_inference.backend import DecodeStatus, Features, Logits, Payload, Rows
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed
from roost_inference.llama.context import LlamaContext
from roost_inference.llama.prefill import PrefillContext
from roost_inference.llama.streaming.pool import StreamPool
from roost_inference.llama.streaming.state import (
    HEAD_BYTES,
    StateLayout,
    UnknownLayout,
    for_streams,
    from_stream,
    read_layout,
)

log = logging.getLogger(__name__)

# The test of the layout: tokens of a made-up sequence, and how far its logits may differ.
TRIAL_TOKENS = 5
TRIAL_DIFFERENCE = 1e-3


class LlamaMover:
    """Implements StreamMover between the contexts of a model."""

    def __init__(
        self,
        context: LlamaContext,
        library: LlamaContext,
        prefill: PrefillContext | None,
        layout: StateLayout,
    ) -> None:
        self._context = context
        self._library = library
        self._prefill = prefill
        self._layout = layout
        streams = context.sequences
        # States on their way; kept and touched here, as fresh memory costs more than copying.
        size = layout.size(context.cells, streams) + 4 * streams
        self._buffer: Payload = np.full(size, 0, np.uint8)

    def enter(self, sequence: int, stream: int) -> int | None:
        """See StreamMover. A prompt just read comes straight from the prefill context."""
        prefill, library = self._prefill, self._library
        if prefill is not None and prefill.can_hand_over(sequence):
            end, stored = prefill.end(sequence), prefill.stored
            size = prefill.read(self._buffer)
        else:
            prefill, end = None, library.end(sequence)
            stored, size = end, library.read_scratch(sequence, end, self._buffer)
        try:
            self._layout.check(self._buffer[:size], end)
        except UnknownLayout as error:
            log.warning("Answers get no KV of their own any more: %s", error)
            return None
        if not self._context.replace(
            stream, for_streams(self._buffer, size, self._context.sequences)
        ):
            log.warning("Answers get no KV of their own any more: the kernels refuse it")
            return None
        if prefill is not None:
            prefill.forget()
        return stored

    def store(self, stream: int, sequence: int, start: int) -> None:
        """See StreamMover."""
        if start < self.end(stream):
            self._append(sequence, self._layout.from_position(self._read(stream), start))

    def leave(self, stream: int, sequence: int, start: int) -> None:
        """See StreamMover."""
        if start < self.end(stream):
            if start and not self._context.remove_before(stream, start):
                raise EngineFailed("The beginning of a stream can't be removed")
            self._append(sequence, self._read(stream))
        self._context.remove(stream, 0)

    def _read(self, stream: int) -> Payload:
        streams = self._context.sequences
        size = self._context.read(stream, self._buffer)
        try:
            return from_stream(self._buffer, size, streams, stream)
        except UnknownLayout as error:
            raise EngineFailed(f"A stream can't be read: {error}") from error

    def _append(self, sequence: int, state: Payload) -> None:
        if not self._library.append(sequence, state):
            raise EngineFailed("KV could not be moved from a stream")

    def move(self, source: int, target: int) -> None:
        """See StreamMover."""
        size = self._context.read(source, self._buffer)
        if not self._context.replace(target, self._buffer[:size]):
            raise EngineFailed("KV could not be moved to another stream")
        self._context.remove(source, 0)

    def cut(self, stream: int, start: int) -> None:
        """See StreamMover."""
        self._context.remove(stream, start)

    def end(self, stream: int) -> int:
        """See StreamMover."""
        return self._context.end(stream)


class StreamDecoder:
    """Computes steps of answers, those in streams apart from the others."""

    def __init__(
        self, context: LlamaContext, pool: StreamPool, *, sequences: int, capacity: int
    ) -> None:
        """sequences: of the library; capacity: rows of a step."""
        self.context = context
        self.pool = pool
        self._inside, self._outside = Batch(capacity), Batch(capacity)
        self._stream_of = np.full(sequences, -1, np.int32)
        # By row of the last step: its row in its context, and whether that is the streams'.
        self._rows: list[int] = []
        self._is_inside: list[bool] = []
        self._others = context

    def arrange(self, batch: Batch) -> bool:
        """Whether rows of the batch are to be computed in streams; then `decode` is next."""
        streams = self.pool.arrange(batch)
        if streams:
            self._stream_of.fill(-1)
            for sequence, stream in streams.items():
                self._stream_of[sequence] = stream
        return bool(streams)

    def decode(
        self, batch: Batch, others: Callable[[Batch], tuple[DecodeStatus, LlamaContext]]
    ) -> DecodeStatus:
        """Compute a batch that was arranged. others: computes rows of sequences without a stream,
        and says in which context."""
        streams = self._stream_of[batch.sequence_ids[: batch.size]]
        # Rows of a stream must follow each other, and streams ascend.
        order = np.argsort(streams, kind="stable")
        apart = int(np.count_nonzero(streams < 0))
        inside = order[apart:]
        places, kept = self._side_by_side(batch, inside, streams[inside])
        rows = np.empty(batch.size, np.intp)
        rows[order[:apart]], rows[inside] = np.arange(apart), places
        self._rows, self._is_inside = rows.tolist(), (streams >= 0).tolist()
        if apart:
            self._outside.take(batch, order[:apart])
            status, self._others = others(self._outside)
            if status is not DecodeStatus.DONE:
                return status
        status = self.context.decode(self._inside)
        for stream, end in kept:
            self.context.remove(stream, end)
        return status

    def _side_by_side(
        self, batch: Batch, inside: NDArray[np.intp], streams: NDArray[np.int32]
    ) -> tuple[NDArray[np.intp], list[tuple[int, int]]]:
        """Make the batch of these rows, given in the order of their streams. Those that have fewer
        than others are filled up: unequal ones would cost a pass of their own. Returns where each
        row is, and by stream what is to be removed again: the positions from an end on."""
        counts = np.bincount(streams)
        most, size = int(counts.max()), len(counts) * int(counts.max())
        if (counts == most).all() or size > self._inside.capacity:
            self._inside.take(batch, inside)
            self._inside.sequence_ids[: self._inside.size] = streams
            return np.arange(len(inside)), []
        begins = np.cumsum(counts) - counts
        places = streams * most + np.arange(len(inside)) - begins[streams]
        firsts = batch.positions[inside[begins]]
        filled = self._inside
        filled.size = size
        filled.tokens[:size] = filled.outputs[:size] = 0
        filled.tokens[places] = batch.tokens[inside]
        filled.outputs[places] = batch.outputs[inside]
        filled.positions[:size] = (firsts[:, None] + np.arange(most)).reshape(-1)
        filled.sequence_ids[:size] = np.repeat(np.arange(len(counts)), most)
        short = np.flatnonzero(counts < most)
        return places, list(zip(short.tolist(), (firsts + counts)[short].tolist(), strict=True))

    def logits(self, row: int) -> Logits:
        """Logits of a row of the last batch."""
        if self._is_inside[row]:
            return self.context.logits(self._rows[row])
        return self._others.logits(self._rows[row])

    def features(self, rows: Rows, into: Features) -> bool:
        """Copy the features of rows of the last batch; see LlamaContext."""
        places = np.asarray(self._rows, np.intp)[rows]
        inside = np.asarray(self._is_inside, np.bool_)[rows]
        for context, chosen in ((self.context, inside), (self._others, ~inside)):
            if not chosen.any():
                continue
            part = (
                into if chosen.all() else np.empty((int(chosen.sum()), into.shape[1]), np.float32)
            )
            if not context.features(places[chosen], part):
                return False
            if part is not into:
                into[chosen] = part
        return True


def trial(context: LlamaContext, library: LlamaContext, row_bytes: int) -> StateLayout:
    """Copy a short made-up sequence to a stream and back, and compare what is computed there. Both
    contexts are empty before and afterwards. Returns the layout of states; raises UnknownLayout if
    anything differs, and EngineFailed."""
    streams, batch = context.sequences, Batch(TRIAL_TOKENS)
    tokens = np.arange(1, TRIAL_TOKENS + 1, dtype=np.int32)
    try:
        batch.add(tokens, 0, 0, output=True)
        _computed(library, batch)
        state = library.export(0, 0, TRIAL_TOKENS)
        layout = read_layout(state, TRIAL_TOKENS, row_bytes)
        buffer = np.empty(layout.size(TRIAL_TOKENS, streams), np.uint8)
        buffer[: len(state)] = state
        last = streams - 1
        if not context.replace(last, for_streams(buffer, len(state), streams)):
            raise UnknownLayout("the kernels refuse it")
        back = from_stream(buffer, context.read(last, buffer), streams, last)
        if not np.array_equal(back[HEAD_BYTES:], _with_id(state, last)[HEAD_BYTES:]):
            raise UnknownLayout("a sequence changes on its way")
        batch.clear()
        batch.add(tokens[:1], TRIAL_TOKENS, 0, output=True)
        expected = _computed(library, batch).copy()
        batch.sequence_ids[0] = last
        difference = float(np.abs(_computed(context, batch) - expected).max())
        if difference > TRIAL_DIFFERENCE:
            raise UnknownLayout(f"logits differ by {difference:.3f}")
        return layout
    finally:
        library.remove(0, 0)
        context.remove(streams - 1, 0)


def _computed(context: LlamaContext, batch: Batch) -> Logits:
    if context.decode(batch) is not DecodeStatus.DONE:
        raise EngineFailed("The kernels did not compute a trial of streams")
    return context.logits(batch.size - 1)


def _with_id(state: Payload, sequence: int) -> Payload:
    """The trial's state with another sequence id in its cells."""
    changed = state.copy()
    cells = changed[16 : 16 + 12 * TRIAL_TOKENS].view(np.int32).reshape(-1, 3)
    cells[:, 2] = sequence
    return changed
