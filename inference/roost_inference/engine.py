"""The engine: schedule, decode, sample, emit, on a thread of its own.

Owns the backend and every sequence. Other threads leave requests and aborts in the mailbox, and
the engine thread takes them out between steps. Knows nothing of HTTP, templates or tools.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from roost_inference.backend import Backend, spelled
from roost_inference.errors import EngineError, EngineFailed, EngineUnavailable, InvalidRequest
from roost_inference.kv.cache import KvCache
from roost_inference.kv.handover.handover import NO_HANDOVER, Handover, HandoverSettings
from roost_inference.kv.opening import paging_of
from roost_inference.kv.session_control import SessionControl
from roost_inference.kv.store import BlockStore
from roost_inference.kv.tiers.placement import TierPlacement
from roost_inference.mailbox import STOPPING, Mailbox
from roost_inference.output_processor import OutputProcessor
from roost_inference.request import EngineStats, Listener, ModelInfo, Request
from roost_inference.runner import Runner
from roost_inference.scheduling.background_prefill import BackgroundPrefill
from roost_inference.scheduling.cost import StepCost
from roost_inference.scheduling.drafts import NO_SPECULATION, Speculation
from roost_inference.scheduling.pacing import Pacer
from roost_inference.scheduling.scheduler import Scheduler
from roost_inference.scheduling.sequence_builder import SequenceBuilder
from roost_inference.scheduling.step import Step
from roost_inference.stats import StatsRecorder

FAILURES_IN_A_ROW_MAX = 3
CLOSE_TIMEOUT_S = 10.0
# How often the deadline of blocks that are being read is checked while there is nothing else to do.
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
        cost: StepCost,
        inter_token_target_ms: float = 100.0,
        store: BlockStore | None = None,
        clock: Callable[[], float] = time.monotonic,
        step_clock: Callable[[], float] | None = None,
        speculation: Speculation = NO_SPECULATION,
        handover: HandoverSettings = NO_HANDOVER,
    ) -> None:
        """cost: what steps were measured to cost; step_clock: tells how long a step computed,
        without the time that other programs took, by default `clock`."""
        self.model = model
        self._backend = backend
        self._vocabulary = backend.vocabulary
        self._clock = clock
        self._speculation = speculation
        self._builder = SequenceBuilder(backend.vocabulary, model.context_length)
        self._stats = StatsRecorder(backend.cells, max_running)
        self._failures = 0
        self._failure: str | None = None
        self.on_failure: Callable[[], None] = lambda: None  # called by the engine's thread
        self._thread: threading.Thread | None = None
        self._mailbox = Mailbox(
            queue_limit=queue_limit,
            interrupt=backend.interrupt,
            clear_interrupt=backend.clear_interrupt,
        )
        pacer = Pacer(inter_token_target_ms, cost)
        parts = (clock, handover, speculation.companion)
        self._cache = KvCache(
            backend,
            paging_of(backend, store, lambda: pacer.prefill_ms_per_token, *parts),
            sequences=max_sequences,
            resident_cells=resident_cells,
            clock=clock,
        )
        self._background = BackgroundPrefill(
            backend, self._cache, self._mailbox, rows_max=batch_tokens
        )
        self._scheduler = Scheduler(
            self._cache,
            pacer,
            self._background,
            speculation,
            batch_tokens=batch_tokens,
            max_running=max_running,
            background_cells=backend.background_cells,
            side_by_side_from=backend.side_by_side_from,
        )
        scheduler, cache, step_clock = self._scheduler, self._cache, step_clock or clock
        self._runner = Runner(
            *(backend, scheduler, self._background, self._mailbox, cost),
            clock=clock,
            step_clock=step_clock,
        )
        self._outputs = OutputProcessor(
            backend, scheduler, cache, self._mailbox, self._stats, speculation, clock=clock
        )
        self.session_control = SessionControl(self._cache, self._mailbox.post, clock)
        self._steps_since_storing = 0
        self._rest_s: float | None = 0.0  # see _idle_s
        self._cache.paging.on_change(self._mailbox.wake)

    # Any thread may call these.

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """See EnginePort."""
        return self._vocabulary.tokenize(text, special=special)

    def tokens_at_least(self, text: str) -> int:
        """See EnginePort."""
        return self._vocabulary.tokens_at_least(text)

    def spelling(self, token: int) -> bytes:
        """See EnginePort."""
        vocabulary = self._vocabulary
        if not 0 <= token < vocabulary.size:
            raise InvalidRequest(f"A token is not below {vocabulary.size}", param="tokens")
        return spelled(vocabulary, token)

    def submit(self, request: Request, listener: Listener) -> None:
        """Queue a request; see EnginePort. A large grammar is compiled in the caller's time."""
        sequence = self._builder.build(request, listener, self._clock())
        self._mailbox.put(sequence, self._stats.retry_after_s)

    def abort(self, request_id: str) -> None:
        """Stop a request; a long step that computes it is interrupted within milliseconds."""
        self._mailbox.abort(request_id)

    def stats(self) -> EngineStats:
        """Counters and gauges since the start."""
        return replace(
            self._stats.snapshot(self._clock()),
            refused_by_class=dict(self._mailbox.refused),
            speculation=self._speculation.figures(),
        )

    @property
    def has_work(self) -> bool:
        """Whether a request is running or waiting."""
        return self._mailbox.has_live

    @property
    def has_tasks(self) -> bool:
        """Whether a step would do anything."""
        return self._scheduler.has_work or self._cache.has_unstored

    @property
    def store(self) -> BlockStore | None:
        """The tiers below the device, None if there are none."""
        return self._cache.paging.store

    @property
    def handover(self) -> Handover | None:
        """What is handed over to and from other engines, None if nothing can be."""
        return self._cache.paging.handover

    @property
    def tiers(self) -> Sequence[TierPlacement]:
        """The tiers that a request may load from; empty without paging."""
        return self.store.placements if self.store is not None else ()

    @property
    def preemptions_total(self) -> int:
        """How often a running sequence had to go back to the queue."""
        return self._scheduler.preemptions_total

    @property
    def failure(self) -> str | None:
        """Why the engine takes no more requests, None while it is well."""
        return self._failure

    def start(self) -> None:
        """Run steps on a thread of the engine's own until `close`."""
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
        if self._failure is None:
            self._cache.evict_all()  # paging stores it, so that a restart finds it
        self._speculation.close()
        self._cache.paging.close()
        self._backend.close()

    def check(self) -> None:
        """Raise AssertionError if cells or sequences do not add up. For tests, between steps."""
        self._scheduler.check()
        self._speculation.check(tuple(self._scheduler.sequences()))

    def _run(self) -> None:
        while self._mailbox.wait(
            lambda: self._rest_s == 0.0 and self.has_tasks, self._rest_s or None
        ):
            try:
                self._rest_s = 0.0 if self.step() else self._idle_s()
            except Exception as error:
                self._give_up_step(error)
                self._rest_s = 0.0
        self._end_all(EngineUnavailable(STOPPING))

    # Only the engine thread calls these.

    def step(self) -> bool:
        """Schedule, decode, sample, emit. False if nothing was computed or stored."""
        self._take_in()
        for command in self._mailbox.take_commands():
            command()
        done = self._process(self._background.finish())
        now = self._clock()
        step = self._scheduler.schedule(now)
        if step is not None:
            done = self._process(self._runner.run(step)) or done
        stored = self._store_some(idle=step is None)
        if step is None:
            self._outputs.publish()
        else:
            self._outputs.publish_if_due(now)
        return done or stored

    def _idle_s(self) -> float | None:
        """How long there is nothing to do unless something happens, after a step that did nothing;
        None if it lasts until something does."""
        rest_s = self._scheduler.rest_s(self._clock())
        return min(rest_s or FETCH_POLL_S, FETCH_POLL_S) if self._cache.is_reading else rest_s

    def _process(self, step: Step | None) -> bool:
        """Account for a computed step and emit its tokens. False if there is no such step."""
        if step is None:
            return False
        self._failures = 0
        self._scheduler.complete(step)
        self._outputs.process(step)
        return True

    def _store_some(self, idle: bool) -> bool:
        """Store a block of a finished sequence in the tiers: at once while the engine is idle,
        else once in STEPS_BETWEEN_STORING steps, as it takes a millisecond."""
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
            self._cache.paging.expect(sequence)
            self._scheduler.add(sequence)
        for sequence in leaving:
            self._outputs.finish(sequence, "abort")

    def _give_up_step(self, error: Exception) -> None:
        """A step failed: what runs ends with an error and the KV starts empty. After several
        failures in a row the engine takes no more requests, so that its supervisor notices."""
        log.error("an engine step failed", exc_info=error)
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW_MAX:
            self._failure = f"The engine failed {self._failures} times in a row: {error}"
        failed = error if isinstance(error, EngineError) else EngineFailed(repr(error))
        with self._cache.distrusted():
            for sequence in tuple(self._scheduler.running):
                self._outputs.finish(sequence, "error", failed)
            self._cache.evict_all()
        if self._failure is not None:
            self._mailbox.refuse(self._failure)
            self._end_all(EngineUnavailable(self._failure))
            self.on_failure()

    def _end_all(self, error: EngineError) -> None:
        self._take_in()
        for sequence in tuple(self._scheduler.sequences()):
            self._outputs.finish(sequence, "error", error)
