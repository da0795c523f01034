"""Two worlds for the end-to-end tests: one with the scripted engine, one with the bundled core."""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from roost_platform.testing import SOURCES, Process, World, free_port, run_world


class Worlds:
    """The worlds that run; each is started once, for all files here."""

    def __init__(self) -> None:
        self._running: dict[str, World] = {}
        self._stack = contextlib.ExitStack()

    def get(self, name: str, world: AbstractContextManager[World]) -> World:
        if name not in self._running:
            self._running[name] = self._stack.enter_context(world)
        return self._running[name]

    def close(self) -> None:
        self._running.clear()
        self._stack.close()


WORLDS = Worlds()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Iterator[None]:
    """End the worlds with the last test here: five idle processes each slow the other tests."""
    yield
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        WORLDS.close()


@contextlib.contextmanager
def scripted_world(folder: Path) -> Iterator[World]:
    port = free_port()
    engine = Process(
        [sys.executable, "-m", "roost_inference.testing.scripted", "--port", str(port)],
        dict(os.environ) | {"PYTHONPATH": SOURCES},
    )
    engine.start()
    try:
        engine.wait_for("ready", 20)
        yield from run_world(
            folder,
            {
                "ROOST_ENGINE__URL": f"http://127.0.0.1:{port}",
                "ROOST_ENGINE__MODEL_NAME": "scripted",
                "ROOST_AGENTS": ",".join(
                    ["roost.builtin.concierge:concierge", "roost_workflows.testing.fatal:fatal"]
                ),
            },
        )
    finally:
        engine.stop()


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Everything real but the model, which does as the message says ([[say:…]], [[slow:N]], …)."""
    return WORLDS.get("scripted", scripted_world(tmp_path_factory.mktemp("scripted")))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Everything real, the bundled core and its model included."""
    world = contextlib.contextmanager(run_world)
    return WORLDS.get("real", world(tmp_path_factory.mktemp("real"), {}))
