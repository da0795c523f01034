"""What a supervised part does for its supervisor: die with it, tell when it is ready, beat."""

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
READY_FILE = "ROOST_READY_FILE"
SUPERVISOR_PID = "ROOST_SUPERVISOR_PID"
BEAT_PIPE = "ROOST_BEAT_PIPE"  # the number of the descriptor that beats are written to
BEAT_EVERY_S = 2.0
SILENCE_MAX_S = 30.0  # a part that has not beaten for this long is killed and started again
STUCK_S = 20.0  # and before that it writes where it is stuck

_ends_itself = False
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
    if pipe := os.environ.get(BEAT_PIPE):
        os.set_blocking(int(pipe), False)
        os.set_inheritable(int(pipe), False)


def tell_ready() -> None:
    """Write our pid to the file the supervisor named; nothing to do when run alone."""
    file = os.environ.get(READY_FILE)
    if file:
        Path(file).write_text(str(os.getpid()), encoding="ascii")


def beat() -> None:
    """Tell the supervisor that our event loop turns.

    A pipe, not the database or a file: a database that is away or a full disk is no reason to be
    killed. Where the next beat does not follow, the threads' stacks go to the log in STUCK_S.
    Alone, as in a container, the process then ends itself in SILENCE_MAX_S and is started again by
    what runs it; a thread of C does that, which needs no interpreter.
    """
    pipe = os.environ.get(BEAT_PIPE)
    if pipe:
        with contextlib.suppress(OSError):  # full: the supervisor reads again when it can
            os.write(int(pipe), b".")
    if pipe or _ends_itself:
        faulthandler.dump_traceback_later(
            STUCK_S if pipe else SILENCE_MAX_S,
            file=sys.__stderr__ or sys.stderr,
            exit=not pipe,
        )


def end_itself_when_silent() -> None:
    """For a process that serves one part and nothing else."""
    global _ends_itself
    _ends_itself = True


def end_beats() -> None:
    """An orderly end is bounded by whoever asked for it."""
    if os.environ.get(BEAT_PIPE) or _ends_itself:
        faulthandler.cancel_dump_traceback_later()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _watch_parent(expected: int) -> None:
    while os.getppid() == expected:
        time.sleep(POLL_INTERVAL_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)
