"""The six examples of docs/agents.md are files, shown whole, that tests run and Roost loads."""

import re
import sys
from pathlib import Path

import pytest

from roost_workflows.agents import load_agents

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docs" / "examples" / "agents"
PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
SHOWN = dict(re.findall(r"^```python\n# (docs/examples/\S+\.py)\n(.*?)^```$", PAGE, re.M | re.S))
NAMES = ("booking", "briefing", "onboarding", "purchase", "reminders", "research")


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_the_whole_example(name: str) -> None:
    assert SHOWN[f"docs/examples/agents/{name}.py"] == (FOLDER / f"{name}.py").read_text()


@pytest.mark.parametrize("path", SHOWN)
def test_what_the_page_shows_is_the_file(path: str) -> None:
    assert SHOWN[path] == (ROOT / path).read_text()


def test_every_example_has_a_test_beside_it() -> None:
    files = {file.name for file in FOLDER.glob("*.py")}
    assert files == {f"{prefix}{name}.py" for name in NAMES for prefix in ("", "test_")}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_named_in_the_settings_and_loads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, name, raising=False)
    registry = load_agents(f"{name}:{name}", points=())
    assert registry.default == name
