"""What clients leave out as null is taken as left out."""

from roost_inference.wire.message import DeclaredTool


def test_a_tool_may_have_null_for_what_it_lacks() -> None:
    function = {"name": "look", "description": None, "parameters": None, "strict": None}
    tool = DeclaredTool.model_validate({"type": "function", "function": function})
    assert (tool.function.description, tool.function.parameters) == ("", {})
