"""The code that docs/extending.md shows of a file is the file's, to the letter."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
# A block that begins with the path of a file shows a part of that file.
SHOWN = re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("path", "code"), SHOWN, ids=[path for path, _ in SHOWN])
def test_what_the_page_shows_of_a_file_stands_in_it(path: str, code: str) -> None:
    assert code in (ROOT / path).read_text(encoding="utf-8")


def test_the_channel_is_shown_from_its_settings_to_its_descriptor() -> None:
    folder = "docs/examples/relay"
    expected = {f"{folder}/{name}.py" for name in ("config", "channel", "inbound", "kind")}
    assert expected <= {path for path, _ in SHOWN}


def test_every_file_of_the_example_channel_is_explained() -> None:
    files = {file.name for file in (ROOT / "docs" / "examples" / "relay").glob("*.py")}
    assert all(f"`docs/examples/relay/{name}`" in PAGE for name in files - {"__init__.py"})
