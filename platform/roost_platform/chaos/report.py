"""What a run of chaos prints and leaves behind."""

from collections.abc import Sequence
from pathlib import Path

from roost_platform.chaos.sim.run import Failure, Tally


def write(folder: Path, name: str, lines: Sequence[str]) -> Path:
    """Print a part of the report and keep it as a file."""
    print("\n".join(lines), flush=True)
    file = folder / f"{name}.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def simulation_lines(first: int, tally: Tally) -> list[str]:
    """The simulation in a few lines; each failing seed with what it takes to break it."""
    lines = [
        f"simulation: {tally.schedules} schedules from seed {first}, {tally.messages} messages,"
        f" {tally.calls} provider calls, {tally.crashes} crashes,"
        f" {tally.virtual_s / 3600:.1f} simulated hours in {tally.wall_s:.0f} s:"
        f" {len(tally.failures)} failed"
    ]
    for failure in tally.failures:
        lines += _failure_lines(failure)
    return lines


def _failure_lines(failure: Failure) -> list[str]:
    lines = [f"  seed {failure.seed} (make chaos SEED={failure.seed} SCHEDULES=1 MINUTES=0):"]
    lines += [f"    {violation}" for violation in failure.violations[:5]]
    plan = failure.plan
    lines.append(f"    needs {plan.says}, {plan.crashes}, {plan.strikes}")
    return lines
