"""What the console shows of the machine that it runs on: settings, checks and logs."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FRESH_S: Final = 15.0  # checks are made again after this; several readers share them


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """One setting: its variable, its value without secrets, where it comes from, what it is for."""

    path: str
    variable: str
    value: str
    default: str
    origin: str
    secret: bool
    help: str


@dataclass(frozen=True, slots=True)
class ShownCheck:
    """One finding of the doctor. level: ok | warning | broken."""

    name: str
    level: str
    detail: str


@dataclass(slots=True)
class SystemView:
    """Settings, checks and logs of the stack that this console belongs to.

    examine: makes all checks, in a thread, as they take seconds. logs: the folder of the parts' log
    files.
    """

    settings: Sequence[ShownSetting]
    examine: Callable[[], Sequence[ShownCheck]]
    logs: Path
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _checks: tuple[float, tuple[ShownCheck, ...]] | None = None

    async def checks(self) -> tuple[ShownCheck, ...]:
        """The doctor's findings, at most FRESH_S old; one examination at a time."""
        async with self._lock:
            if self._checks is None or time.monotonic() - self._checks[0] > FRESH_S:
                found = tuple(await asyncio.to_thread(self.examine))
                self._checks = time.monotonic(), found
            return self._checks[1]
