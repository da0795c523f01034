"""Two engines: toys behind HTTP, and processes on the real kernels with the bundled model."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from roost_inference.testing.peers.handover_side import Side, side

KEY = "key-of-both"
WORDS = "The ferry leaves at nine and the tram at ten, and nobody waits for the last bus. "


@dataclass
class Process:
    """A running engine."""

    process: "subprocess.Popen[str]"
    http: httpx2.Client

    def ask(self, text: str, transfer: dict[str, Any] | None = None, **fields: Any) -> Any:
        """A chat of one message; the answer's JSON."""
        return self.post(text, transfer, **fields).raise_for_status().json()

    def post(
        self, text: str, transfer: dict[str, Any] | None = None, **fields: Any
    ) -> httpx2.Response:
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
        body |= {"max_tokens": 8, "temperature": 0, **fields}
        if transfer is not None:
            body["kv_transfer_params"] = transfer
        return self.http.post("/v1/chat/completions", json=body)

    def offer(self, text: str, **fields: Any) -> dict[str, Any]:
        """Have the prompt computed and offered."""
        fields.setdefault("max_tokens", 1)
        answer = self.ask(text, {"do_remote_decode": True}, **fields)
        params: dict[str, Any] = answer["kv_transfer_params"]
        return params

    def handover(self) -> dict[str, Any]:
        """What /health tells of it."""
        report: dict[str, Any] = self.http.get("/health").json()["handover"]
        return report

    def kill(self) -> None:
        """End it at once, without a word."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


Start = Callable[..., Process]


def started(data: Path, **settings: object) -> Process:
    """Start an engine and wait until it answers."""
    command = [sys.executable, "-m", "roost_inference", "--port", "0", "--data", str(data)]
    command += ["--api-key", KEY]
    chosen: dict[str, object] = {
        "context_length": 2048,
        "max_sequences": 4,
        "max_running": 2,
        "kv_disk": 0,
    }
    chosen |= {"stream_memory": 0, "speculation": "off"}
    for name, value in (chosen | settings).items():
        command += ["--set", f"{name}={value}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    http = httpx2.Client(
        base_url=process.stdout.readline().strip(),
        timeout=180,
        trust_env=False,
        headers={"authorization": f"Bearer {KEY}"},
    )
    while http.get("/health").json()["status"] == "starting":
        assert process.poll() is None
        time.sleep(0.05)
    return Process(process, http)


def ended(engine: Process) -> None:
    engine.http.close()
    if engine.process.poll() is None:
        engine.process.terminate()
        try:
            engine.process.wait(20)
        except subprocess.TimeoutExpired:
            engine.process.kill()
    engine.process.communicate()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("handover")


@pytest.fixture(scope="module")
def start(data: Path) -> Iterator[Start]:
    """Starts engines that end with the test's file."""
    with contextlib.ExitStack() as stack:

        def begin(**settings: object) -> Process:
            engine = started(data, **settings)
            stack.callback(ended, engine)
            return engine

        yield begin


@pytest.fixture
async def prefill() -> AsyncIterator[Side]:
    async with side(role="prefill") as one:
        yield one


@pytest.fixture
async def decode() -> AsyncIterator[Side]:
    async with side(role="decode") as other:
        yield other
