"""Runs work off the engine thread: on a thread with a bounded queue, or at once in tests."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

JOBS_MAX = 256

Job = Callable[[], None]

log = logging.getLogger(__name__)


class Lane(Protocol):
    """Runs jobs one after another."""

    def submit(self, job: Job) -> bool:
        """Run it later, in order; False if too many wait already."""
        ...

    def close(self, timeout_s: float) -> None:
        """Finish what waits, at most for so long; a job that hangs is left behind."""
        ...


class InlineLane:
    """Runs every job at once: simulations without threads."""

    def submit(self, job: Job) -> bool:
        """Run it now."""
        job()
        return True

    def close(self, timeout_s: float) -> None:
        """Nothing waits."""
        return


class ThreadLane:
    """One daemon thread, started with the first job."""

    def __init__(self, name: str, jobs_max: int = JOBS_MAX) -> None:
        self._name = name
        self._jobs_max = jobs_max
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> bool:
        """Run it later, in order; False if `jobs_max` wait already or the lane is closing."""
        with self._changed:
            if self._closing or len(self._jobs) >= self._jobs_max:
                return False
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()
            return True

    def close(self, timeout_s: float) -> None:
        """Finish what waits, at most for so long; a job that hangs is left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                log.warning("%s is stuck; its jobs are dropped", self._name)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception:
                log.exception("a job of %s failed", self._name)
