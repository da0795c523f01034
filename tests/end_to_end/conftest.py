"""Two worlds for the end-to-end tests: one with the scripted engine, one with the bundled core."""

import os
import sys
from collections.abc import Iterator

import pytest

from roost_platform.testing import SOURCES, Process, World, free_port, run_world


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything real but the model, which does as the message says ([[say:…]], [[slow:N]], …)."""
    port = free_port()
    engine = Process(
        [sys.executable, "-m", "roost_inference.testing.scripted", "--port", str(port)],
        dict(os.environ) | {"PYTHONPATH": SOURCES},
    )
    engine.start()
    try:
        engine.wait_for("ready", 20)
        yield from run_world(
            tmp_path_factory.mktemp("scripted"),
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


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything real, the bundled core and its model included."""
    yield from run_world(tmp_path_factory.mktemp("real"), {})
