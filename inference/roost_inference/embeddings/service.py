"""Computes vectors on a thread of its own, in short slices, so that answers never wait for it.

The rule beside chats: this thread uses one processor core, for one slice of SLICE_TOKENS tokens
after the other, and holds nothing that the engine's thread needs. Requests take turns by slices, so
a short text does not wait behind a list of two thousand.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from roost_inference.batch import Tokens
from roost_inference.embeddings.call import EmbeddingCall, Input, answer, shortened
from roost_inference.embeddings.slices import slices
from roost_inference.errors import (
    EngineError,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
    UnknownModel,
)

REQUEST_TOKENS_MAX = 300_000
REQUESTS_WAITING_MAX = 32
STOP_TIMEOUT_S = 10.0


class Embedder(Protocol):
    """A model that makes vectors. One thread calls `embed`, any thread the rest."""

    name: str
    pooling: str
    dimensions: int
    context_length: int
    vocabulary_size: int

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text, with those at both ends that the model wants there."""
        ...

    def embed(self, texts: Sequence[Tokens]) -> NDArray[np.float32]:
        """[texts, dimensions] vectors of a slice. Raises EngineFailed."""
        ...

    def interrupt(self) -> None:
        """Make running and later calls of `embed` fail soon."""
        ...

    def close(self) -> None:
        """Give the model back."""
        ...


@dataclass(slots=True, eq=False)
class EmbeddingJob:
    """A request on its way; `result` gets the body of the answer."""

    call: EmbeddingCall
    texts: Sequence[Tokens]
    vectors: NDArray[np.float32]
    left: Iterator[range]
    result: "Future[bytes]" = field(default_factory=Future)


class EmbeddingService:
    """The requests for one model, and the thread that computes them."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._jobs: deque[EmbeddingJob] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._requests = self._tokens = 0
        self._thread = threading.Thread(target=self._run, name="embeddings", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """The model's name on the wire."""
        return self._embedder.name

    def model(self) -> dict[str, Any]:
        """The model as an entry of /v1/models."""
        return {
            "id": self.name,
            "object": "model",
            "created": 0,
            "owned_by": "roost",
            "task": "embed",
            "max_model_len": self._embedder.context_length,
            "dimensions": self._embedder.dimensions,
        }

    def report(self) -> Mapping[str, object]:
        """The model and its figures since the start, as /health shows them."""
        return {
            "model": self.name,
            "pooling": self._embedder.pooling,
            "dimensions": self._embedder.dimensions,
            "context_length": self._embedder.context_length,
            "waiting": len(self._jobs),
            "requests_total": self._requests,
            "tokens_total": self._tokens,
        }

    def prepare(self, call: EmbeddingCall) -> EmbeddingJob:
        """Tokenise and check a request. It takes time, so call it off the event loop. Raises
        UnknownModel, PromptTooLong, InvalidRequest."""
        embedder = self._embedder
        if call.model not in ("", self.name):
            raise UnknownModel(
                f"The model {call.model!r} makes no vectors here; {self.name!r} does", param="model"
            )
        if call.dimensions is not None and call.dimensions > embedder.dimensions:
            raise InvalidRequest(
                f"dimensions is {call.dimensions}; the model makes {embedder.dimensions}",
                param="dimensions",
            )
        texts: list[Tokens] = []
        total = 0
        for number, one in enumerate(call.inputs):
            texts.append(self._tokens_of(one, number))
            total += len(texts[-1])
            if total > REQUEST_TOKENS_MAX:
                raise InvalidRequest(
                    f"input has more than {REQUEST_TOKENS_MAX} tokens in all", param="input"
                )
        vectors = np.empty((len(texts), embedder.dimensions), np.float32)
        return EmbeddingJob(call, texts, vectors, slices(texts, embedder.context_length))

    def _tokens_of(self, one: Input, number: int) -> Tokens:
        embedder = self._embedder
        tokens = embedder.tokenize(one) if isinstance(one, str) else one
        if len(tokens) > embedder.context_length:
            raise PromptTooLong(
                f"input has {len(tokens)} tokens at {number}; the model reads at most "
                f"{embedder.context_length}",
                param="input",
            )
        if not tokens or min(tokens) < 0 or max(tokens) >= embedder.vocabulary_size:
            raise InvalidRequest(f"input has an unknown token at {number}", param="input")
        return np.asarray(tokens, np.int32)

    def submit(self, job: EmbeddingJob) -> "Future[bytes]":
        """Queue a prepared request. Cancelling the future ends it after its slice. Raises
        QueueFull, EngineUnavailable."""
        with self._changed:
            if self._is_stopping:
                raise EngineUnavailable("The engine is stopping")
            if len(self._jobs) >= REQUESTS_WAITING_MAX:
                raise QueueFull(f"{len(self._jobs)} requests for embeddings wait already")
            self._jobs.append(job)
            self._changed.notify()
        return job.result

    def close(self) -> None:
        """Stop: what waits ends with EngineUnavailable, and the model goes."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._embedder.interrupt()
        self._thread.join(STOP_TIMEOUT_S)
        if not self._thread.is_alive():
            self._embedder.close()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            if job.result.cancelled():
                continue
            try:
                is_done = self._compute_slice(job)
            except Exception as error:
                known = error if isinstance(error, EngineError) else EngineFailed(repr(error))
                _settle(job, self._stopping_error() or known)
                continue
            if not is_done:
                with self._changed:
                    self._jobs.append(job)
        with self._changed:
            for job in self._jobs:
                _settle(job, EngineUnavailable("The engine is stopping"))

    def _next(self) -> EmbeddingJob | None:
        """The request whose turn it is, None once the service stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping or self._jobs)
            return None if self._is_stopping else self._jobs.popleft()

    def _compute_slice(self, job: EmbeddingJob) -> bool:
        """Compute the next slice; True once the request is answered."""
        part = next(job.left, None)
        if part is not None:
            texts = job.texts[part.start : part.stop]
            job.vectors[part.start : part.stop] = self._embedder.embed(texts)
            self._tokens += sum(map(len, texts))
            return False
        self._requests += 1
        body = answer(
            job.call,
            self.name,
            shortened(job.vectors, job.call.dimensions),
            sum(map(len, job.texts)),
        )
        if job.result.set_running_or_notify_cancel():
            job.result.set_result(body)
        return True

    def _stopping_error(self) -> EngineError | None:
        return EngineUnavailable("The engine is stopping") if self._is_stopping else None


def _settle(job: EmbeddingJob, error: EngineError) -> None:
    if job.result.set_running_or_notify_cancel():
        job.result.set_exception(error)
