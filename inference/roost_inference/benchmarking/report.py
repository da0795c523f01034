"""A run on the console and in docs/benchmarks.md: the machine, one table, and notes."""

import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from roost_inference.benchmarking.figures import Figure, Goal

COLUMNS = ("scenario", "figure", "Roost", "against", "ratio", "at least", "aim", "reached")
# Above this load per core before anything was started, other programs are measured as well.
BUSY_LOAD_PER_CORE = 0.5
TITLE = "# Benchmarks\n"


@dataclass(slots=True)
class BenchmarkRun:
    """The figures of one `make bench`, and the machine they were measured on."""

    model: str
    threads: int
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    load: tuple[float, float, float] = field(default_factory=os.getloadavg)
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    cpu: str = field(default_factory=lambda: cpu_name())
    peers: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_busy(self) -> bool:
        """Whether other programs were computing when the run began."""
        return self.load[0] > BUSY_LOAD_PER_CORE * self.cores

    def add(self, *figures: Figure) -> None:
        """Take figures into the run, and print them."""
        for figure in figures:
            self.figures.append(figure)
            print("  " + line(figure), flush=True)

    def note(self, text: str) -> None:
        """Add a note for the reader of the table, such as why a scenario was left out."""
        self.notes.append(text)
        print(f"  {text}", flush=True)


def machine(run: BenchmarkRun) -> str:
    """Two lines about the machine, the model and the peers."""
    load = " ".join(f"{value:.2f}" for value in run.load)
    busy = ": other programs were running, so absolute figures are too slow" if run.is_busy else ""
    peers = "; ".join(run.peers) or "none"
    return (
        f"{run.cpu}, {run.cores} cores, {run.threads} threads, {platform.system()}; load average "
        f"at the start {load}{busy}.\nModel {run.model}. Peers: {peers}."
    )


def line(figure: Figure) -> str:
    """One figure for the console."""
    text = f"{figure.name}: {quantity(figure.value, figure.unit)}"
    if figure.other is not None:
        text += f", {figure.against} {quantity(figure.other, figure.unit)}"
    if figure.ratio is not None:
        text += f" → {figure.ratio:.2f}x"
    if figure.goal is not None:
        least, aim = (_goal(figure, value) for value in (figure.goal.at_least, figure.goal.aim))
        text += f" (at least {least}, aim {aim}: {'reached' if figure.is_reached else 'missed'})"
    return text


def section(run: BenchmarkRun) -> str:
    """The run as Markdown."""
    rows = [_row(figure) for figure in run.figures]
    table = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    table += [" | ".join(cells) for cells in rows]
    lines = [f"## {run.started:%Y-%m-%d %H:%M} UTC", "", machine(run), ""]
    lines += [f"| {text} |" for text in table]
    if run.notes:
        lines += ["", *(f"* {note}" for note in run.notes)]
    return "\n".join(lines) + "\n"


def append(path: Path, run: BenchmarkRun) -> None:
    """Add the run at the end of the page; the page is begun if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if path.exists() else TITLE
    path.write_text(before.rstrip("\n") + "\n\n" + section(run))


def quantity(value: float, unit: str) -> str:
    """Three significant digits, whole numbers in full: 0.785, 12.3 ms, 1679 ms."""
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    try:
        for text in Path("/proc/cpuinfo").read_text().splitlines():
            if text.startswith("model name"):
                return text.split(":", 1)[1].strip()
    except OSError:
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.stdout.strip():
            return result.stdout.strip()
    return platform.machine()


def _row(figure: Figure) -> tuple[str, ...]:
    goal: Goal | None = figure.goal
    against = ""
    if figure.other is not None:
        against = f"{figure.against}: {quantity(figure.other, figure.unit)}"
    return (
        figure.scenario,
        figure.name,
        quantity(figure.value, figure.unit),
        against,
        "" if figure.ratio is None else f"{figure.ratio:.2f}x",
        "" if goal is None else _goal(figure, goal.at_least),
        "" if goal is None else _goal(figure, goal.aim),
        {None: "", True: "yes", False: "no"}[figure.is_reached],
    )


def _goal(figure: Figure, value: float) -> str:
    return f"{value:g}x" if figure.ratio is not None else quantity(value, figure.unit)
