"""What a supervised process does: end with its supervisor, tell when it is ready, beat."""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path

from roost_platform.rhythm import BEAT_S

PR_SET_PDEATHSIG = 1
READY_FILE = "ROOST_READY_FILE"
SUPERVISOR_PID = "ROOST_SUPERVISOR_PID"
BEAT_PIPE = "ROOST_BEAT_PIPE"  # the number of the descriptor that beats are written to
BEAT_EVERY_S = BEAT_S
SILENCE_MAX_S = 30.0  # a process that is silent for this long is killed and started again
STUCK_S = 20.0  # before that, it writes to its log where it is stuck
ARM_EVERY = 2  # beats; arming starts a thread, which is most of what a beat costs

_ends_itself = False
_beats = 0
POLL_INTERVAL_S = 0.5


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL when the parent ends. Survives exec; usable as a preexec_fn.

    SIGKILL, not SIGTERM: an orphan that shuts down slowly still holds its ports, and every process
    is crash-safe.
    """
    if sys.platform == "linux":
        _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def attach_to_supervisor() -> None:
    """End with the supervisor, if there is one; every `roost serve X` calls this first."""
    expected = os.environ.get(SUPERVISOR_PID)
    if not expected:
        return
    if sys.platform == "linux":
        die_with_parent()
    else:
        threading.Thread(target=_watch_parent, args=(int(expected),), daemon=True).start()
    if os.getppid() != int(expected):  # it ended before the kernel was asked
        os._exit(1)
    if pipe := os.environ.get(BEAT_PIPE):
        os.set_blocking(int(pipe), False)
        os.set_inheritable(int(pipe), False)


def tell_ready() -> None:
    """Write our pid to the file that the supervisor named; does nothing without a supervisor."""
    file = os.environ.get(READY_FILE)
    if file:
        Path(file).write_text(str(os.getpid()), encoding="ascii")


def beat() -> None:
    """Tell the supervisor that our event loop runs.

    The beat goes to a pipe, not to the database or a file: a database that is away or a full disk
    is not a reason to kill it. If no beat follows within STUCK_S, and a beat's time at most, the
    stacks of all threads are written to the log. A process without a supervisor, as in a container,
    then ends itself after SILENCE_MAX_S, likewise, and whatever runs it starts it again. A thread
    in C does both; it needs no interpreter.
    """
    global _beats
    pipe = os.environ.get(BEAT_PIPE)
    if pipe:
        with contextlib.suppress(OSError):  # the pipe is full: the supervisor is late, not we
            os.write(int(pipe), b".")
    if (pipe or _ends_itself) and _beats % ARM_EVERY == 0:
        faulthandler.dump_traceback_later(
            (STUCK_S if pipe else SILENCE_MAX_S) + (ARM_EVERY - 1) * BEAT_EVERY_S,
            file=sys.__stderr__ or sys.stderr,
            exit=not pipe,
        )
    _beats += 1


def end_itself_when_silent() -> None:
    """Let `beat` end this process when it is stuck; for a process that does nothing else."""
    global _ends_itself
    _ends_itself = True


def end_beats() -> None:
    """Stop watching this process: whoever asked for its end bounds how long that takes."""
    if os.environ.get(BEAT_PIPE) or _ends_itself:
        faulthandler.cancel_dump_traceback_later()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _watch_parent(expected: int) -> None:
    while os.getppid() == expected:
        time.sleep(POLL_INTERVAL_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a child that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    """SIGKILL to a process and all that it started in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
