"""The table of docs/reliability.md is held to the tests that carry its numbers."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = {
    int(match[1]): match[2]
    for match in re.finditer(r"^\| R(\d+) \|.*\| ([^|]+) \|$", TABLE, re.MULTILINE)
}
WAITING = "see below"


def numbers_in(path: Path) -> set[int]:
    names = re.findall(r"def test_((?:r\d+_)+)", path.read_text())
    return {int(number) for name in names for number in re.findall(r"\d+", name)}


def test_every_promise_has_its_row() -> None:
    assert sorted(ROWS) == list(range(1, 47))


def test_every_row_names_files_that_prove_it() -> None:
    for number, cell in ROWS.items():
        if cell == WAITING:
            continue
        for name in cell.split(", "):
            assert number in numbers_in(ROOT / name), f"R{number} is not proved in {name}"


def test_every_numbered_test_is_in_the_table() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        unknown = numbers_in(path) - set(ROWS)
        assert not unknown, f"{path.name}: {unknown}"
