"""What developers declare is checked field by field, and the docs name every field."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import roost.testing
from roost.agent import QUEUE_MODES, Agent, ModelSettings
from roost.errors import DefinitionError
from roost.testing import Run
from roost.tools import tool

DOCS = Path(__file__).parents[3] / "docs"
AGENTS = (DOCS / "agents.md").read_text()


@tool(effect="pure")
def look(place: str) -> str:
    """Look at a place."""
    return place


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 7),
        ("name", None),
        ("instructions", b"Be."),
        ("instructions", ["Be."]),
        ("tools", look),
        ("tools", "look"),
        ("tools", [look, "look"]),
        ("tools", None),
        ("model", {"temperature": 1}),
        ("model", "gpt"),
        ("max_steps", "8"),
        ("max_steps", 8.0),
        ("max_steps", True),
        ("queue", "later"),
        ("queue", 1),
        ("queue", ["steer"]),
    ],
)
def test_a_field_of_a_wrong_type_is_refused_with_its_name(field: str, value: object) -> None:
    values: dict[str, Any] = {"name": "a", "instructions": "Be.", field: value}
    with pytest.raises(DefinitionError, match="tool" if field == "tools" else field):
        Agent(**values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", 1.5),
        ("repetition_penalty", [1]),
        ("repetition_penalty", 0),
        ("max_tokens", 10.5),
        ("max_tokens", 0),
        ("seed", "1"),
        ("stop", "END"),
        ("stop", ("END", 3)),
    ],
)
def test_a_model_setting_of_a_wrong_type_or_value_is_refused(field: str, value: object) -> None:
    values: dict[str, Any] = {field: value}
    with pytest.raises(DefinitionError, match=field):
        ModelSettings(**values)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", 3), ("label", 3), ("timeout", "5"), ("timeout", True), ("effect", None)],
)
def test_a_tool_option_of_a_wrong_type_is_refused(field: str, value: object) -> None:
    def say(text: str) -> str:
        """Say."""
        return text

    options: dict[str, Any] = {"effect": "pure", field: value}
    with pytest.raises(DefinitionError, match=field):
        tool(**options)(say)
    with pytest.raises(DefinitionError, match="check must be a function"):
        tool(effect="verifiable", check="later")(say)  # type: ignore[call-overload]


def test_well_typed_definitions_are_taken() -> None:
    settings = ModelSettings(temperature=0, top_p=1, stop=["END"])  # type: ignore[arg-type]
    for queue in (*QUEUE_MODES, None):
        agent = Agent("a", "Be.", [look], settings, 3, queue)
        assert agent.queue == queue and agent.tools == (look,)
    assert settings.stop == ("END",)


def test_the_docs_name_every_field_of_an_agent_and_no_other() -> None:
    names = [field.name for field in fields(Agent)]
    signature = re.search(r"`Agent\(([^)]*)\)`", AGENTS)
    assert signature is not None and signature[1].split(", ") == names
    section = AGENTS.split("## Agents")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == names
    settings = re.search(r"`ModelSettings\(([^)]*)\)`", section)
    assert settings is not None
    assert settings[1].split(", ") == [field.name for field in fields(ModelSettings)]


def test_the_docs_name_the_queue_modes() -> None:
    section = AGENTS.split("## Agents")[1].split("\n## ")[0]
    assert all(f"`{mode}`" in section for mode in QUEUE_MODES)


def test_what_the_docs_name_of_roost_testing_exists() -> None:
    section = AGENTS.split("## Testing an agent")[1].split("\n## ")[0]
    for name in ("ScriptedModel", "call", "run_agent", "MemoryNotes", "Run"):
        assert f"`{name}" in section and hasattr(roost.testing, name)
    documented = set(re.findall(r"`(?:Run)?\.(\w+)`", section))
    assert documented == {field.name for field in fields(Run)}
