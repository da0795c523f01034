"""Finding agents: entry points, ROOST_AGENTS, and clear errors when one is missing."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest

from roost import Agent
from roost.builtin.concierge import concierge
from roost_workflows.agents import AgentRegistry, load_agents
from roost_workflows.errors import AgentsError

waiter = Agent("waiter", "Serve.")
cook = Agent("cook", "Cook.")


@pytest.fixture(autouse=True)
def kitchen() -> Iterator[None]:
    module = ModuleType("kitchen")
    module.waiter, module.staff = waiter, [waiter, cook]  # type: ignore[attr-defined]
    module.impostor, module.number = Agent("concierge", "Not me."), 4  # type: ignore[attr-defined]
    sys.modules["kitchen"] = module
    yield
    del sys.modules["kitchen"]


def test_the_concierge_is_always_there_and_the_default() -> None:
    registry = load_agents(points=())
    assert registry.names == ("concierge",)
    assert registry.get(registry.default) is concierge


def test_entry_points_add_agents() -> None:
    points = [
        EntryPoint("concierge", "roost.builtin.concierge:concierge", "roost.agents"),
        EntryPoint("staff", "kitchen:staff", "roost.agents"),
    ]
    assert load_agents(points=points).names == ("concierge", "waiter", "cook")


def test_the_first_agent_of_the_settings_is_the_default() -> None:
    registry = load_agents(" kitchen:waiter , kitchen:staff ", points=())
    assert registry.default == "waiter"
    assert registry.get("cook") is cook
    assert registry.get("nobody") is None


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("kitchen", "not of the form module:attribute"),
        ("no_such_kitchen:waiter", "can't be imported: ModuleNotFoundError"),
        ("kitchen:gardener", "has no 'gardener'"),
        ("kitchen:number", "not an Agent"),
        ("kitchen:impostor", "another agent named 'concierge'"),
    ],
)
def test_what_can_not_be_loaded_stops_the_start(spec: str, told: str) -> None:
    with pytest.raises(AgentsError, match=told):
        load_agents(spec, points=())


def test_a_registry_can_be_made_by_hand() -> None:
    registry = AgentRegistry.of(cook, waiter)
    assert (registry.default, list(registry)) == ("cook", [cook, waiter])
