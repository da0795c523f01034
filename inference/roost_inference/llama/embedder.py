"""A GGUF model that makes one vector of each text, with a context of its own."""

import ctypes
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roost_inference.batch import Tokens
from roost_inference.embeddings.slices import SEQUENCES_MAX
from roost_inference.errors import EngineFailed, EngineUnavailable
from roost_inference.llama import bindings

Vectors = NDArray[np.float32]

log = logging.getLogger(__name__)


class LlamaEmbedder:
    """Implements Embedder. One thread computes; any thread may tokenise."""

    def __init__(self, path: Path, *, context_length: int, threads: int = 1) -> None:
        """context_length: the longest text in tokens, if the model was trained for as many. Raises
        EngineUnavailable for a file that makes no vectors."""
        self.name = path.stem
        self._context: Any = None
        self._model: Any = bindings.load_model(path)
        try:
            self.context_length = min(context_length, bindings.trained_context(self._model))
            self.pooling = self._open(path, threads)
        except BaseException:
            self.close()
            raise
        self.dimensions = bindings.vector_length(self._model)
        self._vocabulary = bindings.vocabulary(self._model)
        self.vocabulary_size = bindings.vocabulary_size(self._vocabulary)
        self._flag = ctypes.create_string_buffer(2)
        bindings.set_abort_flag(self._context, self._flag)
        size = self.context_length
        self._tokens = np.zeros(size, np.int32)
        self._positions = np.zeros(size, np.int32)
        self._ids = np.zeros(size, np.int32)
        self._counts = np.ones(size, np.int32)
        self._outputs = np.ones(size, np.int8)
        addresses = self._ids.ctypes.data + 4 * np.arange(size, dtype=np.uint64)
        self._pointers = addresses.astype(np.uint64)
        self._batch = bindings.make_batch(
            self._tokens, self._positions, self._counts, self._pointers, self._outputs
        )

    def _open(self, path: Path, threads: int) -> str:
        """Open the context; returns how it pools."""

        def context(pooling: str | None = None) -> Any:
            return bindings.create_pooling_context(
                self._model,
                tokens=self.context_length,
                sequences=SEQUENCES_MAX,
                threads=threads,
                pooling=pooling,
            )

        self._context = context()
        pooling = bindings.pooling(self._context)
        if pooling == "rank":
            raise EngineUnavailable(f"The model {path} scores pairs of texts; it makes no vectors")
        if pooling == "none":
            # Its file does not say: what a model without a memory reads is seen from both sides.
            pooling = "last" if bindings.memory(self._context) else "mean"
            log.info("%s names no pooling; %s is used", path.name, pooling)
            bindings.free_context(self._context)
            self._context = None
            self._context = context(pooling)
        return pooling

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text, with those at both ends that the model wants there."""
        return bindings.tokenize(self._vocabulary, text, special=False, framed=True)

    def embed(self, texts: Sequence[Tokens]) -> Vectors:
        """[texts, dimensions] vectors of up to SEQUENCES_MAX texts, context_length tokens together.
        Raises EngineFailed."""
        total = sum(map(len, texts))
        if not 0 < total <= self.context_length or not 0 < len(texts) <= SEQUENCES_MAX:
            raise EngineFailed(f"{len(texts)} texts of {total} tokens can't be computed at once")
        at = 0
        for number, tokens in enumerate(texts):
            end = at + len(tokens)
            self._tokens[at:end] = tokens
            self._positions[at:end] = np.arange(len(tokens))
            self._ids[at:end] = number
            at = end
        bindings.forget_all(self._context)
        code = bindings.decode(self._context, self._batch, total)
        if code != bindings.DECODE_DONE:
            raise EngineFailed(f"llama.cpp made no vectors ({code}): {bindings.recent_errors()}")
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for number in range(len(texts)):
            address = bindings.vector_address(self._context, number)
            if not address:
                raise EngineFailed(f"llama.cpp made no vector of text {number}")
            memory = (ctypes.c_float * self.dimensions).from_address(address)
            vectors[number] = np.ctypeslib.as_array(memory)
        return vectors

    def interrupt(self) -> None:
        """Make running and later calls of `embed` fail within milliseconds; any thread calls it."""
        self._flag[0] = b"\x01"

    def close(self) -> None:
        """Give context and model back; safe to call twice."""
        if self._context is not None:
            bindings.free_context(self._context)
            self._context = None
        if self._model is not None:
            bindings.free_model(self._model)
            self._model = None
