"""What a run of chaos prints, and what it writes to its folder."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from roost_channels.rendering.parts import REPEAT_LABEL
from roost_platform.chaos.record import Record
from roost_platform.chaos.sim.run import Failure, Tally
from roost_platform.chaos.storm_report import StormReport


def write(folder: Path, name: str, lines: Sequence[str]) -> Path:
    """Print a part of the report and keep it as a file."""
    print("\n".join(lines), flush=True)
    file = folder / f"{name}.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def simulation_lines(first: int, tally: Tally) -> list[str]:
    """The simulation in a few lines; each failing seed with the faults that it needs."""
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
    needs = (plan.says, plan.crashes, plan.strikes, plan.outages, plan.jumps, plan.edits)
    lines.append(f"    needs {', '.join(map(str, needs))}, {plan.habits}")
    return lines


def storm_lines(report: StormReport) -> list[str]:
    """What was killed, the result, and each violation with its evidence."""
    config, record = report.config, report.record
    kills = Counter(part for _, part, _ in report.kills)
    repeats = sum(shown.text.startswith(REPEAT_LABEL) for shown in record.shown)
    lines = [
        f"storm: seed {config.seed}, {config.minutes:g} minutes on {config.database},"
        f" {len(report.written)} messages written, {len(record.accepted)} accepted,"
        f" {report.telegram_calls} Telegram and {report.twilio_calls} Twilio calls",
        f"  killed {sum(kills.values())}: "
        + ", ".join(f"{part} {count}" for part, count in sorted(kills.items())),
        f"  struck {sum(report.struck.values())} calls and events: "
        + ", ".join(f"{kind} {count}" for kind, count in sorted(report.struck.items())),
        f"  at rest {report.settled_s:.0f} s after the last kill; {repeats} labelled repeats,"
        f" {len(record.unknowable)} status messages of unknown outcome",
        f"  {report.presses} buttons pressed; {waits_line(record)}",
        f"  {sum(bool(one.cut) for one in record.accepted)} questions have an answer that was cut",
        f"  {len(report.violations)} violations",
    ]
    lines += [f"    {violation}" for violation in report.violations]
    lines += [f"  {clock(at)} kill -9 {part} ({pid})" for at, part, pid in report.kills]
    return lines


def waits_line(record: Record) -> str:
    """How much waited, in words."""
    waits = record.waits
    ran = sum(call.runs for call in waits.acted)
    return (
        f"{len(waits.acted)} calls with an effect, of which {ran} ran, "
        f"{len(waits.handed)} tasks of agents, {len(waits.reminded)} reminders"
    )


def clock(at: float) -> str:
    """A moment as `HH:MM:SS.mmm` in local time; `at` in seconds since the epoch."""
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
