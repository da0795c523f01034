"""The engine: schedule, decode, sample, emit, on a thread of its own.

Owns the backend and every sequence. Other threads only put requests and aborts under a lock;
the engine thread takes them in between steps. It knows nothing of HTTP, templates or tools.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from roost_inference.admission import Admission
from roost_inference.backend import Backend, Logits
from roost_inference.backend import DecodeStatus as Status
from roost_inference.errors import (
    EngineError,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    QueueFull,
)
from roost_inference.kv.cache import KvCache
from roost_inference.pacing import Pacer
from roost_inference.request import (
    EngineStats,
    Event,
    FinishEvent,
    FinishReason,
    Listener,
    ModelInfo,
    Request,
    TextEvent,
)
from roost_inference.scheduler import Scheduler, Step
from roost_inference.sequence import Sequence
from roost_inference.stats import Gauges, StatsRecorder
from roost_inference.tokenizer import Piece

# A step shorter than this is let finish when one of its requests is aborted.
INTERRUPT_ABOVE_MS = 15.0
FAILURES_IN_A_ROW_MAX = 3
CLOSE_TIMEOUT_S = 10.0
RETRY_AFTER_S_MAX = 60.0

log = logging.getLogger(__name__)


class Engine:
    """Implements EnginePort. `step` may be driven by hand instead of `start`, as tests do."""

    def __init__(
        self,
        backend: Backend,
        model: ModelInfo,
        *,
        max_sequences: int,
        max_running: int,
        batch_tokens: int,
        resident_cells: int,
        queue_limit: int,
        inter_token_target_ms: float = 100.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model = model
        self._backend = backend
        self._vocabulary = backend.vocabulary
        self._max_running = max_running
        self._queue_limit = queue_limit
        self._clock = clock
        self._cache = KvCache(backend, sequences=max_sequences, resident_cells=resident_cells)
        self._scheduler = Scheduler(
            self._cache,
            Pacer(inter_token_target_ms),
            batch_tokens=batch_tokens,
            max_running=max_running,
        )
        self._admission = Admission(backend.vocabulary, model.context_length)
        self._stats = StatsRecorder(backend.cells)
        self._failures = 0
        self._failure: str | None = None
        self._thread: threading.Thread | None = None
        # Under the lock: what other threads hand over, and which step they may interrupt.
        self._lock = threading.Condition()
        self._live: dict[str, Sequence] = {}
        self._arrived: deque[Sequence] = deque()
        self._aborted: set[str] = set()
        self._interruptible: frozenset[str] = frozenset()
        self._stopping = False

    # For any thread

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        return self._vocabulary.tokenize(text, special=special)

    def submit(self, request: Request, listener: Listener) -> None:
        """Queue a request; see EnginePort. Compiling a large grammar takes the caller's time."""
        sequence = self._admission.sequence(request, listener, self._clock())
        with self._lock:
            self._refuse_if_unavailable()
            if request.id in self._live:
                raise InvalidRequest(f"A request with the id {request.id!r} is running")
            waiting = len(self._live) - len(self._scheduler.running)
            if waiting >= self._queue_limit:
                raise QueueFull(
                    f"{waiting} requests are waiting already",
                    retry_after_s=self._retry_after_s(waiting),
                )
            self._live[request.id] = sequence
            self._arrived.append(sequence)
            self._lock.notify()

    def abort(self, request_id: str) -> None:
        """Stop a request; a long step that computes it is interrupted within milliseconds."""
        with self._lock:
            if request_id not in self._live:
                return
            self._aborted.add(request_id)
            if request_id in self._interruptible:
                self._backend.interrupt()
            self._lock.notify()

    def stats(self) -> EngineStats:
        return self._stats.snapshot(self._clock())

    @property
    def failure(self) -> str | None:
        """Why the engine gave up, None while it is well."""
        return self._failure

    # Life

    def observe(self, decoding: int, prefill_tokens: int, elapsed_ms: float) -> None:
        """Tell the pacer what a step cost before the engine starts: the warm-up's figures."""
        self._scheduler.pacer.observe(decoding, prefill_tokens, elapsed_ms)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop at once: unfinished requests end with EngineUnavailable, then the kernels go."""
        with self._lock:
            self._stopping = True
            self._backend.interrupt()
            self._lock.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
            if self._thread.is_alive():
                log.error("the engine thread did not stop; its memory is not given back")
                return
        else:
            self._end_all(EngineUnavailable("The engine is stopping"))
        self._backend.close()

    def check(self) -> None:
        """Raise AssertionError if cells or sequences do not add up. For tests, between steps."""
        self._scheduler.check()

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self.step()
            except Exception as error:
                self._give_up_step(error)
        self._end_all(EngineUnavailable("The engine is stopping"))

    def _wait_for_work(self) -> bool:
        """Block until there is something to do; False once the engine is stopping."""
        with self._lock:
            while not (
                self._stopping or self._arrived or self._aborted or self._scheduler.has_work
            ):
                self._lock.wait()
            return not self._stopping

    # One step

    def step(self) -> bool:
        """Schedule, decode, sample, emit. False if nothing was computed."""
        self._take_in()
        step = self._scheduler.schedule(self._clock())
        done = step is not None and self._decode(step)
        if step is not None and done:
            self._sample_and_emit(step)
        self._publish()
        return done

    def _take_in(self) -> None:
        """Arrivals join the queue, aborted sequences leave."""
        with self._lock:
            arrived, self._arrived = self._arrived, deque()
            aborted, self._aborted = self._aborted, set()
            leaving = [self._live[request_id] for request_id in aborted & self._live.keys()]
        for sequence in arrived:
            self._scheduler.add(sequence)
        for sequence in leaving:
            self._finish(sequence, "abort")

    def _decode(self, step: Step) -> bool:
        """Compute the step. False if it was interrupted or came too late for an abort: nothing
        of it counts then, and the others repeat it with unchanged results."""
        with self._lock:
            late = bool(self._aborted) or self._stopping
            if not late and step.expected_ms > INTERRUPT_ABOVE_MS:
                self._interruptible = frozenset(row.sequence.id for row in step.rows)
        started = self._clock()
        try:
            status = Status.ABORTED if late else self._backend.decode(step.batch)
        except EngineFailed:
            self._scheduler.undo(step)
            raise
        finally:
            with self._lock:
                self._interruptible = frozenset()
                if not self._stopping:
                    self._backend.clear_interrupt()
        if status is Status.DONE:
            elapsed_ms = (self._clock() - started) * 1000
            self._scheduler.pacer.observe(step.decoding, step.prefill_tokens, elapsed_ms)
            self._scheduler.complete(step)
            self._failures = 0
            return True
        self._scheduler.undo(step)
        if status is Status.NO_CELLS:
            raise EngineFailed("The kernels found no free cells although the ledger has some")
        return False

    def _sample_and_emit(self, step: Step) -> None:
        now, generated = self._clock(), 0
        gaps_s: list[float] = []
        for row in step.rows:
            if row.output is None:
                continue
            sequence = row.sequence
            if sequence.last_token_s is not None:
                gaps_s.append(now - sequence.last_token_s)
            generated += 1
            try:
                self._advance(sequence, self._backend.logits(row.output), now)
            except EngineError as error:
                self._finish(sequence, "error", error)
        self._stats.step(now, generated, gaps_s)

    def _advance(self, sequence: Sequence, logits: Logits, now: float) -> None:
        """Give the sequence its next token, and its listener what became certain by it."""
        sampler, text = sequence.sampler, sequence.text
        token = sampler.sample(logits)
        logprob = sampler.logprob(logits, token, self._vocabulary.token_bytes)
        sequence.tokens.append(token)
        sampler.accept(token)
        if sequence.first_token_s is None:
            sequence.first_token_s = now
            self._stats.first_token(sequence, now)
        sequence.last_token_s = now
        if token not in self._vocabulary.end_tokens:
            self._emit_text(sequence, text.push(token, logprob))
        if sampler.is_over(token) or text.stop_string is not None:
            self._finish(sequence, "stop")
        elif sequence.is_full(self.model.context_length):
            self._finish(sequence, "length")

    def _finish(
        self, sequence: Sequence, reason: FinishReason, error: EngineError | None = None
    ) -> None:
        """Free the sequence, then tell its listener: withheld text first, the end last."""
        self._scheduler.remove(sequence)
        with self._lock:
            self._live.pop(sequence.id, None)
            self._aborted.discard(sequence.id)
        now = self._clock()
        self._stats.finished(sequence, reason, now)
        self._publish()
        self._emit_text(sequence, sequence.text.finish())
        end = FinishEvent(
            sequence.id,
            reason,
            sequence.usage(),
            sequence.timings(now),
            error,
            sequence.text.stop_string,
        )
        self._emit(sequence, end)

    def _emit_text(self, sequence: Sequence, piece: Piece | None) -> None:
        if piece is not None:
            event = TextEvent(sequence.id, piece.text, piece.tokens, piece.logprobs)
            self._emit(sequence, event)

    def _emit(self, sequence: Sequence, event: Event) -> None:
        """Call the listener; one that raises loses its request, not the engine."""
        try:
            sequence.emit(event)
        except Exception:
            log.exception("the listener of request %s failed", sequence.id)
            self.abort(sequence.id)

    def _publish(self) -> None:
        sessions = {r.session_id for r in self._cache.residents if r.session_id is not None}
        running = len(self._scheduler.running)
        with self._lock:
            waiting = len(self._live) - running
        gauges = Gauges(running, waiting, self._cache.ledger.used, len(sessions))
        self._stats.publish(gauges)

    # When things fail

    def _give_up_step(self, error: Exception) -> None:
        """A step failed: its sequences end with an error and the KV starts empty. After several
        in a row the engine takes no more requests, so that its supervisor sees it."""
        log.error("an engine step failed", exc_info=error)
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW_MAX:
            self._failure = f"The engine failed {self._failures} times in a row: {error}"
        failed = error if isinstance(error, EngineError) else EngineFailed(repr(error))
        for sequence in tuple(self._scheduler.running):
            self._finish(sequence, "error", failed)
        self._cache.evict_all()
        if self._failure is not None:
            self._end_all(EngineUnavailable(self._failure))

    def _end_all(self, error: EngineError) -> None:
        self._take_in()
        for sequence in tuple(self._scheduler.sequences()):
            self._finish(sequence, "error", error)

    def _refuse_if_unavailable(self) -> None:
        if self._stopping:
            raise EngineUnavailable("The engine is stopping")
        if self._failure is not None:
            raise EngineUnavailable(self._failure)

    def _retry_after_s(self, waiting: int) -> float:
        """When a place in the queue should be free, by how long requests took of late."""
        per_request_s = self._stats.mean_duration_s() / self._max_running
        return min(RETRY_AFTER_S_MAX, max(1.0, per_request_s * waiting / 2))
