"""The scripted engine as a process of its own, which comes back after a kill."""

import os
import signal
import sys
import time

from roost_platform.testing import SOURCES, Process, free_port

ENGINE_DOWN_S = 0.5


class EngineProcess:
    """The scripted engine as a process of its own that comes back after a kill."""

    def __init__(self) -> None:
        self.port = free_port()
        self.settings = {
            "ROOST_ENGINE__URL": f"http://127.0.0.1:{self.port}",
            "ROOST_ENGINE__MODEL_NAME": "scripted",
        }
        self._process: Process | None = None

    def start(self) -> None:
        """Start the process and wait until it serves."""
        argv = [sys.executable, "-m", "roost_platform.chaos.engine", "--port", str(self.port)]
        self._process = Process(argv, dict(os.environ) | {"PYTHONPATH": SOURCES})
        self._process.start()
        self._process.wait_for("ready", 60)

    def kill(self) -> int:
        """kill -9, a short pause, and a new start; returns the pid that was killed."""
        assert self._process is not None
        pid = self._process.popen.pid
        os.kill(pid, signal.SIGKILL)
        self._process.popen.wait(10)
        self._process.stop()
        time.sleep(ENGINE_DOWN_S)
        self.start()
        return pid

    def stop(self) -> None:
        """End the process if it runs."""
        if self._process is not None:
            self._process.stop()
