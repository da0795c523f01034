"""Two real engines and a process that asks them, each of which can be killed and comes back."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2

from roost_platform.testing.processes import ROOT, SOURCES, free_port

LEASE_S: Final = 2.0
START_S: Final = 120.0
SETTINGS: Final = {
    "context_length": "2048",
    "max_sequences": "16",
    "max_running": "8",
    "threads": "1",  # two engines share the cores
    "stream_memory": "0",
    "kv_ram": "256MiB",
    "kv_disk": "0",
    "speculation": "off",
    "handover_lease_s": str(LEASE_S),
}


class EngineProcess:
    """One engine of the bundled model, always at the same address."""

    def __init__(self, role: str, data: Path) -> None:
        self.role = role
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._data = data
        self._popen: subprocess.Popen[bytes] | None = None
        self._http = httpx2.Client(base_url=self.url, timeout=START_S, trust_env=False)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._data.mkdir(parents=True, exist_ok=True)
        told = {**SETTINGS, "role": self.role}
        argv = [sys.executable, "-m", "roost_inference", "--port", str(self.port)]
        argv += ["--data", str(self._data)]
        argv += [part for name in told for part in ("--set", f"{name}={told[name]}")]
        with (self._data / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                argv, env=dict(os.environ) | {"PYTHONPATH": SOURCES}, cwd=ROOT, stdout=log,
                stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.HTTPError):
                if self._http.get("/health").json()["status"] == "ok":
                    return
            assert self._popen.poll() is None, f"the {self.role} engine has ended by itself"
            time.sleep(0.05)
        raise AssertionError(f"the {self.role} engine is not ready after {START_S:.0f} s")

    def kill(self) -> None:
        """kill -9."""
        assert self._popen is not None
        self._popen.send_signal(signal.SIGKILL)
        self._popen.wait()

    def stop(self) -> None:
        """End it for good."""
        if self._popen is not None and self._popen.poll() is None:
            self.kill()
        self._http.close()

    def leases(self) -> int:
        """How many leases it keeps KV for."""
        return int(self._http.get("/v1/kv/summary").json()["leases"])

    def figures(self) -> dict[str, Any]:
        """What it tells of its health."""
        told: dict[str, Any] = self._http.get("/health").json()
        return told

    def write(self, body: dict[str, Any]) -> tuple[str, float]:
        """Its own greedy answer, and by how much each of its tokens was likelier than the next one,
        in nats, at the closest place."""
        told = {"temperature": 0.0, "logprobs": True, "top_logprobs": 2, **body}
        choice = self._http.post("/v1/chat/completions", json=told).json()["choices"][0]
        pairs = [one["top_logprobs"] for one in choice["logprobs"]["content"]]
        margin = min(first["logprob"] - second["logprob"] for first, second in pairs)
        return str(choice["message"]["content"]), margin


class Asker:
    """The process with the router."""

    def __init__(self, decode: EngineProcess, prefill: EngineProcess) -> None:
        argv = [sys.executable, "-m", "roost_platform.chaos.handover.asking"]
        argv += ["--decode", decode.url, "--prefill", prefill.url]
        self._popen = subprocess.Popen(
            argv,
            env=dict(os.environ) | {"PYTHONPATH": SOURCES},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.next(START_S) is not None, "the router's process does not start"

    def ask(self, asked: dict[str, Any]) -> None:
        """Hand it a prompt."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(asked) + "\n")
        self._popen.stdin.flush()

    def next(self, within_s: float) -> dict[str, Any] | None:
        """The next thing that it tells; None once it has ended."""
        return self._lines.get(timeout=within_s)

    def kill(self) -> None:
        """kill -9."""
        self._popen.send_signal(signal.SIGKILL)
        self._end()

    def stop(self) -> None:
        """Let it end, and its router give back what it has."""
        if self._popen.poll() is None:
            assert self._popen.stdin is not None
            self._popen.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(10)
            self._popen.kill()
        self._end()

    def _end(self) -> None:
        self._popen.wait()
        self._reader.join(10)
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)


@contextlib.contextmanager
def running_engines(folder: Path) -> Iterator[tuple[EngineProcess, EngineProcess]]:
    """The engine that answers and the one that reads prompts; both end with the block."""
    decode = EngineProcess("decode", folder / "decode")
    prefill = EngineProcess("prefill", folder / "prefill")
    try:
        decode.start()
        prefill.start()
        yield decode, prefill
    finally:
        decode.stop()
        prefill.stop()
