"""Commands that tests fork do what the same commands do in a Python of their own."""

import os
import re
from pathlib import Path

import pytest

from roost_platform.testing import command_line
from roost_platform.testing.command_line import roost

COMMANDS: tuple[tuple[str, ...], ...] = (
    ("settings", "--json"),
    ("status",),
    ("doctor", "--json"),
    ("sessions", "--no-such-option"),
    ("admin", "create", "ada", "--password-stdin"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_forked_command_ends_and_prints_as_a_started_one(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tmp_path / "started", tmp_path / "forked"
    results = []
    for folder, known in zip(folders, (set[str](), {command[0]}), strict=True):
        monkeypatch.setattr(command_line, "_started", known)
        done = roost(*command, data=folder, stdin="a good password\n", ROOST_WEB__PORT="1234")
        shown = (done.stdout + done.stderr).replace(str(folder), "FOLDER")
        shown = re.sub(r"[\d.]+ GiB", "some GiB", shown)  # free memory changes meanwhile
        results.append((done.returncode, shown, sorted(folder.rglob("*"))))
    assert results[0] == results[1]
    assert results[0][1]


def test_a_forked_command_changes_nothing_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line, "_started", {"settings"})
    first = roost("settings", "--json", data=tmp_path, ROOST_LOG__LEVEL="debug")
    second = roost("settings", "--json", data=tmp_path)
    assert '"debug"' in first.stdout and '"debug"' not in second.stdout
    assert "ROOST_LOG__LEVEL" not in os.environ
