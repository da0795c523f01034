"""llama.cpp behind the Backend protocol: one model, its vocabulary, and one or two contexts."""

import ctypes
import hashlib
import logging
from pathlib import Path

from roost_inference.backend import DecodeStatus, Logits, Payload
from roost_inference.batch import Batch
from roost_inference.errors import EngineUnavailable
from roost_inference.kv.block import BLOCK_TOKENS
from roost_inference.llama import bindings
from roost_inference.llama.context import LlamaContext
from roost_inference.llama.machine import available_memory_bytes
from roost_inference.llama.prefill import PrefillContext
from roost_inference.llama.vocabulary import LlamaVocabulary
from roost_inference.models.kinds import Memory, ModelKind, kind_of

# The compute buffers and the logits need memory, too; with less than this left they may not fit.
MEMORY_MARGIN_BYTES = 256 * 2**20
BACKGROUND_THREADS_MAX = 3

log = logging.getLogger(__name__)


class LlamaBackend:
    """One model over a main context, and one for prompts if it gets cells."""

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
    ) -> None:
        """prefill_cells: the longest prompt that is read in a context of its own, 0 for none."""
        self.path = path
        self.sequences = sequences
        self._model = bindings.load_model(path)
        self._contexts: list[LlamaContext] = []
        self._prefill: PrefillContext | None = None
        try:
            self._check_memory(cells, kv_type)
            self._flag = ctypes.create_string_buffer(2)

            def context(cells: int, sequences: int, outputs: int) -> LlamaContext:
                made = LlamaContext(
                    self._model,
                    cells=cells,
                    sequences=sequences,
                    batch_tokens=batch_tokens,
                    outputs=outputs,
                    threads=threads,
                    kv_type=kv_type,
                    abort_flag=self._flag,
                )
                self._contexts.append(made)
                return made

            self._main = context(cells, sequences, outputs)
            self.kind = self._find_kind()
            self.truncates = self.kind.truncates
            prefill_cells = min(prefill_cells, cells, self.trained_context)
            if prefill_cells and self.kind.pages and self._fits(prefill_cells, kv_type):
                self._prefill = PrefillContext(context(prefill_cells, 1, outputs), self._main)
        except BaseException:
            self.close()
            raise
        self._computed = self._main
        self._threads = threads
        # With more cores than these, one for prompts would be too little.
        in_background = self._prefill is not None and 2 <= threads <= BACKGROUND_THREADS_MAX
        self.background_cells = prefill_cells if in_background else 0
        self.vocabulary = LlamaVocabulary(self._model)
        self.cells = self._main.cells
        self.identity = _identity(path, kv_type)

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

    def _check_memory(self, cells: int, kv_type: str) -> None:
        """Raise EngineUnavailable for a cache that does not fit: llama.cpp zeroes it, and the
        operating system would kill the process."""
        if missing := self._missing_memory(cells, kv_type):
            raise EngineUnavailable(f"{missing} Set a smaller engine context_length.")

    def _fits(self, cells: int, kv_type: str) -> bool:
        """Whether there is memory for a prefill context, which is not necessary: half of the free
        memory stays free."""
        if missing := self._missing_memory(cells, kv_type, share=0.5):
            log.warning("Prompts get no context of their own: %s", missing)
        return not missing

    def _missing_memory(self, cells: int, kv_type: str, share: float = 1.0) -> str:
        """What is missing for this many cells, in words; empty if this share of the free memory is
        enough."""
        needed = cells * bindings.kv_bytes_per_cell(self._model, kv_type) + MEMORY_MARGIN_BYTES
        free = available_memory_bytes()
        if free is None or needed <= free * share:
            return ""
        return (
            f"A context of {cells} tokens needs {needed / 2**30:.1f} GiB, only "
            f"{free * share / 2**30:.1f} GiB are free."
        )

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
        """Compute a batch in the context that suits it; see Backend."""
        prefill = self._prefill
        if prefill is not None and not prefill.is_busy and prefill.wants(batch):
            self._computed = prefill.context
            return prefill.decode(batch)
        if prefill is not None and prefill.held in batch.sequence_ids[: batch.size]:
            prefill.flush()
        self._computed = self._main
        return self._main.decode(batch)

    def begin_prefill(self, batch: Batch) -> bool:
        """Start a piece of a prompt in the background; see Backend."""
        prefill = self._prefill
        if prefill is None or not self.background_cells or not prefill.wants(batch):
            return False
        prefill.begin(batch)
        self._main.threads_max = self._threads - 1
        return True

    def finish_prefill(self, *, wait: bool) -> DecodeStatus | None:
        """How that piece ended; see Backend."""
        assert self._prefill is not None
        try:
            status = self._prefill.finish(wait=wait)
        finally:
            if not self._prefill.is_busy:
                self._main.threads_max = None
        if status is not None:
            self._computed = self._prefill.context
        return status

    def logits(self, row: int) -> Logits:
        """Logits of the last decode; see Backend."""
        return self._computed.logits(row)

    def sequence_copy(self, source: int, target: int, start: int, end: int) -> None:
        """Share cells; see Backend."""
        if self._prefill is not None:
            self._prefill.remove(target, 0)
            if self._prefill.held == source:
                self._prefill.flush()
        self._main.copy(source, target, start, end)

    def sequence_remove(self, sequence: int, start: int) -> bool:
        """Remove positions from `start` on; see Backend."""
        if self._prefill is not None:
            self._prefill.remove(sequence, start)
        return self._main.remove(sequence, start)

    def sequence_end(self, sequence: int) -> int:
        """One past the last position held in either context."""
        end = self._main.end(sequence)
        return end if self._prefill is None else max(end, self._prefill.end(sequence))

    def export_block(self, sequence: int, start: int, end: int) -> Payload:
        """A copy of the KV, from the context that has it; see Backend."""
        if self._prefill is not None and self._prefill.holds_alone(sequence, end):
            return self._prefill.export(start, end)
        return self._main.export(sequence, start, end)

    def import_block(self, sequence: int, payload: Payload) -> bool:
        """Append an exported block; see Backend."""
        start = self._main.end(sequence)
        if not self._main.append(sequence, payload):
            return False
        if self._prefill is not None:
            self._prefill.appended(sequence, start, payload)
        return True

    def interrupt(self) -> None:
        """Stop decodes of both contexts; any thread may call it."""
        self._flag[0] = b"\x01"

    def clear_interrupt(self) -> None:
        """Let decodes run again."""
        self._flag[0] = b"\x00"

    def close(self) -> None:
        """Give back contexts and model; safe to call twice."""
        if self._prefill is not None:
            self._prefill.close()
        for context in self._contexts:
            context.close()
        if self._model is not None:
            bindings.free_model(self._model)
            self._model = None


def _identity(path: Path, kv_type: str) -> str:
    """The weights by content, the kernels by build, and everything else that changes stored KV."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(2**22):
            digest.update(chunk)
    return f"{digest.hexdigest()} {kv_type} unified flash {bindings.build_id()}"
