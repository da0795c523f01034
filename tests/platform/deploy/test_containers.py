"""The parts of compose.yaml run as processes: they start, are well, answer a person, and stop."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from roost_platform.testing import SOURCES, Process, eventually, free_port
from roost_platform.testing.compose import OURS, environment

START_S = 90.0
CHECK_AGAIN_S = 1.0
# Without the services that only a profile starts.
SERVED = [
    name
    for name, service in OURS.items()
    if service["command"][0] == "serve" and "profiles" not in service
]


class Containers:
    """Each part with the environment of its container; what is a network there is loopback here."""

    def __init__(self, data: Path, env_file: dict[str, str]) -> None:
        self.ports = {"ROOST_WEB__PORT": str(free_port()), "ROOST_ENGINE__PORT": str(free_port())}
        self.here = {"ROOST_DATA_DIR": str(data), "PYTHONPATH": SOURCES}
        self.env_file = env_file | self.ports
        self.parts: dict[str, Process] = {}

    def environment(self, name: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ROOST_")}
        given = environment(name, self.env_file)
        hosts = {key: "127.0.0.1" for key in given if key.endswith("__HOST")}
        return clean | given | hosts | self.here

    def argv(self, name: str) -> list[str]:
        return [sys.executable, "-m", "roost_platform", *OURS[name]["command"]]

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """As `docker compose exec NAME roost COMMAND`."""
        return subprocess.run(
            [sys.executable, "-m", "roost_platform", *command],
            env=self.environment(name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, name: str) -> None:
        self.parts[name] = Process(self.argv(name), self.environment(name))
        self.parts[name].start()

    def is_well(self, name: str) -> bool:
        part = self.parts[name].popen
        assert part.poll() is None, f"{name} ended:\n" + "\n".join(self.parts[name].lines[-40:])
        check = OURS[name]["healthcheck"]["test"]
        is_well = self.run(name, *check[check.index("roost") + 1 :]).returncode == 0
        if not is_well:
            time.sleep(CHECK_AGAIN_S)  # the check is a process, and slows those that start
        return is_well

    def stop(self, name: str) -> int:
        """As `docker compose stop`: SIGTERM; returns the exit code."""
        popen = self.parts[name].popen
        popen.send_signal(signal.SIGTERM)
        return popen.wait(60)


@pytest.fixture
def containers(
    tmp_path: Path, empty_postgres_url: str, temporal_address: str
) -> Iterator[Containers]:
    stack = Containers(
        tmp_path / "data",
        {
            "ROOST_DATABASE__URL": empty_postgres_url,
            "ROOST_TEMPORAL__ADDRESS": temporal_address,
            "ROOST_WORKER__TASK_QUEUE": uuid4().hex,
        },
    )
    try:
        yield stack
    finally:
        for part in stack.parts.values():
            with contextlib.suppress(ProcessLookupError):
                part.popen.kill()
            part.stop()


@pytest.mark.timeout(300)
def test_the_parts_of_compose_start_answer_and_stop(containers: Containers) -> None:
    # Parts that come before the migration wait for it, as they do where a container is slow.
    containers.start("engine")
    migrated = subprocess.run(
        containers.argv("migrate"), env=containers.environment("migrate"), timeout=120
    )
    assert migrated.returncode == 0
    for name in SERVED[1:]:
        containers.start(name)
    for name in SERVED:
        eventually(f"{name} is well", lambda name=name: containers.is_well(name), within_s=START_S)  # type: ignore[misc]
    said = containers.run("web", "chat", "-m", "Hello", "--json", "--timeout", "90")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["answer"]
    assert {name: containers.stop(name) for name in reversed(SERVED)} == dict.fromkeys(SERVED, 0)
