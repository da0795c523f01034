"""What developers declare is checked field by field, and the docs name every field."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest

import roost.testing
from roost.agent import QUEUE_MODES, Agent, ModelSettings
from roost.errors import DefinitionError
from roost.flow import flow
from roost.testing import Run
from roost.tools import Tool, tool

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
        ("model", 5),
        ("model", None),
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
        ("stop", ("END", "")),
        ("max_tokens", 10**30),
        ("seed", 2**80),
        ("name", "  "),
        ("name", "gpt\n5"),
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


def test_each_wrong_field_of_an_agent_is_named_with_the_type_it_has() -> None:
    good: dict[str, Any] = {"name": "a", "instructions": "Be kind."}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": None}, "name must be a text, not None (NoneType)"),
        ({"instructions": None}, "instructions must be a text, not None (NoneType)"),
        ({"instructions": "\ud83d"}, "instructions can't be sent to a model"),
        ({"model": 5}, "model must be ModelSettings or a name, not 5 (int)"),
        ({"tools": [str]}, "tools[0] must be a tool, which is declared with @tool"),
        ({"tools": "book"}, "tools must be a list or tuple of tools, not 'book' (str)"),
        ({"tools": [tool_named("one"), tool_named("one")]}, "two tools named 'one'"),
        ({"max_steps": "8"}, "max_steps must be a whole number, not '8' (str)"),
        ({"max_calls": 0}, "max_calls must be 1 to"),
        ({"max_repeats": 2.5}, "max_repeats must be a whole number, not 2.5 (float)"),
        ({"max_turn_tokens": None}, "max_turn_tokens must be a whole number, not None"),
        ({"max_turn_s": "60"}, "max_turn_s must be a number of seconds, not '60' (str)"),
        ({"max_turn_s": float("nan")}, "max_turn_s must be a number of seconds, not nan"),
        ({"queue": 3}, "queue must be one of"),
    ]
    for fields_given, message in wrong:
        with pytest.raises(DefinitionError) as raised:
            Agent(**{**good, **fields_given})
        assert message in str(raised.value), fields_given


def test_a_text_as_model_is_the_name_of_one() -> None:
    agent = Agent("a", "Be kind.", model="fast")
    assert agent.model == agent.settings == ModelSettings(name="fast")
    assert Agent("a", "Be kind.").settings.name == ""


def test_what_json_cant_hold_is_refused_where_it_is_declared() -> None:
    with pytest.raises(DefinitionError, match="temperature must be a number or None, not inf"):
        ModelSettings(temperature=float("inf"))

    def far(distance: float = float("inf")) -> str:
        """Go far."""
        return str(distance)

    def calls(back: Callable[[], None]) -> str:
        """Call back."""
        return str(back)

    for function in (far, calls):
        with pytest.raises(DefinitionError, match=f"Tool '{function.__name__}'"):
            tool(function)
    with pytest.raises(DefinitionError, match="effect must be a text"):
        tool(effect=cast(Any, ["pure"]))(far)


def tool_named(name: str) -> Tool:
    @tool(name=name)
    def body() -> str:
        """Do."""
        return ""

    return body


@pytest.mark.parametrize("name", ["_place", "__place", "model_config", "model_post_init"])
def test_a_parameter_that_would_be_lost_is_refused(name: str) -> None:
    lines = f"async def book({name}: str) -> str:\n    'Book.'\n    return 'booked'\n"
    scope: dict[str, Any] = {}
    exec(lines, scope)
    with pytest.raises(DefinitionError, match=f"parameter '{name}' can't have this name"):
        tool(effect="pure")(scope["book"])
    lines = f"async def book(ctx, {name}: str) -> str:\n    return 'booked'\n"
    exec(lines, scope)
    with pytest.raises(DefinitionError, match=f"parameter '{name}' can't have this name"):
        flow(scope["book"])


@pytest.mark.filterwarnings("error")
def test_a_parameter_may_have_a_name_that_pydantic_uses_as_well() -> None:
    @tool(effect="pure")
    async def send(schema: str, json: str, copy: int) -> str:
        """Send it."""
        return schema + json

    given = {"schema": "a", "json": "b", "copy": 2}
    assert send.parse(json.dumps(given)) == given


def test_a_tool_that_closes_over_another_value_is_another_tool() -> None:
    def payer(account: str) -> Tool:
        @tool
        async def pay(amount: int) -> str:
            """Pay."""
            return f"{amount} from {account}"

        return pay

    assert payer("ours").definition_hash == payer("ours").definition_hash
    assert payer("ours").definition_hash != payer("theirs").definition_hash


def test_a_tool_made_at_run_time_has_one_hash_in_every_process() -> None:
    lines = (
        "from roost import tool\n"
        "def pay(amount: int, to: str) -> str:\n"
        "    'Pay.'\n"
        "    return (lambda: to)() if to in {'Ada', 'Bob', 'Cid', 'Dee'} else 'nobody'\n"
        "print(tool(pay).definition_hash)\n"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", f"exec({lines!r})"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(hashes) == 1
