"""Every declared setting is one that the code reads: none is a second truth beside a constant."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from roost_platform.settings.config import Settings

ROOT = Path(__file__).parents[1]
FOLDERS = ("platform", "channels", "workflows", "inference")
SECTIONS = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
FIELDS = [
    *(name for name in Settings.model_fields if name not in SECTIONS),
    *(
        f"{name}.{field}"
        for name, section in SECTIONS.items()
        if section is not None
        for field in section.model_fields
    ),
]
# What the code calls an object of settings, beside the section's own name: `self._config`.
ANY_HOLDER = frozenset({"settings", "config"})


def reads() -> Iterator[tuple[str, str]]:
    """(holder, name) of each attribute that is read from an object of settings.

    `source["name"]` counts, too: which channels there are is read before there is such an object.
    """
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text()
            declares = "model_config" in source
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    holder = ast.unparse(node.value).rpartition(".")[2].lstrip("_")
                    if holder in ANY_HOLDER or (declares and holder == "self"):
                        yield "config", node.attr
                    elif holder in SECTIONS:
                        yield holder, node.attr
                elif (
                    isinstance(node, ast.Subscript)
                    and isinstance(node.slice, ast.Constant)
                    and ast.unparse(node.value) == "source"
                ):
                    yield "config", str(node.slice.value)


READS = frozenset(reads())


@pytest.mark.parametrize("field", FIELDS)
def test_a_declared_setting_is_read_somewhere(field: str) -> None:
    section, _, name = field.rpartition(".")
    assert READS & {("config", name), (section, name)}
