"""Every declared setting is one that the code reads: none is a second truth beside a constant."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from roost_platform.settings.config import settings_model
from roost_platform.settings.sections import QUEUE_OF

ROOT = Path(__file__).parents[1]
FOLDERS = ("platform", "channels", "workflows", "inference")
SETTINGS = settings_model()
SECTIONS = {
    name: field.annotation
    for name, field in SETTINGS.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
FIELDS = [
    *(name for name in SETTINGS.model_fields if name not in SECTIONS),
    *(
        f"{name}.{field}"
        for name, section in SECTIONS.items()
        if section is not None
        for field in section.model_fields
        if not field.startswith(QUEUE_OF)
    ),
]
CHANNELS = [
    field.removeprefix(QUEUE_OF)
    for field in type(SETTINGS().inbound).model_fields
    if field.startswith(QUEUE_OF)
]
# What the code calls an object of settings, beside the section's own name: `self._config`.
ANY_HOLDER = frozenset({"settings", "config"})


def reads() -> Iterator[tuple[str, str]]:
    """(holder, name) of each attribute that is read from an object of settings."""
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
                    # `source["channels"]`: it is read before the class of all settings is made.
                    yield "config", str(node.slice.value)


@functools.cache
def all_reads() -> frozenset[tuple[str, str]]:
    """Of this run: every worker collects these tests, and one of them runs them."""
    return frozenset(reads())


@pytest.mark.parametrize("field", FIELDS)
def test_a_declared_setting_is_read_somewhere(field: str) -> None:
    section, _, name = field.rpartition(".")
    assert all_reads() & {("config", name), (section, name)}


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_queue_mode_of_a_channel_is_obeyed(channel: str) -> None:
    settings = SETTINGS.model_validate({"inbound": {f"{QUEUE_OF}{channel}": "interrupt"}})
    assert settings.inbound.rules.default_of(channel, "concierge") == "interrupt"
