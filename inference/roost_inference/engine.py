"""The engine: schedule, decode, sample, emit, on a thread of its own.

Owns the backend and every sequence. Other threads leave requests and aborts in the mailbox; the
engine thread takes them in between steps. It knows nothing of HTTP, templates or tools.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from roost_inference.admission import Admission
from roost_inference.backend import Backend, Logits
from roost_inference.backend import DecodeStatus as Status
from roost_inference.errors import EngineError, EngineFailed, EngineUnavailable
from roost_inference.kv.cache import KvCache
from roost_inference.kv.desk import SessionDesk
from roost_inference.kv.paging import Pager
from roost_inference.kv.store import BlockStore
from roost_inference.mailbox import STOPPING, Mailbox
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
from roost_inference.scheduler import Row, Scheduler, Step
from roost_inference.sequence import Sequence
from roost_inference.speculation.speculator import Speculator
from roost_inference.stats import Gauges, StatsRecorder
from roost_inference.tokenizer import Piece

# A step shorter than this is let finish when one of its requests is aborted.
INTERRUPT_ABOVE_MS = 15.0
FAILURES_IN_A_ROW_MAX = 3
CLOSE_TIMEOUT_S = 10.0
# How often the deadline of blocks being read is looked at while nothing else is to be done.
FETCH_POLL_S = 0.02
STEPS_BETWEEN_STORING = 8

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
        store: BlockStore | None = None,
        clock: Callable[[], float] = time.monotonic,
        speculator: Speculator | None = None,
    ) -> None:
        self.model = model
        self._backend = backend
        self._vocabulary = backend.vocabulary
        self._clock = clock
        pacer = Pacer(inter_token_target_ms)
        self._cache = KvCache(
            backend,
            sequences=max_sequences,
            resident_cells=resident_cells,
            pager=_pager(backend, store, pacer, clock),
            clock=clock,
        )
        self._scheduler = Scheduler(
            self._cache,
            pacer,
            batch_tokens=batch_tokens,
            max_running=max_running,
            context_length=model.context_length,
            speculator=speculator,
        )
        self._speculator = speculator
        self._admission = Admission(backend.vocabulary, model.context_length)
        self._stats = StatsRecorder(backend.cells, max_running)
        self._failures = 0
        self._failure: str | None = None
        self._thread: threading.Thread | None = None
        self._mailbox = Mailbox(
            queue_limit=queue_limit,
            interrupt=backend.interrupt,
            clear_interrupt=backend.clear_interrupt,
        )
        self.desk = SessionDesk(self._cache, self._mailbox.post, clock)
        self._steps_since_storing = 0
        self._only_fetching = False
        if store is not None:
            store.movers.on_change = self._mailbox.wake

    # For any thread

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        return self._vocabulary.tokenize(text, special=special)

    def submit(self, request: Request, listener: Listener) -> None:
        """Queue a request; see EnginePort. Compiling a large grammar takes the caller's time."""
        sequence = self._admission.sequence(request, listener, self._clock())
        self._mailbox.put(sequence, self._stats.retry_after_s)

    def abort(self, request_id: str) -> None:
        """Stop a request; a long step that computes it is interrupted within milliseconds."""
        self._mailbox.abort(request_id)

    def stats(self) -> EngineStats:
        stats = self._stats.snapshot(self._clock())
        if self._speculator is None:
            return stats
        return replace(stats, speculation=self._speculator.figures())

    @property
    def has_work(self) -> bool:
        """Whether anything is running or waiting."""
        return self._mailbox.has_live

    @property
    def has_tasks(self) -> bool:
        """Whether a step would do anything."""
        return self._scheduler.has_work or self._cache.has_unstored

    @property
    def store(self) -> BlockStore | None:
        """The tiers below the device, None if there are none."""
        return self._cache.pager.store if self._cache.pager is not None else None

    @property
    def preemptions_total(self) -> int:
        """How often a sequence had to start over because cells ran out."""
        return self._scheduler.preemptions_total

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
        self._mailbox.stop()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
            if self._thread.is_alive():
                log.error("the engine thread did not stop; its memory is not given back")
                return
        else:
            self._end_all(EngineUnavailable(STOPPING))
        if self._speculator is not None:
            self._speculator.close()
        if self.store is not None:
            if self._failure is None:
                self._cache.evict_all()  # a restart finds it
            self.store.close()
        self._backend.close()

    def check(self) -> None:
        """Raise AssertionError if cells or sequences do not add up. For tests, between steps."""
        self._scheduler.check()
        if self._speculator is not None:
            self._speculator.check(tuple(self._scheduler.sequences()))

    def _run(self) -> None:
        while self._mailbox.wait(
            lambda: not self._only_fetching and self.has_tasks,
            FETCH_POLL_S if self._only_fetching else None,
        ):
            try:
                self._only_fetching = not self.step() and self._cache.is_reading
            except Exception as error:
                self._give_up_step(error)
        self._end_all(EngineUnavailable(STOPPING))

    # One step

    def step(self) -> bool:
        """Schedule, decode, sample, emit. False if nothing was computed or stored."""
        self._take_in()
        for command in self._mailbox.take_commands():
            command()
        step = self._scheduler.schedule(self._clock())
        done = step is not None and self._decode(step)
        if step is not None and done:
            self._sample_and_emit(step)
        stored = self._store_some(idle=step is None)
        self._publish()
        return done or stored

    def _store_some(self, idle: bool) -> bool:
        """Copy a block of a finished sequence below: while idle at once, else now and then, as
        it takes a millisecond."""
        self._steps_since_storing += 1
        due = idle or self._steps_since_storing >= STEPS_BETWEEN_STORING
        if not due or not self._cache.has_unstored:
            return False
        self._steps_since_storing = 0
        self._cache.store_some()
        return True

    def _take_in(self) -> None:
        """Arrivals join the queue, aborted sequences leave."""
        arrived, leaving = self._mailbox.take()
        for sequence in arrived:
            self._scheduler.add(sequence)
        for sequence in leaving:
            self._finish(sequence, "abort")

    def _decode(self, step: Step) -> bool:
        """Compute the step. False if it was interrupted or came too late for an abort: nothing
        of it counts then, and the others repeat it with unchanged results."""
        is_long = step.expected_ms > INTERRUPT_ABOVE_MS
        if not self._mailbox.begin_step(row.sequence.id for row in step.rows if is_long):
            self._scheduler.undo(step)
            return False
        started = self._clock()
        try:
            status = self._backend.decode(step.batch)
        except EngineFailed:
            self._scheduler.undo(step)
            raise
        finally:
            self._mailbox.end_step()
        if status is Status.DONE:
            elapsed_ms = (self._clock() - started) * 1000
            self._observe(step, elapsed_ms)
            self._scheduler.complete(step)
            self._failures = 0
            return True
        self._scheduler.undo(step)
        if status is Status.NO_CELLS:
            raise EngineFailed("The kernels found no free cells although the ledger has some")
        return False

    def _observe(self, step: Step, elapsed_ms: float) -> None:
        if step.draft_tokens == 0:
            self._scheduler.pacer.observe(step.decoding, step.prefill_tokens, elapsed_ms)
        if self._speculator is not None and step.prefill_tokens == 0:
            context = sum(len(row.sequence.tokens) for row in step.rows) / len(step.rows)
            self._speculator.observe(step.batch.size, elapsed_ms, context)

    def _sample_and_emit(self, step: Step) -> None:
        now, generated = self._clock(), 0
        gaps_s: list[float] = []
        for row in step.rows:
            if row.output is None:
                continue
            sequence = row.sequence
            if sequence.last_token_s is not None:
                gaps_s.append(now - sequence.last_token_s)
            generated += self._advance_row(row, row.output, now)
        self._stats.step(now, generated, gaps_s)

    def _advance_row(self, row: Row, output: int, now: float) -> int:
        """Give the row's sequence its next token, and further ones as long as they are those of
        its draft: each is chosen from logits that all before it led to. Returns how many."""
        sequence, draft = row.sequence, row.draft
        drafted = () if draft is None else draft.tokens
        before, accepted = len(sequence.tokens), 0
        reason: FinishReason | None = None
        failed: EngineError | None = None
        try:
            for at in range(len(drafted) + 1):
                logits = self._backend.logits(output if at == 0 else row.draft_row + at - 1)
                reason = self._advance(sequence, logits, now)
                is_drafted = at < len(drafted) and int(sequence.tokens.view[-1]) == drafted[at]
                accepted += is_drafted
                if reason is not None or not is_drafted:
                    break
        except EngineError as error:
            reason, failed = "error", error
        count = len(sequence.tokens) - before
        if draft is not None and self._speculator is not None:
            # the newest token stays to be computed, as without a draft
            self._scheduler.settle(row, max(count - 1, 0))
            self._speculator.verified(sequence, draft, accepted)
        if reason is not None:
            self._finish(sequence, reason, failed)
        return count

    def _advance(self, sequence: Sequence, logits: Logits, now: float) -> FinishReason | None:
        """Give the sequence its next token, and its listener what became certain by it. Returns
        why the sequence is over, None if it goes on."""
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
            return "stop"
        return "length" if sequence.is_full(self.model.context_length) else None

    def _finish(
        self, sequence: Sequence, reason: FinishReason, error: EngineError | None = None
    ) -> None:
        """Free the sequence, then tell its listener: withheld text first, the end last."""
        self._scheduler.remove(sequence)
        self._mailbox.forget(sequence.id)
        now = self._clock()
        self._stats.finished(sequence, reason, now)
        speculation = None
        if self._speculator is not None:
            speculation = self._speculator.end(sequence, finished=reason in ("stop", "length"))
        self._publish()
        self._emit_text(sequence, sequence.text.finish())
        end = FinishEvent(
            sequence.id,
            reason,
            sequence.usage(),
            sequence.timings(now),
            error,
            sequence.text.stop_string,
            kv=sequence.kv_report,
            speculation=speculation,
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
        self._mailbox.report_running(running)
        used = self._cache.ledger.used
        self._stats.publish(Gauges(running, self._mailbox.waiting, used, len(sessions)))

    # When things fail

    def _give_up_step(self, error: Exception) -> None:
        """A step failed: its sequences end with an error and the KV starts empty. After several
        in a row the engine takes no more requests, so that its supervisor sees it."""
        log.error("an engine step failed", exc_info=error)
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW_MAX:
            self._failure = f"The engine failed {self._failures} times in a row: {error}"
        failed = error if isinstance(error, EngineError) else EngineFailed(repr(error))
        with self._cache.distrusted():
            for sequence in tuple(self._scheduler.running):
                self._finish(sequence, "error", failed)
            self._cache.evict_all()
        if self._failure is not None:
            self._mailbox.refuse(self._failure)
            self._end_all(EngineUnavailable(self._failure))

    def _end_all(self, error: EngineError) -> None:
        self._take_in()
        for sequence in tuple(self._scheduler.sequences()):
            self._finish(sequence, "error", error)


def _pager(
    backend: Backend, store: BlockStore | None, pacer: Pacer, clock: Callable[[], float]
) -> Pager | None:
    """Paging needs tiers, and a model whose state can be cut into blocks."""
    if store is None or not backend.truncates:
        return None
    return Pager(
        backend, store, prefill_ms_per_token=lambda: pacer.prefill_ms_per_token, clock=clock
    )
