"""The contexts of drafters that read hidden states, and the taps on their target.

The drafter's KV holds a cell for each token whose hidden states it was given. To guess, DFlash
computes a block: the last token and masks in the place of those that follow. EAGLE-3 computes token
by token, each with the state that the one before it left.
"""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from roost_inference.backend import Features, Logits, Payload, Rows
from roost_inference.batch import Tokens
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.llama import bindings
from roost_inference.llama.backend import LlamaBackend
from roost_inference.llama.memory import missing_memory
from roost_inference.llama.vocabulary import LlamaVocabulary
from roost_inference.models.drafts import TargetFacts, architecture_of, check_draft


class LlamaTaps:
    """Gives out the hidden states of the target's last decode."""

    def __init__(self, target: LlamaBackend, layers: tuple[int, ...], width: int) -> None:
        """layers: whose inputs; width: numbers of each."""
        self._target = target
        self._layers = layers
        self.width = len(layers) * width

    def switch(self, *, on: bool) -> None:
        """Let decodes keep hidden states from now on, or no more."""
        for context in self._target.contexts:
            context.taps = self._layers if on else ()

    def features(self, rows: Rows) -> Features | None:
        """[rows, width] features of these rows of the last decode, layer by layer; None if it kept
        none."""
        into = np.empty((len(rows), self.width), np.float32)
        return into if self._target.computed.features(rows, into) else None


class FeatureContext:
    """Sequences of a drafter in one KV cache. Used by the engine thread."""

    def __init__(
        self,
        path: Path,
        target: LlamaBackend,
        *,
        cells: int,
        sequences: int,
        rows: int,
        outputs: int,
        threads: int,
        kv_type: str,
    ) -> None:
        """rows, outputs: of one batch at most. Raises EngineUnavailable if the drafter does not fit
        the target or the memory."""
        main = target.contexts[0]
        self.facts = check_draft(path, target_facts(target))
        self.path, self.cells, self.sequences = path, cells, sequences
        self._context: Any = None
        self._model = bindings.load_model(path)
        try:
            self.vocabulary = LlamaVocabulary(self._model)
            self.mask = bindings.mask_token(bindings.vocabulary(self._model))
            if self.facts.block and self.mask < 0:
                raise EngineUnavailable(f"The drafter {path.name} names no mask token")
            if missing := missing_memory(self._model, cells, kv_type):
                raise EngineUnavailable(f"No memory for the drafter {path.name}: {missing}")
            self._context = bindings.create_context(
                self._model,
                cells=cells,
                batch=rows,
                sequences=sequences + 1,
                outputs=max(outputs, sequences + 1),
                threads=threads,
                kv_type=kv_type,
                other=main.handle,
            )
            bindings.set_causal(self._context, self.facts.is_causal)
        except BaseException:
            self.close()
            raise
        self.rows, self.outputs, self._scratch = rows, outputs, sequences
        # Blocks of a sliding window lack what is out of their last token's sight.
        self.can_export = not bindings.sliding_window(self._model)
        self._memory = bindings.memory(self._context)
        self._allocate(rows)

    def _allocate(self, rows: int) -> None:
        """Arrays that the C batches point into; they live as long as this object."""
        self._tokens, self._positions = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        self._ids, self._outputs = np.zeros(rows, np.int32), np.zeros(rows, np.int8)
        self._counts = np.ones(rows, np.int32)
        self._features = np.zeros((rows, len(self.facts.taps) * self.facts.read), np.float32)
        pointers = self._ids.ctypes.data + self._ids.strides[0] * np.arange(rows, dtype=np.uint64)
        self._pointers = pointers.astype(np.uint64)
        self._batch = bindings.make_batch(
            self._tokens, self._positions, self._counts, self._pointers, self._outputs
        )
        self._features_batch = bindings.use_features(self._batch, self._features)

    def _decode(self, batch: Any, rows: int) -> None:
        status = bindings.decode(self._context, batch, rows)
        if status != bindings.DECODE_DONE:
            raise EngineFailed(f"The drafter failed ({status}): {bindings.recent_errors()}")

    def logits(self, row: int) -> Logits:
        """A view of a row's logits for the target's tokens, valid until the next call."""
        address = bindings.logits_address(self._context, row)
        if not address:
            raise EngineFailed(f"Row {row} of the drafter has no logits")
        memory = (ctypes.c_float * self.vocabulary.size).from_address(address)
        return np.ctypeslib.as_array(memory)

    def share(self, source: int, target: int, end: int) -> None:
        """Give an empty sequence the positions of another before `end`, in shared cells."""
        bindings.sequence_copy(self._memory, source, target, 0, end)

    def remove(self, sequence: int, start: int) -> None:
        """Remove positions of a sequence from `start` on."""
        bindings.sequence_remove(self._memory, sequence, start)

    def export(self, sequence: int, start: int, end: int) -> Payload:
        """A copy of the cells of positions [start, end). Raises EngineFailed."""
        bindings.sequence_copy(self._memory, sequence, self._scratch, start, end)
        try:
            size = bindings.sequence_state_bytes(self._context, self._scratch)
            payload = np.empty(size, np.uint8)
            address = payload.ctypes.data
            written = bindings.read_sequence(self._context, self._scratch, address, size)
        finally:
            self.remove(self._scratch, 0)
        if written != size:
            raise EngineFailed(f"A drafter's cells were not exported: {bindings.recent_errors()}")
        return payload

    def attach(self, sequence: int, payload: Payload) -> int:
        """Append exported cells to a sequence that ends where they begin. Returns its new end, 0 if
        the kernels refuse them; the sequence is unchanged then."""
        payload = np.ascontiguousarray(payload)
        address, size = payload.ctypes.data, payload.nbytes
        try:
            if bindings.write_sequence(self._context, self._scratch, address, size) == 0:
                return 0
            end = bindings.sequence_last(self._memory, sequence) + 1
            if bindings.sequence_first(self._memory, self._scratch) != end:
                return 0
            bindings.sequence_copy(self._memory, self._scratch, sequence, -1, -1)
            return bindings.sequence_last(self._memory, sequence) + 1
        finally:
            self.remove(self._scratch, 0)

    def close(self) -> None:
        """Give context and model back; safe to call twice. The target is closed later."""
        if self._context is not None:
            bindings.free_context(self._context)
            self._context = None
        if self._model is not None:
            bindings.free_model(self._model)
            self._model = None


class DraftContext(FeatureContext):
    """A drafter that computes blocks, as DFlash does."""

    def inject(self, ids: Tokens, positions: Tokens, features: Features) -> None:
        """Append to these sequences the keys and values of tokens with these features. The rows of
        a sequence ascend. Raises EngineFailed."""
        for start in range(0, len(ids), self.rows):
            part = slice(start, start + self.rows)
            count = len(ids[part])
            self._ids[:count], self._positions[:count] = ids[part], positions[part]
            self._features[:count] = features[part]
            self._outputs[:count] = 0
            self._decode(self._features_batch, count)

    def compute(self, ids: Tokens, positions: Tokens, tokens: Tokens) -> None:
        """Compute these rows, all with logits. Raises EngineFailed."""
        count = len(ids)
        self._ids[:count], self._positions[:count] = ids, positions
        self._tokens[:count], self._outputs[:count] = tokens, 1
        self._decode(self._batch, count)


class PairContext(FeatureContext):
    """A drafter of the kind EAGLE-3. Each row is a token and the state of the one before it, at the
    position of that one; the state is made of the target's hidden states, or it is what the
    drafter's row before left. Every row has logits: its graph computes them anyhow."""

    def _allocate(self, rows: int) -> None:
        self.rows = rows = min(rows, self.outputs)
        super()._allocate(rows)
        bindings.set_states(self._context)
        self.width = bindings.layers_and_width(self._model)[1]
        self._states = np.zeros((rows, self.width), np.float32)
        self._pairs_batch = bindings.use_features(self._batch, self._states, and_tokens=True)
        self._outputs[:] = 1

    def append(self, ids: Tokens, positions: Tokens, tokens: Tokens, features: Features) -> None:
        """Compute rows of tokens, each with the features of the token before it. Those of a
        sequence ascend; only the last `rows` can be read afterwards. Raises EngineFailed."""
        first = len(ids) % self.rows or self.rows
        for start, end in zip(
            range(first - self.rows, len(ids), self.rows), range(first, len(ids) + 1, self.rows),
            strict=True,
        ):  # fmt: skip
            part = slice(max(start, 0), end)
            states = self._encoded(ids[part], positions[part], features[part])
            self.go_on(ids[part], positions[part], tokens[part], states)

    def go_on(self, ids: Tokens, positions: Tokens, tokens: Tokens, states: Features) -> None:
        """Compute rows of tokens with these states. Raises EngineFailed."""
        count = len(ids)
        self._ids[:count], self._positions[:count] = ids, positions
        self._tokens[:count], self._states[:count] = tokens, states
        self._decode(self._pairs_batch, count)

    def states(self, count: int) -> Features:
        """[count, width] what the first rows of the last batch left, a copy."""
        address = bindings.states_address(self._context)
        if not address:
            raise EngineFailed("The drafter left no states")
        memory = (ctypes.c_float * (count * self.width)).from_address(address)
        return np.ctypeslib.as_array(memory).reshape(count, self.width).copy()

    def _encoded(self, ids: Tokens, positions: Tokens, features: Features) -> Features:
        """[rows, width] the states that the drafter makes of features."""
        count = len(ids)
        self._ids[:count], self._positions[:count] = ids, positions
        self._features[:count] = features
        status = bindings.encode(self._context, self._features_batch, count)
        if status != bindings.DECODE_DONE:
            raise EngineFailed(f"The drafter failed ({status}): {bindings.recent_errors()}")
        return self.states(count)


def drafter_context(path: Path) -> type[DraftContext] | type[PairContext]:
    """What opens a drafter's file, by its kind; see FeatureContext."""
    return PairContext if architecture_of(path) == "eagle3" else DraftContext


def target_embeddings(target: LlamaBackend) -> Features:
    """[tokens, width] the target's embeddings. Raises EngineFailed."""
    return bindings.embeddings(
        target.contexts[0].model, target.vocabulary.size, target.contexts[0].layers_and_width[1]
    )


def target_facts(target: LlamaBackend) -> TargetFacts:
    """What a drafter must fit."""
    layers, width = target.contexts[0].layers_and_width
    return TargetFacts(target.kind.architecture, layers, width, target.vocabulary.size)
