"""The engine as a process: bound before it loads, honest when it can't, gone when told."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from roost_inference import server
from roost_inference.config import EngineConfig
from roost_inference.errors import EngineUnavailable
from roost_inference.testing.puppet import PuppetEngine


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "roost_inference", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": "inference", "PATH": ""},
    )


def stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_it_says_starting_then_ok_and_ends_cleanly(tmp_path: Path) -> None:
    process = start("--data", str(tmp_path))
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx2.Client(base_url=url, timeout=30, trust_env=False) as http:
            states, deadline = [], time.monotonic() + 60
            while "ok" not in states and time.monotonic() < deadline:
                states.append(http.get("/health").json()["status"])
                time.sleep(0.02)
            assert states[0] == "starting"
            assert states[-1] == "ok"
            answer = http.post(
                "/v1/chat/completions",
                json={"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4},
            )
            assert answer.json()["choices"][0]["message"]["content"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        stop(process)


def test_it_ends_when_told_while_it_loads(tmp_path: Path) -> None:
    process = start("--data", str(tmp_path))
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        stop(process)


def test_an_engine_that_gives_up_ends_its_server_so_that_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(PuppetEngine):
        failure: str | None = None
        closed = False

        def close(self) -> None:
            self.closed = True

    engine = Failing()

    def give_up() -> None:
        engine.failure = "The kernels failed three times"

    monkeypatch.setattr(server, "load_engine", lambda config, folder: engine)
    with pytest.raises(EngineUnavailable, match="failed three times"):
        server.serve_engine(EngineConfig(), tmp_path, on_ready=give_up)
    assert engine.closed


@pytest.mark.parametrize("content", [None, b"not a model"])
def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(
    tmp_path: Path, content: bytes | None
) -> None:
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    process = start("--data", str(tmp_path), "--model", str(model))
    try:
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "roost_inference: " in errors
        assert "model.gguf" in errors
    finally:
        stop(process)
