"""Anthropic's tools and choice of a tool, in OpenAI's form."""

from collections.abc import Mapping
from typing import Any, Final

from roost_platform.gateway.families.messages.fields import (
    flag_of,
    invalid,
    object_of,
    objects_of,
    text_of,
)

TOOLS_MAX: Final = 512
CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


def tool_fields(tools: Any, choice: Any) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls`, as far as the request has them.

    Tools that run on Anthropic's servers, or that only its models know, are left out: no other
    engine has them, and clients offer them to every model.
    """
    functions = [
        _function(tool, f"tools.{index}")
        for index, tool in enumerate(objects_of(tools, "tools", TOOLS_MAX))
        if tool.get("type") in (None, "custom")
    ]
    chosen = object_of(choice, "tool_choice")
    if not functions:
        return {}
    fields: dict[str, Any] = {"tools": functions}
    kind = text_of(chosen.get("type"), "tool_choice.type")
    names = {function["function"]["name"] for function in functions}
    if kind == "tool":
        name = text_of(chosen.get("name"), "tool_choice.name")
        if not name:
            raise invalid("tool_choice.name", "Field required")
        if name in names:
            fields["tool_choice"] = {"type": "function", "function": {"name": name}}
        elif not any(tool.get("name") == name for tool in tools):
            raise invalid("tool_choice.name", f"Tool {name!r} not found in provided tools")
    elif kind in CHOICES:
        fields["tool_choice"] = CHOICES[kind]
    elif chosen:
        raise invalid("tool_choice.type", "Input should be one of auto, any, tool, none")
    if flag_of(chosen.get("disable_parallel_tool_use"), "tool_choice.disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False
    return fields


def needs_its_own_tool(body: Mapping[str, Any], chat: Mapping[str, Any]) -> bool:
    """Whether a tool has to be called that was left out of this chat: no other engine has it."""
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else None
    return bool(body.get("tools")) and kind in ("any", "tool") and "tool_choice" not in chat


def _function(tool: Mapping[str, Any], path: str) -> dict[str, Any]:
    name = text_of(tool.get("name"), f"{path}.name")
    if not name:
        raise invalid(f"{path}.name", "Field required")
    schema = object_of(tool.get("input_schema"), f"{path}.input_schema")
    function: dict[str, Any] = {
        "name": name,
        "description": text_of(tool.get("description"), f"{path}.description"),
        "parameters": schema or {"type": "object", "properties": {}},
    }
    if tool.get("strict") is True:
        function["strict"] = True
    return {"type": "function", "function": function}
