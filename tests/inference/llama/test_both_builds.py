"""Native and portable kernels pass the same tests, write the same model, and share no KV."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from roost_inference.llama import bindings, builds, trials
from roost_inference.llama.quantize import bundled_model

ROOT = Path(__file__).parents[3]
SAME_TESTS = (
    "tests/inference/llama/test_prefill_context.py",
    "tests/inference/kv/test_real_kv.py",
    "tests/inference/core/test_real_model.py",
)
PROMPT = "The ferry leaves at nine and the tram at ten. " * 40


def other() -> str:
    """The build that this process has not loaded."""
    return "portable" if bindings.kernels()[0] == "native" else "native"


def environment(kernels: str) -> dict[str, str]:
    return {**os.environ, trials.VARIABLE: kernels, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.timeout(900)
def test_the_other_build_passes_the_tests_of_the_kernels() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--timeout=600", "-k", "not take_turns", *SAME_TESTS],
        cwd=ROOT,
        env=environment(other()),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_both_builds_write_the_same_model(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from roost_inference.llama import bindings;"
        "from roost_inference.llama.quantize import bundled_model;"
        "bindings.quantize(bundled_model(), Path(sys.argv[1]), 2);"
        "print(bindings.kernels()[0])"
    )
    theirs, ours = tmp_path / "theirs.gguf", tmp_path / "ours.gguf"
    done = subprocess.run(
        [sys.executable, "-c", script, str(theirs)],
        env=environment(other()),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == other()
    bindings.quantize(bundled_model(), ours, 2)
    assert ours.read_bytes() == theirs.read_bytes()


def test_the_native_build_computes_in_its_trial() -> None:
    assert trials._try("native") == ("", True)
    assert builds.find(builds.NATIVE).id != builds.find(builds.PORTABLE).id


@contextmanager
def engine(kernels: str, data: Path) -> Iterator[httpx2.Client]:
    """A process that serves the bundled model on this build."""
    command = [sys.executable, "-m", "roost_inference", "--port", "0", "--data", str(data)]
    settings = ("context_length=2048", "max_sequences=4", "max_running=2", f"kernels={kernels}")
    for setting in settings:
        command += ["--set", setting]
    process = subprocess.Popen(
        command,
        env=environment("auto"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx2.Client(base_url=url, timeout=60, trust_env=False) as http:
            while http.get("/health").json()["status"] == "starting":
                assert process.poll() is None
            yield http
    finally:
        process.terminate()
        process.wait(30)
        process.communicate()


def ask(http: httpx2.Client) -> int:
    """How many of the prompt's tokens came from the KV of an earlier request."""
    messages = [{"role": "user", "content": PROMPT}]
    body = {"messages": messages, "max_tokens": 4, "temperature": 0, "session_id": "one"}
    answer: dict[str, Any] = http.post("/v1/chat/completions", json=body).json()
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


@pytest.mark.timeout(300)
def test_kv_on_disk_serves_the_build_that_wrote_it_alone(tmp_path: Path) -> None:
    cached = []
    for kernels in ("portable", "native", "portable"):
        with engine(kernels, tmp_path) as http:
            assert http.get("/health").json()["kernels"]["name"] == kernels
            cached.append(ask(http))
    assert cached[:2] == [0, 0]
    assert cached[2] >= 256
