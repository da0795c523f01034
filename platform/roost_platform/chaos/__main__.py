"""`python -m roost_platform.chaos`: simulated schedules first, then kills under load."""

import argparse
import sys
import time
from pathlib import Path

from roost_platform.chaos.handover.kills import storm_of_kills
from roost_platform.chaos.handover.report import kill_lines
from roost_platform.chaos.report import simulation_lines, storm_lines, write
from roost_platform.chaos.sim.run import Tally, run
from roost_platform.chaos.storm import storm
from roost_platform.chaos.storm_report import StormConfig
from roost_platform.settings.config import load_settings

TELL_S = 20.0  # between two lines of progress


def main() -> int:
    """Run what the command line asks for; returns 0 when every invariant held, else 1."""
    options = _options()
    folder = options.data / f"{time.strftime('%Y%m%dT%H%M%S')}-seed{options.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"chaos: seed {options.seed}, report in {folder}", flush=True)
    held = True
    if options.schedules:
        tally = run(options.seed, options.schedules, Progress(options.schedules))
        write(folder, "simulation", simulation_lines(options.seed, tally))
        held = not tally.failures
    if options.minutes:
        config = StormConfig(
            options.seed,
            options.minutes,
            options.kill_every,
            options.write_every,
            options.database,
            options.real_engine,
        )
        report = storm(config, folder)
        write(folder, "storm", storm_lines(report))
        held = held and not report.violations
    if options.handovers:
        kills = storm_of_kills(options.seed, options.handovers, folder / "handover")
        write(folder, "handover", kill_lines(kills))
        held = held and not kills.violations
    print("every invariant held" if held else "INVARIANTS BROKEN", flush=True)
    return 0 if held else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m roost_platform.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="first seed; the same gives the same")
    parser.add_argument("--schedules", type=int, default=1000, help="simulated; 0 for none")
    parser.add_argument("--minutes", type=float, default=5.0, help="of kills; 0 for none")
    parser.add_argument("--kill-every", type=float, default=5.0, help="seconds, on average")
    parser.add_argument("--write-every", type=float, default=12.0, help="seconds, per person")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--handovers", type=int, default=0, help="kills of engines that hand KV over; 0 for none"
    )
    parser.add_argument(
        "--real-engine", action="store_true", help="the bundled core instead of the scripted engine"
    )
    parser.add_argument(
        "--data", type=Path, default=load_settings().data_dir / "chaos", help="where reports go"
    )
    return parser.parse_args()


class Progress:
    """Prints how many schedules are done, every TELL_S seconds."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._told = time.monotonic()

    def __call__(self, tally: Tally) -> None:
        """Print a line if one is due."""
        if time.monotonic() - self._told >= TELL_S:
            self._told = time.monotonic()
            failed = f", {len(tally.failures)} failed" if tally.failures else ""
            print(f"  {tally.schedules} of {self._count} schedules{failed}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
