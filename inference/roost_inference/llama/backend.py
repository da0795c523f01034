"""llama.cpp behind the Backend protocol: one model, its vocabulary, and up to three contexts."""

import ctypes
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from roost_inference.backend import DecodeStatus, Logits, Payload
from roost_inference.batch import Batch
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.llama import bindings
from roost_inference.llama.context import LlamaContext
from roost_inference.llama.memory import check_memory, has_memory_to_spare, stream_sizes
from roost_inference.llama.prefill import PrefillContext
from roost_inference.llama.streaming.decoder import LlamaMover, StreamDecoder, trial
from roost_inference.llama.streaming.pool import StreamPool
from roost_inference.llama.streaming.state import UnknownLayout
from roost_inference.llama.vocabulary import LlamaVocabulary
from roost_inference.models.kinds import Memory, ModelKind, kind_of

# Pieces in the background pay where a step of answers on one thread is not much slower than on all.
BACKGROUND_THREADS_MAX = 3

log = logging.getLogger(__name__)


class LlamaBackend:
    """One model over a main context, one for prompts and one for answers if they get cells."""

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
        prefill_cells: int = 0,
        streams: int = 0,
        stream_memory: int | None = None,
    ) -> None:
        """prefill_cells: the longest prompt that is read in a context of its own, 0 for none.
        streams: how many answers are written at once at most, 0 if none gets KV of its own;
        stream_memory: bytes for all of that, None for a default."""
        self.path = path
        self.sequences = sequences
        self._model = bindings.load_model(path)
        self.contexts: list[LlamaContext] = []
        self._prefill: PrefillContext | None = None
        # Answers that are written at once; None if they get no KV of their own.
        self.streams: StreamDecoder | None = None
        self._flag = ctypes.create_string_buffer(2)
        self._kv_type, self._threads = kv_type, threads
        self._pauses = bindings.sleeps_at_barriers()
        try:
            check_memory(self._model, cells, kv_type)
            self._main = self._context(cells, sequences, batch_tokens, outputs)
            self.kind = self._find_kind()
            self.truncates = self.kind.truncates
            prefill_cells = min(prefill_cells, cells, self.trained_context)
            if prefill_cells and self.kind.pages and self._fits(prefill_cells, "Prompts get"):
                own = self._context(prefill_cells, 1, batch_tokens, outputs)
                self._prefill = PrefillContext(own, self._main, self._flag)
            if streams and stream_memory != 0:
                self._open_streams(
                    streams, stream_memory, min(cells, self.trained_context), outputs
                )
        except BaseException:
            self.close()
            raise
        # Where the rows of the last decode were computed.
        self.computed: LlamaContext | StreamDecoder = self._main
        in_background = self._prefill is not None and 2 <= threads <= BACKGROUND_THREADS_MAX
        self.background_cells = prefill_cells if in_background else 0
        self.vocabulary = LlamaVocabulary(self._model)
        self.cells = self._main.cells
        self.identity = identity_of(path, kv_type)

    def _find_kind(self) -> ModelKind:
        model = self._model
        memory: Memory = "hybrid" if bindings.is_hybrid(model) else "attention"
        return kind_of(
            bindings.architecture(model),
            memory="recurrent" if bindings.is_recurrent(model) else memory,
            window=bindings.sliding_window(model),
            block_tokens=BLOCK_TOKENS,
        )

    @property
    def pages(self) -> bool:
        """Whether the KV of a sequence can be moved in blocks; see Backend."""
        return self.kind.pages

    def _context(
        self, cells: int, sequences: int, batch_tokens: int, outputs: int, *, unified: bool = True
    ) -> LlamaContext:
        context = LlamaContext(
            self._model,
            cells=cells,
            sequences=sequences,
            batch_tokens=batch_tokens,
            outputs=outputs,
            threads=self._threads,
            kv_type=self._kv_type,
            abort_flag=self._flag,
            unified=unified,
        )
        self.contexts.append(context)
        return context

    def _open_streams(self, answers: int, memory: int | None, longest: int, outputs: int) -> None:
        """Give answers that are written at once KV of their own, if model and memory allow it."""
        if self.kind.memory != "attention" or bindings.sliding_window(self._model):
            return  # their state is more than keys and values of every token
        count, cells = stream_sizes(
            self._model, self._kv_type, memory=memory, answers=answers, longest=longest
        )
        if not count or not self._fits(count * cells, "Answers get"):
            return
        context: LlamaContext | None = None
        try:
            context = self._context(cells, count, outputs, outputs, unified=False)
            row_bytes = bindings.kv_bytes_per_cell(self._model, self._kv_type)
            layout = trial(context, self._main, row_bytes)
        except (UnknownLayout, EngineUnavailable, EngineFailed) as error:
            log.warning("Answers get no KV of their own: %s", error)
            if context is not None:
                self.contexts.remove(context)
                context.close()
            return
        mover = LlamaMover(context, self._main, self._prefill, layout)
        pool = StreamPool(mover, streams=count, cells=context.cells)
        self.streams = StreamDecoder(context, pool, sequences=self.sequences, capacity=outputs)

    def _fits(self, cells: int, who_gets: str) -> bool:
        return has_memory_to_spare(self._model, cells, self._kv_type, who_gets)

    @property
    def side_by_side_from(self) -> int:
        """See Backend."""
        return self.streams.pool.enter_at if self.streams is not None else 0

    @property
    def trained_context(self) -> int:
        """The longest context the model was trained for, in tokens."""
        return bindings.trained_context(self._model)

    @property
    def quantisation(self) -> str:
        """The number format of the weights, such as Q4_0; empty for one unknown here."""
        return bindings.quantisation(self._model)

    @property
    def chat_template(self) -> str:
        """The Jinja template of the GGUF header, empty if it has none."""
        return bindings.chat_template(self._model)

    def decode(self, batch: Batch) -> DecodeStatus:
        """Compute a batch in the contexts that suit it; see Backend."""
        if self._prefill is not None and self._prefill.is_busy and self._pauses:
            with self._prefill.piece.paused():
                return self._decode(batch)
        return self._decode(batch)

    def _decode(self, batch: Batch) -> DecodeStatus:
        streams = self.streams
        if streams is None or not streams.arrange(batch):
            status, self.computed = self._decode_in_library(batch)
            return status
        self.computed = streams
        return streams.decode(batch, self._decode_in_library)

    def _decode_in_library(self, batch: Batch) -> tuple[DecodeStatus, LlamaContext]:
        """Compute a batch without streams; returns in which context, too."""
        prefill = self._prefill
        if prefill is not None and not prefill.is_busy and prefill.wants(batch):
            return prefill.decode(batch), prefill.context
        if prefill is not None and prefill.held in batch.sequence_ids[: batch.size]:
            prefill.flush()
        return self._main.decode(batch), self._main

    def begin_prefill(self, batch: Batch, on_end: Callable[[], None]) -> bool:
        """Start a piece of a prompt in the background, on all cores; see Backend."""
        prefill = self._prefill
        if prefill is None or not self.background_cells or not prefill.wants(batch):
            return False
        self._leave_stream(int(batch.sequence_ids[0]))
        prefill.begin(batch, self._threads, on_end)
        self._share_cores(True)
        return True

    def stop_prefill(self) -> None:
        """Let that piece end; see Backend."""
        if self._prefill is not None:
            self._prefill.piece.stop()

    def _share_cores(self, shared: bool) -> None:
        """Steps beside a piece of a prompt: it pauses for them. If its threads would not sleep
        then, steps take one thread: several would wait for each other at every turn."""
        for context in (self._main, *((self.streams.context,) if self.streams is not None else ())):
            context.tunes = not shared
            context.threads_max = 1 if shared and not self._pauses else None

    def finish_prefill(self, *, wait: bool) -> DecodeStatus | None:
        """How that piece ended; see Backend."""
        assert self._prefill is not None
        try:
            status = self._prefill.finish(wait=wait)
        finally:
            if not self._prefill.is_busy:
                self._share_cores(False)
        if status is not None:
            self.computed = self._prefill.context
        return status

    def logits(self, row: int) -> Logits:
        """Logits of the last decode; see Backend."""
        return self.computed.logits(row)

    def sequence_copy(self, source: int, target: int, start: int, end: int) -> None:
        """Share cells; see Backend."""
        if self.streams is not None:
            self.streams.pool.store(source, end)
        if self._prefill is not None:
            self._prefill.remove(target, 0)
            if self._prefill.held == source:
                self._prefill.flush()
        self._main.copy(source, target, start, end)

    def sequence_remove(self, sequence: int, start: int) -> bool:
        """Remove positions from `start` on; see Backend."""
        if self.streams is not None:
            self.streams.pool.cut(sequence, start)
        if self._prefill is not None:
            self._prefill.remove(sequence, start)
        return self._main.remove(sequence, start)

    def sequence_end(self, sequence: int) -> int:
        """One past the last position held in any context."""
        end = self._main.end(sequence)
        if self.streams is not None:
            end = max(end, self.streams.pool.end(sequence))
        return end if self._prefill is None else max(end, self._prefill.end(sequence))

    def export_block(self, sequence: int, start: int, end: int) -> Payload:
        """A copy of the KV, from the context that has it; see Backend."""
        self._leave_stream(sequence)
        if self._prefill is not None and self._prefill.holds_alone(sequence, end):
            return self._prefill.export(start, end)
        return self._main.export(sequence, start, end)

    def import_block(self, sequence: int, payload: Payload) -> bool:
        """Append an exported block; see Backend."""
        self._leave_stream(sequence)
        start = self._main.end(sequence)
        if not self._main.append(sequence, payload):
            return False
        if self._prefill is not None:
            self._prefill.appended(sequence, start, payload)
        return True

    def _leave_stream(self, sequence: int) -> None:
        if self.streams is not None:
            self.streams.pool.leave(sequence)

    def interrupt(self) -> None:
        """Stop steps in all contexts; any thread may call it."""
        self._flag[0] = b"\x01"

    def clear_interrupt(self) -> None:
        """Let decodes run again."""
        self._flag[0] = b"\x00"

    def close(self) -> None:
        """Give back contexts and model; safe to call twice."""
        if self._prefill is not None:
            self._prefill.close()
        for context in self.contexts:
            context.close()
        if self._model is not None:
            bindings.free_model(self._model)
            self._model = None


def identity_of(path: Path, kv_type: str) -> str:
    """The weights by content, the kernels by their source, and everything else that changes stored
    KV. Two machines with the same model and the same packages have the same identity."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(2**22):
            digest.update(chunk)
    return f"{digest.hexdigest()} {kv_type} unified flash {bindings.kv_id()}"
