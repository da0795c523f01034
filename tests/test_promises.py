"""The promises of SECURITY.md are held to the tests that carry their numbers."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| S(\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
ROWS = {int(row[1]): row[3] for row in ROW.finditer((ROOT / "SECURITY.md").read_text())}
# What a promise waits for, and which of them have no test at all until it is there.
WAITS = {7: "marks"}
WITHOUT_TESTS: set[int] = set()


def numbers_in(path: Path) -> set[int]:
    """The promises that a file's tests carry: `test_s7_…`, or `test_s1_s2_…` for two at once."""
    names = re.findall(r"def test_((?:s\d+_)+)", path.read_text())
    return {int(number) for name in names for number in re.findall(r"\d+", name)}


def files_of(cell: str) -> list[str]:
    return re.findall(r"tests/[\w/]+\.py", cell)


def test_every_promise_has_its_row() -> None:
    assert sorted(ROWS) == list(range(1, 21))


def test_every_row_names_the_files_that_prove_it_and_no_others() -> None:
    proved: dict[int, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for number in numbers_in(path):
            proved.setdefault(number, set()).add(str(path.relative_to(ROOT)))
    for number, cell in ROWS.items():
        assert set(files_of(cell)) == proved.get(number, set()), f"S{number}"
    assert not set(proved) - set(ROWS)
    assert set(ROWS) - set(proved) == WITHOUT_TESTS


def test_only_what_is_not_built_yet_is_waited_for() -> None:
    for number, cell in ROWS.items():
        waits = re.findall(r"waits for (\w+)", cell)
        assert waits == ([WAITS[number]] if number in WAITS else []), f"S{number}"
