"""Functions of the older API: requests that use them become tools, answers become functions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from roost_platform.gateway.families.chat.tools import TOOLS_MAX, check_function
from roost_platform.gateway.families.fields import list_field, refuse

OLD_FIELDS: Final = ("functions", "function_call")


def uses_functions(body: Mapping[str, Any]) -> bool:
    """Whether the client speaks of functions instead of tools."""
    return bool(body.get("functions"))


def modern(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request with tools instead of functions. Raises InvalidRequest, which names the field."""
    messages = body.get("messages")
    has_old = isinstance(messages, list) and any(_is_old(message) for message in messages)
    if not has_old and all(body.get(name) is None for name in OLD_FIELDS):
        return body
    kept = {name: value for name, value in body.items() if name not in OLD_FIELDS}
    functions = list_field(body, "functions", TOOLS_MAX) or []
    if functions and kept.get("tools"):
        refuse("functions", "and tools can't both be given")
    for index, function in enumerate(functions):
        check_function(function, f"functions[{index}]")
    if functions:
        kept["tools"] = [{"type": "function", "function": function} for function in functions]
        kept["parallel_tool_calls"] = False
        kept["tool_choice"] = _choice(body.get("function_call"), functions)
    elif body.get("function_call") not in (None, "auto", "none"):
        refuse("function_call", "asks for a function, but there are none")
    if has_old:
        kept["messages"] = _messages(body["messages"])
    return kept


def _is_old(message: Any) -> bool:
    return isinstance(message, dict) and (
        message.get("function_call") is not None or message.get("role") == "function"
    )


def _choice(choice: Any, functions: Sequence[Mapping[str, Any]]) -> Any:
    if choice is None or choice in ("auto", "none"):
        return choice
    name = choice.get("name") if isinstance(choice, dict) else None
    if name not in [function["name"] for function in functions]:
        refuse("function_call", "has to be auto, none, or name one of the functions")
    return {"type": "function", "function": {"name": name}}


def _messages(messages: Sequence[Any]) -> list[Any]:
    """The messages with calls that have ids; a function's message answers the last such call."""
    read: list[Any] = []
    last: dict[str, str] = {}
    for index, message in enumerate(messages):
        if not _is_old(message):
            read.append(message)
            continue
        where, call = f"messages[{index}]", message.get("function_call")
        if message.get("role") == "function":
            name = message.get("name")
            if not isinstance(name, str) or name not in last:
                refuse(f"{where}.name", "has to be a function that was called before")
            rest = {k: v for k, v in message.items() if k not in ("name", "role")}
            read.append({**rest, "role": "tool", "tool_call_id": last[name]})
            continue
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            refuse(f"{where}.function_call", "has to have a name and arguments")
        id = last[call["name"]] = f"call_function_{index}"
        rest = {k: v for k, v in message.items() if k != "function_call"}
        read.append({**rest, "tool_calls": [{"id": id, "type": "function", "function": call}]})
    return read
