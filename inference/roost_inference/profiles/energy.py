"""Joules that the processors used, where the machine tells: Intel's and AMD's RAPL counters."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POWERCAP: Final = Path("/sys/class/powercap")
PACKAGES_MAX: Final = 64


@dataclass(slots=True)
class _Counter:
    """One processor's counter in microjoules, which starts again at zero beyond `range_uj`."""

    path: Path
    range_uj: int
    last_uj: int
    total_uj: int = 0


class EnergyMeter:
    """Energy of all processors since the meter was made, other programs' part included. It must be
    read more often than the counters start again, which is every half an hour or more. Thread-safe.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._lock = threading.Lock()
        self._counters = _counters(folder)

    def joules(self) -> float | None:
        """Joules since the start; None where the machine tells none, or tells them to root only."""
        with self._lock:
            for counter in self._counters:
                now = _number(counter.path)
                if now is None:
                    return None
                step = now - counter.last_uj
                counter.total_uj += step if step >= 0 else step + counter.range_uj
                counter.last_uj = now
            if not self._counters:
                return None
            return sum(counter.total_uj for counter in self._counters) / 1e6


def _counters(folder: Path) -> list[_Counter]:
    """One for each processor. Cores, memory and `psys` are parts of others or hold others."""
    found = []
    for zone in sorted(folder.glob("*:*"))[:PACKAGES_MAX]:
        try:
            name = (zone / "name").read_text().strip()
        except OSError:
            continue
        path = zone / "energy_uj"
        last, limit = _number(path), _number(zone / "max_energy_range_uj")
        if name.startswith("package") and last is not None:
            found.append(_Counter(path, limit or 0, last))
    return found


def _number(path: Path) -> int | None:
    """The file's whole number, None if it can't be read."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
