"""What `roost up` prints about its processes: plain lines, or a live list on a terminal."""

import json
import re
import sys
import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from roost_platform.masking import mask
from roost_platform.terminal import harmless

_LOUD = re.compile(r'"level": "(error|critical)"')
_WORRIED = re.compile(r'"level": "warning"')


class Reporter(Protocol):
    """The supervisor calls one of these as things happen."""

    def starting(self, name: str) -> None:
        """A process is being started."""

    def ready(self, name: str, seconds: float) -> None:
        """A process became ready after this many seconds."""

    def crashed(self, name: str, code: int, retry_s: float) -> None:
        """A process ended by itself; it is started again in `retry_s` seconds."""

    def stopping(self, name: str) -> None:
        """A process is being stopped."""

    def note(self, text: str) -> None:
        """Anything else, in one line."""

    def output(self, name: str, line: str) -> None:
        """A process printed a line."""

    def close(self) -> None:
        """End the live display, if there is one."""


class PlainReporter:
    """One line for each event on stderr; with `verbose` also the output of the processes.

    Without it the warnings of a process that is starting are shown: they say what it waits for.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._starting: set[str] = set()

    def starting(self, name: str) -> None:
        """See Reporter.starting."""
        self._starting.add(name)
        self.note(f"{name}: starting")

    def ready(self, name: str, seconds: float) -> None:
        """See Reporter.ready."""
        self._starting.discard(name)
        self.note(f"{name}: up after {seconds:.1f} s")

    def crashed(self, name: str, code: int, retry_s: float) -> None:
        """See Reporter.crashed."""
        self.note(f"{name}: {how_it_ended(code)}; starting it again in {retry_s:.1f} s")

    def stopping(self, name: str) -> None:
        """See Reporter.stopping."""
        self.note(f"{name}: stopping")

    def note(self, text: str) -> None:
        """See Reporter.note."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def output(self, name: str, line: str) -> None:
        """See Reporter.output."""
        if self._verbose:
            print(f"{name:>8} | {harmless(mask(line))}", file=sys.stderr, flush=True)
        elif name in self._starting and _WORRIED.search(line):
            self.note(f"{name}: {harmless(mask(message_of(line)))}")

    def close(self) -> None:
        """See Reporter.close."""
        return


class LiveReporter(PlainReporter):
    """A spinner for each process while the stack starts, plain lines afterwards."""

    def __init__(self, *, verbose: bool = False) -> None:
        super().__init__(verbose=verbose)
        self._console = Console(stderr=True)
        self._progress: Progress | None = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<10}"),
            TimeElapsedColumn(),
            # What a part prints is no markup.
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=self._console,
        )
        self._progress.start()
        self._tasks: dict[str, TaskID] = {}

    def starting(self, name: str) -> None:
        """See Reporter.starting."""
        self._starting.add(name)
        if self._progress is None:
            super().starting(name)
        elif name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=1, detail="")

    def ready(self, name: str, seconds: float) -> None:
        """See Reporter.ready."""
        self._starting.discard(name)
        if self._progress is None:
            super().ready(name, seconds)
        else:
            self._progress.update(self._tasks[name], completed=1, detail="")

    def output(self, name: str, line: str) -> None:
        """See Reporter.output; the last line stands beside the spinner."""
        super().output(name, line)
        if self._progress is not None and name in self._tasks and not self._verbose:
            self._progress.update(self._tasks[name], detail=harmless(mask(message_of(line))[:80]))

    def note(self, text: str) -> None:
        """See Reporter.note."""
        at = Text(f"{time.strftime('%H:%M:%S')} ", style="dim")
        self._console.print(at.append(text, style="default not dim"), soft_wrap=True)

    def close(self) -> None:
        """See Reporter.close."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def message_of(line: str) -> str:
    """The message of a JSON log line, with its exception's last line; other lines unchanged."""
    try:
        entry = json.loads(line)
        text = str(entry["event"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return line
    trace = str(entry.get("exception") or "").strip()
    return f"{text}: {trace.splitlines()[-1]}" if trace else text


def complaints(lines: Sequence[str]) -> list[str]:
    """The messages of the error lines, each once; of all lines if none is an error."""
    complaining = [line for line in lines if _LOUD.search(line)]
    return list(dict.fromkeys(harmless(message_of(line)) for line in complaining or lines))


def how_it_ended(code: int) -> str:
    """An exit code in words."""
    return f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
