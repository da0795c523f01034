"""One engine as the router sees it: its health, its load, and figures that are not too old."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from roost_inference.client.routing.control import Control
from roost_inference.client.routing.facts import EngineSummary
from roost_inference.client.routing.health import EngineHealth
from roost_inference.errors import EngineError, EngineSilent

REFRESH_S: Final = 1.0  # figures that are older are asked for again, beside the requests
FOREIGN_S: Final = 60.0  # engines that are none of ours tell no figures
LOAD_S_MAX: Final = 10.0  # an older load says nothing
FIGURES_S_MAX: Final = 600.0  # speed and identity change with a restart only
PROBE_TIMEOUT_S: Final = 5.0

Duty = Literal["decode", "prefill"]


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine for people. name: host, port and path. duty: what this installation uses it for.
    role: what it says itself, empty where it does not. problem: why no request goes there, or
    empty.
    """

    name: str
    duty: Duty
    role: str
    state: str
    problem: str
    compat: str
    running: int | None
    waiting: int | None


class RoutedEngine:
    """One engine. in_flight: requests of this router that it has. queued_tokens: of prompts that
    this router has it read and that it has not read yet."""

    def __init__(
        self,
        url: str,
        duty: Duty,
        control: Control,
        clock: Callable[[], float] = time.monotonic,
        on_sessions: Callable[[str, list[str]], None] | None = None,
    ) -> None:
        parts = urlsplit(url)
        path = parts.path.rstrip("/").removesuffix("/v1")
        self.name = f"{parts.netloc.rpartition('@')[2]}{path}"
        self.url = url
        self.host = parts.hostname or ""
        self.duty: Duty = duty
        self.control = control
        self.health = EngineHealth(self.name, clock)
        self.in_flight = 0
        self.queued_tokens = 0
        self.on_sessions = on_sessions
        self._clock = clock
        self._summary: EngineSummary | None = None
        self._taken_at = float("-inf")
        self._asked_at = float("-inf")
        self._others = 0
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def summary(self) -> EngineSummary | None:
        """What the engine has told of itself not long ago."""
        return self._summary if self._clock() - self._taken_at < FIGURES_S_MAX else None

    @property
    def others(self) -> int:
        """Requests of others that it has, as it told a moment ago; 0 if that is longer ago."""
        return self._others if self._clock() - self._taken_at < LOAD_S_MAX else 0

    @property
    def load(self) -> int:
        """Requests that it has."""
        return self.in_flight + self.others

    @property
    def state(self) -> EngineState:
        """The engine for people."""
        summary, health = self.summary, self.health
        return EngineState(
            name=self.name,
            duty=self.duty,
            role=summary.role if summary else "",
            state=health.state,
            problem=health.problem,
            compat=summary.compat if summary else "",
            running=summary.running if summary else None,
            waiting=summary.waiting if summary else None,
        )

    def refresh(self) -> None:
        """Ask for figures beside the requests if those at hand are old; nobody waits for them."""
        health = self.health
        tells = self._summary is not None or health.state != "up"
        is_old = self._clock() - self._asked_at >= (REFRESH_S if tells else FOREIGN_S)
        if (
            self._refreshing is not None
            or not is_old
            or (health.state == "down" and not health.wants_probe)
        ):
            return
        self._asked_at = self._clock()
        self._refreshing = asyncio.create_task(self._ask())
        self._refreshing.add_done_callback(self._refreshed)

    async def refreshed(self) -> None:
        """Wait for the figures that are asked for now."""
        self.refresh()
        if self._refreshing is not None:
            await asyncio.wait({self._refreshing})

    async def close(self) -> None:
        """Ask no more."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait({self._refreshing})
        await self.control.close()

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.result()

    async def _ask(self) -> None:
        in_flight = self.in_flight
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                summary = await self.control.summary()
        except (EngineError, TimeoutError) as error:
            # One that writes answers may only be too busy to tell figures.
            is_busy = isinstance(error, TimeoutError | EngineSilent) and self.in_flight > 0
            if not is_busy or self.health.state != "up":
                self.health.failed(str(error) or "it does not answer")
            return
        self.health.probed()
        is_new = summary is not None and (
            self._summary is None or self._summary.engine_id != summary.engine_id
        )
        self._summary, self._taken_at = summary, self._clock()
        if summary is not None:
            self._others = max(0, summary.running + summary.waiting - in_flight)
        if is_new and self.on_sessions is not None:
            with contextlib.suppress(EngineError, TimeoutError):
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    self.on_sessions(self.name, await self.control.sessions())
