"""Watch the engine from the web process: its figures now, and samples of the last hour."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from roost_inference.client.sessions import Caller, EngineSessions
from roost_inference.errors import EngineError
from roost_platform.rhythm import until_beat
from roost_platform.views.engine.figures import EngineFigures, figures_of_health, figures_of_metrics
from roost_platform.views.engine.prometheus_text import Families

log = logging.getLogger(__name__)

INTERVAL_S: Final = 5.0
# The same while the engine computes nothing, unless something is committed: each look wakes both.
CALM_S: Final = 60.0
SAMPLES_KEPT: Final = 720  # an hour
TIMEOUT_S: Final = 2.0
MINUTE_S: Final = 60


class WatchedEngine(Caller, Protocol):
    """What the watch calls of EngineClient."""

    async def health(self) -> Mapping[str, Any]:
        """The engine's `/health`; raises EngineError when it can't be reached."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The engine at one moment, in seconds since the epoch; None where it did not report."""

    at: float
    tokens_per_second: float | None = None
    itl_ms: float | None = None
    ttft_ms: float | None = None
    running: int | None = None
    cells_share: float | None = None
    hit_rate: float | None = None
    completion_tokens: int | None = None


class EngineWatch:
    """Reads any engine; an engine that is down gives figures that say so.

    changed: waits for a commit, at most so many seconds; None: every INTERVAL_S is looked.
    """

    def __init__(
        self,
        engine: WatchedEngine,
        clock: Callable[[], float] = time.time,
        changed: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self._engine = engine
        self._changed = changed
        self._sessions = EngineSessions(engine)
        self._clock = clock
        self.samples: deque[Sample] = deque(maxlen=SAMPLES_KEPT)

    async def run(self) -> None:
        """Sample for ever."""
        while True:
            try:
                await self.sample()
            except Exception:
                log.exception("the engine's figures could not be read")
            await asyncio.sleep(until_beat(INTERVAL_S))
            if self._changed is not None and self.is_calm:
                await self._changed(CALM_S)

    @property
    def is_calm(self) -> bool:
        """Whether the engine computed nothing between the last two samples, nor does now."""
        if len(self.samples) < 2:
            return False
        before, last = self.samples[-2], self.samples[-1]
        return not last.running and last.completion_tokens == before.completion_tokens

    async def sample(self) -> None:
        """Keep one reading for the charts."""
        now, figures = self._clock(), await self.figures()
        self.samples.append(
            Sample(
                now,
                figures.tokens_per_second,
                figures.itl.p50,
                figures.ttft.p50,
                figures.running,
                figures.cells_share,
                figures.hit_rate,
                figures.completion_tokens,
            )
        )

    async def figures(self) -> EngineFigures:
        """The engine's figures now."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                health = await self._engine.health()
                if "cells_total" in health or health.get("status") != "ok":
                    return figures_of_health(health)
                return self._with_rate(await self._metrics(health))
        except (EngineError, TimeoutError) as error:
            return EngineFigures(status=str(error) or "does not answer in time")

    async def _metrics(self, health: Mapping[str, Any]) -> EngineFigures:
        status, _, text = await self._engine.call("GET", "/metrics")
        try:
            families = Families.parse(text.decode() if status == 200 else "")
        except ValueError:
            families = Families({})
        return figures_of_metrics(families, health)

    def _with_rate(self, figures: EngineFigures) -> EngineFigures:
        """Tokens per second, of an engine that only counts tokens, since the last sample."""
        last, now = (self.samples[-1] if self.samples else None), self._clock()
        if last is None or None in (last.completion_tokens, figures.completion_tokens):
            return figures
        made = (figures.completion_tokens or 0) - (last.completion_tokens or 0)
        elapsed_s = max(now - last.at, 1.0)
        return replace(figures, tokens_per_second=max(made, 0) / elapsed_s)

    async def sessions(self, limit: int) -> Sequence[Mapping[str, Any]] | None:
        """The engine's latest sessions, newest first; None if it has no list or does not answer."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return list(reversed(await self._sessions.list(limit)))
        except (EngineError, TimeoutError):
            return None

    def minutes(self) -> list[Sample]:
        """The samples as means of whole minutes, oldest first."""
        groups: dict[int, list[Sample]] = {}
        for sample in self.samples:
            groups.setdefault(int(sample.at // MINUTE_S), []).append(sample)
        return [_mean(minute * MINUTE_S, samples) for minute, samples in groups.items()]


def _mean(at: float, samples: Sequence[Sample]) -> Sample:
    def mean(name: str) -> float | None:
        values = [value for sample in samples if (value := getattr(sample, name)) is not None]
        return sum(values) / len(values) if values else None

    running = mean("running")
    return Sample(
        at,
        mean("tokens_per_second"),
        mean("itl_ms"),
        mean("ttft_ms"),
        None if running is None else round(running),
        mean("cells_share"),
        mean("hit_rate"),
    )
