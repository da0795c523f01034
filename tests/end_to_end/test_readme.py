"""The commands of README.md run as pasted, in the order in which a newcomer runs them."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_platform.testing import SOURCES, Process, free_port
from roost_platform.testing.processes import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
START_S = 120.0


def commands(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Checkout:
    """A folder like a checkout after `make install`, whose `roost` is this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        binaries = folder / ".venv" / "bin"
        binaries.mkdir(parents=True)
        # Old to new, as make leaves them; so `make up` has nothing to install.
        made = ["requirements.lock", "pyproject.toml", ".venv/.runtime", ".venv/.roost"]
        shutil.copy(ROOT / "Makefile", folder)
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        # The native kernels are there: the sum is that of an empty lock.
        kernels = folder / ".venv" / "kernels"
        kernels.mkdir()
        (kernels / "state").write_text("ready\n")
        (kernels / "sum").write_text(f"{hashlib.sha256(b'').hexdigest()}  -\n")
        (binaries / "python").symlink_to(sys.executable)
        for age, name in enumerate(reversed(made)):
            (folder / name).touch()
            os.utime(folder / name, (10**9 - age, 10**9 - age))
        roost = binaries / "roost"
        roost.write_text(
            f'#!/bin/sh\nPYTHONPATH="{SOURCES}:$PYTHONPATH" '
            f'exec "{sys.executable}" -m roost_platform "$@"\n'
        )
        roost.chmod(0o755)
        self.port = free_port()
        # MAKE…: the arguments of the `make test` that runs this are not those of `make up`.
        foreign = ("ROOST_", "PYTHON", "MAKE", "MFLAGS", "ARGS")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        self.env = clean | {
            "HOME": str(folder),
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "ROOST_WEB__PORT": str(self.port),
        }

    def start(self, script: str) -> Process:
        """Run a script that stays, until it says that it is ready."""
        process = Process(["bash", "-euc", f"cd {self.folder}\n{script}"], self.env)
        process.start()
        try:
            process.wait_for("ready http://127.0.0.1:", START_S)
        except AssertionError:
            self.stop(process)
            raise
        return process

    def stop(self, process: Process) -> None:
        """Ctrl-C: the terminal sends it to the shell, to make, and to what they run."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.popen.pid, signal.SIGINT)
        try:
            process.popen.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.popen.pid, signal.SIGKILL)
            process.stop()

    def run(self, script: str, **env: str) -> str:
        """Run a script to its end; returns what it printed. It must succeed."""
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=self.folder,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    yield Checkout(tmp_path_factory.mktemp("checkout"))


@pytest.mark.timeout(300)
def test_the_first_five_minutes_go_as_they_are_written(checkout: Checkout) -> None:
    up, chat, test, own_agent = commands(README)
    [printed] = re.findall(r"^```\n(ready .*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert test == "make test\n"  # what runs this
    stack = checkout.start(up)
    try:
        for line in printed.replace(":8420", f":{checkout.port}").splitlines():
            stack.wait_for(line.partition("…")[0], 10)
        assert checkout.run(chat).strip()
    finally:
        checkout.stop(stack)
    assert "my_agents:waiter" in own_agent


@pytest.mark.timeout(300)
def test_your_own_agent_runs_and_programs_and_backups_reach_it(checkout: Checkout) -> None:
    *_, own_agent = commands(README)
    [source] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (checkout.folder / "my_agents.py").write_text(source, encoding="utf-8")
    stack = checkout.start(own_agent)
    try:
        said = checkout.run("roost chat --agent waiter --session mine -m Hello --json")
        assert json.loads(said)["answer"]
        backup, people, curl = commands(OPERATIONS)
        token = (checkout.folder / ".roost" / "api-token").read_text().strip()
        curl = curl.replace(":8420", f":{checkout.port}")
        assert "inbox_id" in json.loads(checkout.run(curl, TOKEN=token))
        backups = checkout.folder / "backups"
        backups.mkdir()
        backup = backup.replace("/backups", str(backups))
        backup = backup.replace("/var/lib", str(checkout.folder))
        checkout.run(backup)
        assert (checkout.folder / "roost-new" / "roost.db").exists()
        person = checkout.run("roost people list").splitlines()[1].split("\t")[0]
        checkout.run(people.replace("delete", "delete --yes").replace("ID", person))
        assert (checkout.folder / "ada.zip").exists()
        assert person not in checkout.run("roost people list")
    finally:
        checkout.stop(stack)
