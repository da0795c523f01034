"""`roost up --dev`: edited agents are loaded again, broken ones leave the old ones running."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roost_platform.stack.dev.check import sources
from roost_platform.stack.dev.reloading import FILES_MAX, Loaded, Reloader, stamps, watched
from roost_platform.testing.processes import SOURCES, Process, eventually, free_port
from roost_platform.testing.stack import Stack

AGENTS = '''from roost import Agent, tool

from my_house.words import GREETING


@tool(effect="pure")
async def greet() -> str:
    """Greet."""
    return GREETING


butler = Agent("butler", "You greet.", [greet])
'''


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A package with an agent whose tool reads another module of it."""
    folder = tmp_path / "my_house"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "agents.py").write_text(AGENTS)
    (folder / "words.py").write_text('GREETING = "Good morning"\n')
    return folder


@pytest.fixture
def stack(house: Path, tmp_path: Path) -> Iterator[Stack]:
    port = free_port()
    engine = Process(
        [sys.executable, "-m", "roost_inference.testing.scripted", "--port", str(port)],
        dict(os.environ) | {"PYTHONPATH": SOURCES},
    )
    engine.start()
    settings = {
        "PYTHONPATH": f"{SOURCES}:{house.parent}",
        "ROOST_AGENTS": "my_house.agents:butler",
        "ROOST_ENGINE__URL": f"http://127.0.0.1:{port}",
        "ROOST_ENGINE__MODEL_NAME": "scripted",
    }
    opened = Stack(tmp_path / "data", settings, ["--dev"])
    try:
        engine.wait_for("ready", 30)
        opened.start()
        yield opened
    finally:
        opened.stop()
        engine.stop()


def ask(stack: Stack) -> str:
    """What the tool says now; the answer stands in the transcript of the conversation."""
    done = stack.cli("chat", "-m", "[[tool:greet {}]]", "--json", "--data", str(stack.data))
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["answer"])


def told(stack: Stack, text: str) -> Any:
    assert stack.process is not None
    return next((line for line in stack.process.lines if text in line), None)


@pytest.mark.timeout(300)
def test_an_edited_tool_answers_anew_and_a_broken_one_leaves_the_old_worker(
    stack: Stack, house: Path
) -> None:
    eventually("the files are watched", lambda: told(stack, "dev: watching 3 files"))
    assert "Good morning" in ask(stack)
    worker = stack.part("worker")

    (house / "words.py").write_text('GREETING = "Good evening, madam"\n')
    eventually("the worker is back", lambda: told(stack, "worker: up again"), within_s=90)
    assert told(stack, "dev: words.py changed; restarting worker")
    assert "Good evening, madam" in ask(stack)
    second = stack.part("worker")
    assert second != worker

    broken = AGENTS.replace('effect="pure"', 'effect="safe"')
    (house / "agents.py").write_text(broken)
    place = f"{house / 'agents.py'}:6: Tool 'greet': effect 'safe' is not one of"
    eventually("the error is told", lambda: told(stack, place), within_s=60)
    assert told(stack, "the agents from before go on until this is mended")
    assert "Good evening, madam" in ask(stack)
    assert stack.part("worker") == second

    # A new name concerns the parts that list the agents, too.
    mended = AGENTS.replace('"butler"', '"footman"')
    (house / "agents.py").write_text(mended)
    eventually("mended", lambda: told(stack, "restarting worker, courier, web"), within_s=60)
    eventually(
        "the new name is listed",
        lambda: stack.cli("doctor", "--data", str(stack.data)).stdout.count("footman"),
        within_s=90,
    )
    assert not told(stack, "starting it again in")  # no crash


class Parts:
    """A supervisor that keeps what it was asked to restart."""

    def __init__(self) -> None:
        self.restarted: list[str] = []

    async def restart(self, name: str) -> None:
        self.restarted.append(name)


class Notes:
    """A reporter that keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


async def test_agents_that_can_not_be_loaded_at_the_start_are_left_to_their_parts() -> None:
    parts, notes = Parts(), Notes()
    command = (sys.executable, "-c", "raise SystemExit(78)")
    reloader = Reloader(parts, os.environ, notes, command=command)  # type: ignore[arg-type]
    await asyncio.wait_for(reloader.run(), 30)
    assert (parts.restarted, notes.notes) == ([], [])


def test_installed_modules_and_ours_are_not_watched(house: Path) -> None:
    import pydantic

    import roost

    spec = type(roost)("my_house")
    spec.__file__, spec.__path__ = str(house / "__init__.py"), [str(house)]
    files, folders = sources([pydantic, roost, json, spec])
    assert (files, folders) == ([str(house / "__init__.py")], [str(house)])


def test_new_and_lost_files_of_a_package_count_and_their_number_is_bounded(house: Path) -> None:
    loaded = Loaded((), (), (str(house),))
    (house / "__pycache__").mkdir()
    (house / "__pycache__" / "x.py").touch()
    (house / "data.json").touch()
    before = stamps(loaded)
    assert {Path(name).name for name in before} == {"__init__.py", "agents.py", "words.py"}
    (house / "more.py").touch()
    (house / "words.py").unlink()
    assert {Path(name).name for name in stamps(loaded)} == {"__init__.py", "agents.py", "more.py"}
    many = house / "many"
    many.mkdir()
    for number in range(FILES_MAX + 5):
        (many / f"m{number}.py").touch()
    assert len(list(watched(loaded))) > FILES_MAX
    assert len(stamps(loaded)) == FILES_MAX
