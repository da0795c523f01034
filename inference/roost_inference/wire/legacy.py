"""Functions of OpenAI's older API: requests that use them become tools."""

from collections.abc import Mapping, Sequence
from typing import Any

from roost_inference.wire.json_body import reject

OLD_FIELDS = ("functions", "function_call")


def speaks_of_functions(value: Mapping[str, Any]) -> bool:
    """Whether the client wants calls as `function_call`."""
    return bool(value.get("functions"))


def modern(value: Mapping[str, Any]) -> dict[str, Any]:
    """The request with tools instead of functions. Raises InvalidRequest, which names the field."""
    messages = value.get("messages")
    has_old = isinstance(messages, list) and any(_is_old(message) for message in messages)
    kept = {name: child for name, child in value.items() if name not in OLD_FIELDS}
    functions, choice = value.get("functions"), value.get("function_call")
    if functions:
        if not isinstance(functions, list):
            reject("functions must be a list", param="functions")
        if value.get("tools"):
            reject("A request has either functions or tools", param="functions")
        kept["tools"] = [{"type": "function", "function": function} for function in functions]
        kept["parallel_tool_calls"] = False
        kept["tool_choice"] = _choice(choice)
    elif choice not in (None, "auto", "none"):
        reject("function_call asks for a function but none is declared", param="function_call")
    if has_old:
        kept["messages"] = _messages(value["messages"])
    return kept


def _is_old(message: Any) -> bool:
    return isinstance(message, dict) and (
        message.get("function_call") is not None or message.get("role") == "function"
    )


def _choice(choice: Any) -> Any:
    if choice is None or choice in ("auto", "none"):
        return choice
    name = choice.get("name") if isinstance(choice, dict) else None
    if not isinstance(name, str):
        reject("function_call must be auto, none, or name a function", param="function_call")
    return {"type": "function", "function": {"name": name}}


def _messages(messages: Sequence[Any]) -> list[Any]:
    """The messages with calls that have ids; a function's message answers its last call."""
    read: list[Any] = []
    last: dict[str, str] = {}
    for index, message in enumerate(messages):
        if not _is_old(message):
            read.append(message)
        elif message.get("role") == "function":
            read.append(_result(message, last, index))
        else:
            call = message["function_call"]
            if not isinstance(call, dict) or not isinstance(call.get("name"), str):
                where = f"messages[{index}].function_call"
                reject(f"{where} must have a name and arguments", param=where)
            id = last[call["name"]] = f"call_function_{index}"
            rest = {name: child for name, child in message.items() if name != "function_call"}
            read.append({**rest, "tool_calls": [{"id": id, "type": "function", "function": call}]})
    return read


def _result(message: Mapping[str, Any], last: Mapping[str, str], index: int) -> dict[str, Any]:
    name = message.get("name")
    if not isinstance(name, str) or name not in last:
        where = f"messages[{index}].name"
        reject(f"{where} must name a function that was called before", param=where)
    rest = {key: child for key, child in message.items() if key not in ("role", "name")}
    return {**rest, "role": "tool", "tool_call_id": last[name]}
