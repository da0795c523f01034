"""`.ci/kernels` compiles once, in the background, and what goes wrong there breaks no start."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_platform.testing import eventually
from roost_platform.testing.processes import ROOT

TOOLS = (
    *("awk", "bash", "cat", "dirname", "env", "flock", "grep", "head", "mkdir", "mv", "nice"),
    *("printf", "realpath", "rm", "setsid", "sha256sum", "sleep", "tail", "timeout", "touch", "tr"),
)
LOCK = """\
alpha==1.0 \\
    --hash=sha256:aa
    # via roost
llama-cpp-python==0.3.36 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
    # via roost
omega==2.0 \\
    --hash=sha256:dd
"""
# Stands for the environment's Python: `-m pip install` takes as long as `slow` exists and fails if
# `fails` does. Native kernels run once it has installed, portable ones unless `old` exists.
PYTHON = """\
#!/usr/bin/env bash
cd "$(dirname "$0")/.."
case "$*" in
  *"pip "*install*)
    echo "$*" >> calls
    sleep 300 & echo $! > child
    while [ -e slow ]; do sleep 0.05; done
    kill $(cat child)
    if [ -e fails ]; then echo "error: no such instruction"; exit 1; fi
    touch installed ;;
  *"builds portable") [ ! -e old ] ;;
  *"builds native") [ -e installed ] || { echo "no native kernels are installed"; exit 1; } ;;
esac
"""


class Environment:
    """A checkout's lock and virtual environment, and a PATH with a compiler or without."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venv = folder / "venv"
        self.kernels = self.venv / "kernels"
        self.binaries = folder / "tools"
        (self.venv / "bin").mkdir(parents=True)
        self.binaries.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.binaries / tool).symlink_to(found)
        (folder / "lock").write_text(LOCK)
        self._script(self.venv / "bin" / "python", PYTHON)
        self._script(self.binaries / "cc", "#!/bin/sh\n")

    def _script(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def begin(self, how: str) -> subprocess.Popen[str]:
        command = [str(ROOT / ".ci" / "kernels"), how, "lock", "venv"]
        env = {"PATH": str(self.binaries), "HOME": str(self.folder)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=self.folder, env=env, text=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def run(self, how: str) -> tuple[int, str]:
        process = self.begin(how)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def state(self) -> str:
        path = self.kernels / "state"
        return path.read_text().strip() if path.exists() else ""

    def calls(self) -> list[str]:
        path = self.venv / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def switch(self, name: str, on: bool) -> None:
        path = self.venv / name
        if on:
            path.touch()
        else:
            path.unlink(missing_ok=True)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    made = Environment(tmp_path)
    yield made
    made.switch("slow", False)
    eventually("it ends", lambda: "building" not in made.state())


def test_a_start_does_not_wait_and_compiles_once(environment: Environment) -> None:
    environment.switch("slow", True)
    code, output = environment.run("start")
    assert code == 0
    assert "compiled in the background" in output
    eventually("it compiles", lambda: environment.state() == "building")
    assert environment.run("start")[0] == 0
    environment.switch("slow", False)
    eventually("it is ready", lambda: environment.state() == "ready")
    assert environment.run("start") == (0, "")
    assert environment.run("wait") == (0, "")
    [call] = environment.calls()
    assert "--require-hashes" in call and "--no-cache-dir" not in call
    package = (environment.kernels / "package.lock").read_text()
    assert package.splitlines()[0] == "llama-cpp-python==0.3.36 \\"
    assert "cc" in package and "aa" not in package and "omega" not in package


def test_native_kernels_that_are_there_already_are_not_compiled_again(
    environment: Environment,
) -> None:
    environment.switch("installed", True)
    assert environment.run("start") == (0, "")
    assert environment.state() == "ready"
    assert environment.calls() == []


def test_another_locked_version_is_compiled(environment: Environment) -> None:
    environment.run("wait")
    (environment.folder / "lock").write_text(LOCK.replace("0.3.36", "0.3.37"))
    environment.switch("installed", False)
    assert environment.run("wait")[0] == 0
    assert len(environment.calls()) == 2


def test_without_a_compiler_portable_kernels_stay_and_it_says_what_to_do(
    environment: Environment,
) -> None:
    (environment.binaries / "cc").rename(environment.folder / "cc")
    assert environment.run("start")[0] == 0
    eventually("it fails", lambda: environment.state().startswith("failed"))
    assert "apt-get install build-essential" in environment.state()
    assert "make kernels" in environment.state()
    code, output = environment.run("wait")
    assert code == 0, output  # tests run on portable ones
    assert "a C compiler is missing" in output
    assert environment.calls() == []
    (environment.folder / "cc").rename(environment.binaries / "cc")
    assert environment.run("start")[0] == 0  # now there is one
    eventually("it is ready", lambda: environment.state() == "ready")


def test_a_compilation_that_fails_is_told_and_not_tried_at_every_start(
    environment: Environment,
) -> None:
    environment.switch("fails", True)
    environment.run("start")
    eventually("it fails", lambda: environment.state().startswith("failed"))
    assert str(environment.kernels / "log") in environment.state()
    assert environment.run("start") == (0, "")
    assert len(environment.calls()) == 1
    code, output = environment.run("again")
    assert code == 1
    assert "no such instruction" in output
    environment.switch("fails", False)
    assert environment.run("again")[0] == 0
    assert environment.state() == "ready"


def test_a_processor_without_portable_kernels_waits_for_native_ones(
    environment: Environment,
) -> None:
    environment.switch("old", True)
    assert environment.run("start")[0] == 0
    assert environment.state() == "ready"
    environment.switch("installed", False)
    environment.switch("fails", True)
    (environment.kernels / "sum").unlink()
    code, output = environment.run("start")
    assert code == 1
    assert "compiling them failed" in output


def test_compiling_again_leaves_the_cache_of_pip_aside(environment: Environment) -> None:
    environment.run("wait")
    (environment.kernels / "trials.json").write_text("{}")
    assert environment.run("again")[0] == 0
    assert "--no-cache-dir" in environment.calls()[1]
    assert not (environment.kernels / "trials.json").exists()


def test_an_interrupted_compilation_leaves_nothing_running_and_is_begun_again(
    environment: Environment,
) -> None:
    environment.switch("slow", True)
    process = environment.begin("wait")
    child = environment.venv / "child"
    eventually(
        "the compiler runs or ends", lambda: child.exists() and child.read_text().strip() != ""
    )
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    eventually("it stops", lambda: environment.state() == "interrupted")
    eventually(
        "the compiler runs or ends", lambda: not Path(f"/proc/{child.read_text().strip()}").exists()
    )
    environment.switch("slow", False)
    assert environment.run("wait")[0] == 0
    assert environment.state() == "ready"


def test_one_that_was_killed_is_begun_again(environment: Environment) -> None:
    environment.switch("slow", True)
    process = environment.begin("background")
    eventually(
        "the compiler runs or ends",
        lambda: environment.state() == "building" and bool(environment.calls()),
    )
    for pid in [*children(process.pid), process.pid]:
        with contextlib.suppress(ProcessLookupError):  # a child that has ended meanwhile
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=30)
    environment.switch("slow", False)
    assert environment.run("start")[0] == 0
    eventually("it is ready", lambda: environment.state() == "ready")


def children(pid: int) -> list[int]:
    """All processes below one, the deepest first."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    below = [int(one) for one in path.read_text().split()]
    return [*(deeper for one in below for deeper in children(one)), *below]


def test_the_other_packages_are_installed_without_it(environment: Environment) -> None:
    script = [str(ROOT / ".ci" / "install"), "lock", "venv/.runtime", "venv"]
    env = {"PATH": f"{environment.binaries}:{os.environ['PATH']}"}
    done = subprocess.run(script, cwd=environment.folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ready_made = (environment.venv / "ready-made.lock").read_text()
    assert "alpha" in ready_made and "dd" in ready_made
    assert "llama-cpp-python" not in ready_made and "bb" not in ready_made
    stamp = (environment.venv / ".runtime").read_text().split()[0]
    assert stamp == hashlib.sha256(LOCK.encode()).hexdigest()

    subprocess.run(script, cwd=environment.folder, env=env, check=True, capture_output=True)
    assert len(environment.calls()) == 1
