"""Whatever a model gives a tool, the tool gets what it declared or the model reads its fault."""

import json
from typing import Annotated, Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from roost import Agent, ModelRetry, tool
from roost.builtin.concierge import concierge
from roost_inference.client.assembly import Completed, ToolCall
from roost_workflows.state import GenerateInput
from roost_workflows.turn.planning import plan_calls


class Place(BaseModel):
    name: str
    at: tuple[float, float] | None = None


@tool(effect="pure")
def book(
    place: Place,
    people: Annotated[int, Field(ge=1, le=20)],
    kind: Literal["table", "room"] = "table",
    notes: dict[str, list[str]] | None = None,
) -> str:
    """Book a place."""
    return place.name


AGENT = Agent("host", "Be kind.", tools=[book, *concierge.tools])
NAMES = st.sampled_from(
    [
        *("place", "people", "kind", "notes", "name", "at", "expression", "timezone", "text"),
        *("file", "offset", "number", "ctx", "self", "__class__", "key", ""),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | NAMES | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)
TEXTS = (
    VALUES.map(json.dumps)
    | st.text(max_size=30)
    | st.sampled_from(
        ["", "{", "[" * 5000, '{"a":' * 3000, '{"people": 1e999}', '{"people": ' + "9" * 5000 + "}"]
    )
)


def completed(name: str, arguments: str) -> Completed:
    calls = (ToolCall("x", name, arguments),)
    return Completed("", calls, "tool_calls", "model", "id", 1, 0, 1)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from([one.name for one in AGENT.tools]) | NAMES, TEXTS)
def test_no_arguments_raise_anything_but_a_fault_that_the_model_reads(
    name: str, arguments: str
) -> None:
    for planned in plan_calls(AGENT, GenerateInput("t", 1, last=False), completed(name, arguments)):
        stored: Any = json.loads(planned.arguments)
        assert isinstance(stored, dict)
        found = AGENT.tool(planned.name)
        if found is None:
            continue
        try:
            given_values = found.parse(planned.arguments)
        except ModelRetry as error:
            assert len(str(error)) < 5000
        else:
            assert set(given_values) <= set(found.parameters["properties"])
