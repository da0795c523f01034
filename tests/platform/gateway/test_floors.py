"""Processes that do not serve the gateway load nothing of it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import roost_platform

FOLDER = Path(roost_platform.__file__).parent / "processes"
GATEWAY = "roost_platform.gateway"
SERVED = (f"{GATEWAY}.families", f"{GATEWAY}.door", f"{GATEWAY}.serving", f"{GATEWAY}.exchange")


def modules_of(part: str) -> Iterator[str]:
    """The module of a process and all that its functions load when they run."""
    yield f"roost_platform.processes.{part}"
    for node in ast.walk(ast.parse((FOLDER / f"{part}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def loaded_by(part: str) -> set[str]:
    """Every module that a process of this part has loaded."""
    lines = [f"import {name}" for name in dict.fromkeys(modules_of(part))]
    program = "\n".join(["import sys", *lines, "print(*sys.modules, sep='\\n')"])
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("part", ["courier", "temporal", "engine"])
def test_a_process_that_serves_no_models_loads_only_their_settings(part: str) -> None:
    loaded = {name for name in loaded_by(part) if name.startswith(GATEWAY)}
    assert loaded <= {GATEWAY, f"{GATEWAY}.config", f"{GATEWAY}.request"}


def test_the_worker_routes_and_serves_nothing() -> None:
    loaded = loaded_by("worker")
    assert f"{GATEWAY}.routing.router" in loaded
    assert [name for name in loaded if name.startswith(SERVED)] == []


@pytest.mark.parametrize("part", ["courier", "temporal", "engine", "worker"])
def test_only_the_web_process_loads_the_list_of_prices(part: str) -> None:
    assert "genai_prices" not in loaded_by(part)
