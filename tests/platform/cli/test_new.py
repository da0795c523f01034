"""`roost new` writes something that runs as it is, and overwrites nothing."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from roost_platform.cli.main import app
from roost_platform.cli.new import make
from roost_platform.errors import NotMade
from roost_platform.testing.processes import SOURCES

KINDS = ["agent", "flow"]


def run(folder: Path, *command: str) -> str:
    """Run Python in the folder as a newcomer would; it must succeed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f".:{SOURCES}"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_tells_what_to_do_next(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["new", "agent", "travel-guide", "--dir", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert f"cd {tmp_path}/travel-guide" in told.output
    assert "ROOST_AGENTS=travel_guide:agent roost up --dev" in told.output
    files = sorted(path.name for path in (tmp_path / "travel-guide").iterdir())
    assert files == ["README.md", "pyproject.toml", "test_travel_guide.py", "travel_guide.py"]


def test_who_lacks_pytest_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = CliRunner().invoke(app, ["new", "flow", "trip", "--dir", str(tmp_path)])
    assert "pip install" not in before.output
    monkeypatch.setattr("roost_platform.cli.new.find_spec", lambda _name: None)
    told = CliRunner().invoke(app, ["new", "flow", "trek", "--dir", str(tmp_path)])
    assert f"{sys.executable} -m pip install pytest\n  python -m pytest\n" in told.output


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_made_passes_its_test_loads_and_is_well_written(kind: str, tmp_path: Path) -> None:
    made = make(kind, "travel-guide", tmp_path / "new")  # type: ignore[arg-type]
    assert re.search(r"[1-9]\d* passed", run(made.folder, "-m", "pytest", "-q"))
    load = (
        f"from roost_workflows.agents import load_agents; "
        f"registry = load_agents({made.target!r}, points=()); print(registry.default)"
    )
    assert run(made.folder, "-c", load).strip() == "travel-guide"
    project = tomllib.loads((made.folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["roost.agents"] == {"travel-guide": made.target}
    readme = (made.folder / "README.md").read_text()
    assert f"ROOST_AGENTS={made.target} roost up --dev" in readme and "$" not in readme
    lint = ("--isolated", "--line-length", "100")
    run(made.folder, "-m", "ruff", "check", *lint, "--select", "E,F,I,UP,B,SIM,RUF", ".")
    run(made.folder, "-m", "ruff", "format", *lint, "--check", ".")
    run(made.folder, "-m", "mypy", "--strict", "--explicit-package-bases", ".")


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("Travel", "Try travel."),
        ("travel guide!", "Try travel-guide."),
        ("../etc", "Try etc."),
        ("1", "Try such as travel-guide."),
        ("é", "Try such as travel-guide."),
        ("guide\n", "Try guide."),
        ("", "Try such as travel-guide."),
        ("x" * 65, f"Try {'x' * 64}."),
        ("class", "Try my-class."),
        ("json", "Try my-json."),
        ("test", "Try my-test."),
        ("concierge", "Try my-concierge."),
        ("roost", "Try my-roost."),
        ("pytest", "Try my-pytest."),
    ],
)
def test_a_name_that_can_not_be_used_is_refused_with_another(
    name: str, mend: str, tmp_path: Path
) -> None:
    with pytest.raises(NotMade, match=re.escape(mend)):
        make("agent", name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_that_exists_is_touched(tmp_path: Path) -> None:
    (tmp_path / "guide").mkdir()
    kept = tmp_path / "guide" / "notes.txt"
    kept.write_text("mine")
    with pytest.raises(NotMade, match=r"exists\. Choose another name, or another"):
        make("agent", "guide", tmp_path)
    assert [path.name for path in kept.parent.iterdir()] == ["notes.txt"]
    with pytest.raises(NotMade, match="can't be written: Not a directory"):
        make("agent", "other", kept)
    (tmp_path / "empty").mkdir()
    assert make("agent", "empty", tmp_path).target == "empty:agent"
