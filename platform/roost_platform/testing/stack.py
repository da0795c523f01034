"""`roost up` on a data folder, as a person starts it, with a way to kill each process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from roost_platform.testing.processes import ROOT, SOURCES, Process, descendants, free_port


class Stack:
    """One data folder and the `roost up` that runs on it. arguments: more of its command line."""

    def __init__(self, data: Path, settings: dict[str, str], arguments: Sequence[str] = ()) -> None:
        self.data = data
        self.arguments = arguments
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ROOST_")}
        self.env = clean | {"PYTHONPATH": SOURCES, "ROOST_DATA_DIR": str(data)} | settings
        self.process: Process | None = None

    def start(self, within_s: float = 90.0) -> None:
        """Run `roost up` until it prints that it is ready."""
        self.process = Process(
            [
                *[sys.executable, "-m", "roost_platform", "up", "--headless"],
                *["--port", str(self.port), "--data", str(self.data)],
                *self.arguments,
            ],
            self.env,
        )
        self.process.start()
        line = self.process.wait_for("ready ", within_s)
        assert line == f"ready {self.url}"

    def stop(self) -> None:
        """Stop it as Ctrl-C does."""
        if self.process:
            self.process.stop()
            self.process = None

    def part(self, name: str) -> int:
        """The pid of `roost serve NAME`; for temporal of the server itself."""
        assert self.process is not None
        for pid, command in descendants(self.process.popen.pid):
            if name == "temporal" and "start-dev" in command:
                return pid
            if name != "temporal" and command[-2:] == ["serve", name]:
                return pid
        raise AssertionError(f"{name} does not run")

    def kill(self, name: str) -> None:
        """kill -9 of one part."""
        os.kill(self.part(name), signal.SIGKILL)

    def cli(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command of `roost` against this stack."""
        return subprocess.run(
            [sys.executable, "-m", "roost_platform", *arguments],
            env=self.env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def api(self, path: str, method: str = "GET", **kwargs: Any) -> Any:
        """The JSON of an API call with the local token; fails on an HTTP error."""
        token = (self.data / "api-token").read_text().strip()
        reply = httpx2.request(
            method,
            self.url + path,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            **kwargs,
        )
        assert reply.status_code < 400, (reply.status_code, reply.text)
        return reply.json()

    def engine_url(self) -> str:
        """Where the bundled engine listens."""
        run = json.loads((self.data / "run.json").read_text())
        return f"http://127.0.0.1:{run['engine']}"
