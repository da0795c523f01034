"""Checks tools, the choice among them, and the form of the answer."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from roost_platform.gateway.families.fields import flag, list_field, refuse

TOOLS_MAX: Final = 512
TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
SCHEMA_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
CHOICES: Final = frozenset({"auto", "none", "required"})
FORMATS: Final = frozenset({"text", "json_object", "json_schema", "structural_tag"})


def read_tools(body: Mapping[str, Any]) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls` as a provider gets them.

    Without tools, the two others mean nothing and many providers refuse them. A choice among
    allowed tools leaves the others out. Raises InvalidRequest, which names the field.
    """
    tools = list_field(body, "tools", TOOLS_MAX) or []
    names = [_check_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice = body.get("tool_choice")
    if choice is None or (choice in ("auto", "none") and not tools):
        choice = None
    elif isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        choice, allowed = _allowed(choice, names)
        tools = [tool for tool, name in zip(tools, names, strict=True) if name in allowed]
    else:
        _check_choice(choice, names)
    is_parallel = flag(body, "parallel_tool_calls")
    read: dict[str, Any] = {"tools": tools, "tool_choice": choice} if tools else {}
    if tools and body.get("parallel_tool_calls") is not None:
        read["parallel_tool_calls"] = is_parallel
    return {name: value for name, value in read.items() if value is not None}


def _check_tool(tool: Any, where: str) -> str:
    """The tool's name, empty for a type that is unknown here."""
    if not isinstance(tool, dict):
        refuse(where, "has to be an object")
    kind = tool.get("type", "function")
    if not isinstance(kind, str):
        refuse(f"{where}.type", "has to be a text")
    if kind != "function":
        inner = tool.get(kind)
        name = inner.get("name") if isinstance(inner, dict) else None
        return name if isinstance(name, str) else ""
    return check_function(tool.get("function"), f"{where}.function")


def check_function(function: Any, where: str) -> str:
    """The name of a declared function. Raises InvalidRequest for what no provider could read."""
    if not isinstance(function, dict):
        refuse(where, "has to be an object")
    name = function.get("name")
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        refuse(f"{where}.name", "has to be 1 to 128 letters, digits, or any of _ - . : /")
    if not isinstance(function.get("description"), str | None):
        refuse(f"{where}.description", "has to be a text")
    if not isinstance(function.get("parameters"), dict | None):
        refuse(f"{where}.parameters", "has to be a JSON schema")
    if function.get("strict") is not None and not isinstance(function["strict"], bool):
        refuse(f"{where}.strict", "has to be true or false")
    return name


def _check_choice(choice: Any, names: Sequence[str]) -> None:
    if isinstance(choice, str):
        if choice not in CHOICES:
            refuse("tool_choice", f"has to be one of {', '.join(sorted(CHOICES))}, or name a tool")
    elif isinstance(choice, dict):
        kind = choice.get("type")
        named = choice.get(kind) if isinstance(kind, str) else None
        name = named.get("name") if isinstance(named, dict) else None
        if not isinstance(name, str):
            refuse("tool_choice", "has to name a tool, as in OpenAI's API")
        if names and name not in names:
            refuse("tool_choice", f"names {name!r}, which is not among the tools")
    else:
        refuse("tool_choice", "has to be a text or an object")
    if not names:
        refuse("tool_choice", "asks for a tool, but there are none")


def _allowed(choice: Mapping[str, Any], names: Sequence[str]) -> tuple[str, set[str]]:
    """The mode of a choice among allowed tools, and their names."""
    allowed = choice.get("allowed_tools", choice)
    entries = allowed.get("tools") if isinstance(allowed, dict) else None
    if not isinstance(entries, list) or not entries:
        refuse("tool_choice.allowed_tools.tools", "has to be a list that is not empty")
    mode = allowed.get("mode", "auto")
    if mode not in ("auto", "required"):
        refuse("tool_choice.allowed_tools.mode", "has to be auto or required")
    chosen: set[str] = set()
    for entry in entries:
        inner = entry.get("function", entry) if isinstance(entry, dict) else None
        name = inner.get("name") if isinstance(inner, dict) else None
        if not isinstance(name, str) or name not in names:
            refuse("tool_choice.allowed_tools.tools", f"names {name!r}, which is not declared")
        chosen.add(name)
    return mode, chosen


def check_format(body: Mapping[str, Any]) -> None:
    """Check `response_format`. Raises InvalidRequest, which names the field."""
    wanted = body.get("response_format")
    if wanted is None:
        return
    where = "response_format"
    if not isinstance(wanted, dict):
        refuse(where, "has to be an object")
    kind = wanted.get("type")
    if not isinstance(kind, str) or kind not in FORMATS:
        refuse(f"{where}.type", f"has to be one of {', '.join(sorted(FORMATS))}")
    if kind == "json_object" and not isinstance(wanted.get("schema"), dict | None):
        refuse(f"{where}.schema", "has to be a JSON schema")
    if kind == "json_schema":
        _check_schema(wanted.get("json_schema"), f"{where}.json_schema")


def _check_schema(schema: Any, where: str) -> None:
    if not isinstance(schema, dict):
        refuse(where, "has to be an object with a name and a schema")
    name = schema.get("name")
    if name is not None and not (isinstance(name, str) and SCHEMA_NAME.fullmatch(name)):
        refuse(f"{where}.name", "has to be 1 to 64 letters, digits, _ or -")
    if not isinstance(schema.get("schema"), dict):
        refuse(f"{where}.schema", "has to be a JSON schema")
    if schema.get("strict") is not None and not isinstance(schema["strict"], bool):
        refuse(f"{where}.strict", "has to be true or false")
