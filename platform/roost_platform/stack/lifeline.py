"""What a supervised part does for its supervisor: die with it, and tell it when it is ready."""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
READY_FILE = "ROOST_READY_FILE"
SUPERVISOR_PID = "ROOST_SUPERVISOR_PID"
POLL_INTERVAL_S = 0.5


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent ends. Survives exec; fit as a preexec_fn.

    SIGKILL, not SIGTERM: an orphan that shuts down slowly still holds its ports, and every part
    is crash-safe.
    """
    if sys.platform == "linux":
        _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def attach_to_supervisor() -> None:
    """Called first by every `roost serve X`: if a supervisor started us, never outlive it."""
    expected = os.environ.get(SUPERVISOR_PID)
    if not expected:
        return
    if sys.platform == "linux":
        die_with_parent()
    else:
        threading.Thread(target=_watch_parent, args=(int(expected),), daemon=True).start()
    if os.getppid() != int(expected):  # it died before we could ask
        os._exit(1)


def tell_ready() -> None:
    """Write our pid to the file the supervisor named; nothing to do when run alone."""
    file = os.environ.get(READY_FILE)
    if file:
        Path(file).write_text(str(os.getpid()), encoding="ascii")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _watch_parent(expected: int) -> None:
    while os.getppid() == expected:
        time.sleep(POLL_INTERVAL_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)
