"""Watches the code of agents, and starts the worker again once what changed can be loaded."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from roost_platform.errors import EXIT_CONFIG
from roost_platform.masking import mask
from roost_platform.stack.reporter import Reporter
from roost_platform.stack.supervisor import Supervisor

LOOK_S: Final = 1.0
CHECK_S_MAX: Final = 60.0
FILES_MAX: Final = 10_000  # that are watched; further ones are not
COMMAND: Final = (sys.executable, "-m", "roost_platform.stack.dev.check")
# They know the agents' names and queue modes, but run none of their code.
NAMES_ONLY: Final = ("courier", "web")

Stamps = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a check found. roll: the default agent, then each with its queue mode."""

    roll: tuple[str, ...]
    files: tuple[str, ...]
    folders: tuple[str, ...]


class Reloader:
    """Runs beside the supervisor. environ: of the parts, which load the same agents."""

    def __init__(
        self,
        supervisor: Supervisor,
        environ: Mapping[str, str],
        reporter: Reporter,
        *,
        command: Sequence[str] = COMMAND,
        look_s: float = LOOK_S,
    ) -> None:
        self._supervisor = supervisor
        self._environ = dict(environ)
        self._reporter = reporter
        self._command = command
        self._look_s = look_s

    async def run(self) -> None:
        """Watch until this is cancelled. Returns at once if the agents can't be loaded: their parts
        say so themselves.
        """
        loaded = await self._check()
        if isinstance(loaded, str):
            return
        seen = await asyncio.to_thread(stamps, loaded)
        self._reporter.note(f"dev: watching {len(seen)} files of agents")
        while True:
            await asyncio.sleep(self._look_s)
            now = await asyncio.to_thread(stamps, loaded)
            if now == seen:
                continue
            changed = sorted(name for name in {*seen, *now} if seen.get(name) != now.get(name))
            seen = now
            checked = await self._check()
            if isinstance(checked, str):
                self._reporter.note(f"dev: {checked}")
                self._reporter.note("dev: the agents from before go on until this is mended")
                continue
            parts = ["worker"] if checked.roll == loaded.roll else ["worker", *NAMES_ONLY]
            self._reporter.note(f"dev: {_shown(changed)} changed; restarting {', '.join(parts)}")
            loaded = checked
            # What changed during the check counts as not seen yet.
            seen = {**await asyncio.to_thread(stamps, loaded), **seen}
            seen = {name: stamp for name, stamp in seen.items() if name in set(watched(loaded))}
            await asyncio.gather(*(self._supervisor.restart(part) for part in parts))

    async def _check(self) -> Loaded | str:
        """The agents as their code is now, or what is wrong with it."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(process.communicate(), CHECK_S_MAX)
        except TimeoutError:
            return f"the agents were not loaded in {CHECK_S_MAX:.0f} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        lines = errors.decode(errors="replace").strip().splitlines()
        if process.returncode:
            is_known = process.returncode == EXIT_CONFIG
            why = lines[-1] if lines else f"the check ended with code {process.returncode}"
            return mask(why if is_known else f"the agents can't be loaded: {why}")
        found = json.loads(output.decode().splitlines()[-1])
        return Loaded(tuple(found["roll"]), tuple(found["files"]), tuple(found["folders"]))


def watched(loaded: Loaded) -> Iterator[str]:
    """The files that are watched: those that were loaded, and Python's in their packages."""
    yield from loaded.files
    for top in loaded.folders:
        for folder, inner, names in os.walk(top):
            inner[:] = [name for name in inner if not name.startswith((".", "__pycache__"))]
            yield from (os.path.join(folder, name) for name in names if name.endswith(".py"))


def stamps(loaded: Loaded) -> Stamps:
    """When each watched file was written, in nanoseconds, and its size; without lost ones."""
    found: dict[str, tuple[int, int]] = {}
    for name in watched(loaded):
        if len(found) >= FILES_MAX:
            break
        try:
            facts = os.stat(name)
        except OSError:
            continue
        found[name] = (facts.st_mtime_ns, facts.st_size)
    return found


def _shown(changed: Sequence[str]) -> str:
    first = Path(changed[0]).name
    return first if len(changed) == 1 else f"{first} and {len(changed) - 1} more"
