"""The pictures of ARCHITECTURE.md show the packages as they are."""

import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```\n((?:\w+/)+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# By folder of a package, the names in its picture from top to bottom.
PICTURES = {
    folder: re.findall(r"^  (\S+) ", lines, re.MULTILINE)
    for folder, lines in BLOCK.findall((ROOT / "ARCHITECTURE.md").read_text())
}


def test_every_package_has_a_picture() -> None:
    packages = {
        "platform/roost_platform/",
        "channels/roost_channels/",
        "workflows/roost/",
        "workflows/roost_workflows/",
        "inference/roost_inference/",
    }
    assert packages <= set(PICTURES)


@pytest.mark.parametrize("folder", PICTURES)
def test_the_picture_of_a_package_shows_everything_in_it(folder: str) -> None:
    inside = {path.name for path in (ROOT / folder).glob("*.py")} - {"__init__.py"}
    inside |= {f"{path.parent.name}/" for path in (ROOT / folder).glob("*/__init__.py")}
    assert sorted(PICTURES[folder]) == sorted(inside)


@pytest.mark.parametrize("folder", PICTURES)
def test_a_line_of_a_picture_imports_only_from_lines_below_it(folder: str) -> None:
    package = ".".join(Path(folder).parts[1:])
    graph = grimp.build_graph(package.split(".")[0], cache_dir=None)
    line = {name.strip("/").removesuffix(".py"): at for at, name in enumerate(PICTURES[folder])}

    def child(module: str) -> str:
        return module.removeprefix(f"{package}.").split(".")[0]

    upward = [
        f"{importer} imports {imported}"
        for importer in graph.find_descendants(package)
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported.startswith(f"{package}.") and line[child(imported)] < line[child(importer)]
    ]
    assert not upward
