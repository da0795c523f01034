"""Functions of the older API: requests that use them become tools, answers become functions."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from roost_inference.wire.legacy import OLD_FIELDS, has_old_messages, modern_messages
from roost_platform.gateway.families.chat.tools import TOOLS_MAX, check_function
from roost_platform.gateway.families.fields import list_field, refuse


def uses_functions(body: Mapping[str, Any]) -> bool:
    """Whether the client speaks of functions instead of tools."""
    return bool(body.get("functions"))


def modern(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request with tools instead of functions. Raises InvalidRequest, which names the field."""
    has_old = has_old_messages(body.get("messages"))
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
        kept["messages"] = modern_messages(
            body["messages"], refuse_call=_refuse_call, refuse_name=_refuse_name
        )
    return kept


def _choice(choice: Any, functions: Sequence[Mapping[str, Any]]) -> Any:
    if choice is None or choice in ("auto", "none"):
        return choice
    name = choice.get("name") if isinstance(choice, dict) else None
    if name not in [function["name"] for function in functions]:
        refuse("function_call", "has to be auto, none, or name one of the functions")
    return {"type": "function", "function": {"name": name}}


def _refuse_call(where: str) -> NoReturn:
    refuse(where, "has to have a name and arguments")


def _refuse_name(where: str) -> NoReturn:
    refuse(where, "has to be a function that was called before")
