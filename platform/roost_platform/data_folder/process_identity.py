"""Which process a pid means: the time of its start tells it from a later one with the same pid."""

import os
import subprocess
from pathlib import Path

PS_TIMEOUT_S = 5.0


def start_of(pid: int) -> str:
    """Return when the process started, as the system writes it; empty if there is none."""
    if pid <= 0:
        return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _asked_of_ps(pid)
    except OSError:
        return ""
    # The name may hold blanks and parentheses. After it: the state is field 3, the start 22.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]


def is_running(pid: int, started: str) -> bool:
    """Whether the process that started then is still there; without a start, any with this pid."""
    if started:
        return start_of(pid) == started
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _asked_of_ps(pid: int) -> str:
    try:
        done = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            timeout=PS_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
