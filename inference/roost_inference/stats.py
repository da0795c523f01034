"""Counters and latency windows: the engine thread writes them, any thread reads them."""

import threading
from collections import Counter, deque
from collections.abc import Sequence as Many
from dataclasses import dataclass

from roost_inference.request import EngineStats, FinishReason, ServiceClass
from roost_inference.sequence import Sequence

REQUESTS_KEPT = 512
GAPS_KEPT = 4096
RATE_WINDOW_S = 10.0
RATE_SAMPLES_KEPT = 4096
RETRY_AFTER_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Gauges:
    """The state of the engine after a step."""

    running: int = 0
    waiting: Many[int] = (0,) * len(ServiceClass)
    tenants: int = 0
    cells_used: int = 0
    resident_sessions: int = 0
    preemptions_total: int = 0


class StatsRecorder:
    """Thread-safe; the engine thread takes the lock once or twice a step."""

    def __init__(self, cells_total: int, max_running: int) -> None:
        self._max_running = max_running
        self._lock = threading.Lock()
        self._cells_total = cells_total
        self._gauges = Gauges()
        self._finished: Counter[str] = Counter()
        self._first_token_s: deque[float] = deque(maxlen=REQUESTS_KEPT)
        self._duration_s: deque[float] = deque(maxlen=REQUESTS_KEPT)
        self._gaps_s: deque[float] = deque(maxlen=GAPS_KEPT)
        self._tokens: deque[tuple[float, int]] = deque(maxlen=RATE_SAMPLES_KEPT)
        self._prompt_total = self._cached_total = self._completion_total = self._steps_total = 0

    def step(self, now: float, generated: int, gaps_s: list[float]) -> None:
        """Count a step, its tokens, and how long before each the last token of its answer came."""
        with self._lock:
            self._steps_total += 1
            self._completion_total += generated
            self._gaps_s.extend(gaps_s)
            if generated:
                self._tokens.append((now, generated))

    def first_token(self, sequence: Sequence, now: float) -> None:
        """Count a sequence's first token."""
        with self._lock:
            self._first_token_s.append(now - sequence.arrival_s)

    def finished(self, sequence: Sequence, reason: FinishReason, now: float) -> None:
        """Count a sequence that has ended."""
        with self._lock:
            self._finished[reason] += 1
            self._duration_s.append(now - sequence.arrival_s)
            if sequence.started_s is not None:
                self._prompt_total += sequence.prompt_length
                self._cached_total += sequence.cached_tokens

    def publish(self, gauges: Gauges) -> None:
        """Replace the gauges."""
        with self._lock:
            self._gauges = gauges

    def retry_after_s(self, waiting: int) -> float:
        """When a place in the queue should be free, by how long the last requests took."""
        with self._lock:
            durations = self._duration_s or [1.0]
            mean_s = sum(durations) / len(durations)
        return min(RETRY_AFTER_S_MAX, max(1.0, mean_s * waiting / (2 * self._max_running)))

    def snapshot(self, now: float) -> EngineStats:
        """All figures as they are now."""
        with self._lock:
            recent = sum(count for at, count in self._tokens if at > now - RATE_WINDOW_S)
            return EngineStats(
                running=self._gauges.running,
                waiting=sum(self._gauges.waiting),
                cells_total=self._cells_total,
                cells_used=self._gauges.cells_used,
                resident_sessions=self._gauges.resident_sessions,
                prompt_tokens_total=self._prompt_total,
                cached_tokens_total=self._cached_total,
                completion_tokens_total=self._completion_total,
                requests_total=dict(self._finished),
                steps_total=self._steps_total,
                first_token_s=tuple(self._first_token_s),
                inter_token_s=tuple(self._gaps_s),
                tokens_per_second=recent / RATE_WINDOW_S,
                waiting_by_class={
                    service.name.lower(): self._gauges.waiting[service] for service in ServiceClass
                },
                tenants=self._gauges.tenants,
                preemptions_total=self._gauges.preemptions_total,
            )
