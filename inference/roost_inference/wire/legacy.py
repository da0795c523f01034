"""Functions of OpenAI's older API: requests that use them become tools."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from roost_inference.wire.json_body import reject

OLD_FIELDS = ("functions", "function_call")


def speaks_of_functions(value: Mapping[str, Any]) -> bool:
    """Whether the client wants calls as `function_call`."""
    return bool(value.get("functions"))


def modern(value: Mapping[str, Any]) -> dict[str, Any]:
    """The request with tools instead of functions. Raises InvalidRequest, which names the field."""
    kept = _without(value, *OLD_FIELDS)
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
    if has_old_messages(value.get("messages")):
        kept["messages"] = modern_messages(
            value["messages"], refuse_call=_refuse_call, refuse_name=_refuse_name
        )
    return kept


def _choice(choice: Any) -> Any:
    if choice is None or choice in ("auto", "none"):
        return choice
    name = choice.get("name") if isinstance(choice, dict) else None
    if not isinstance(name, str):
        reject("function_call must be auto, none, or name a function", param="function_call")
    return {"type": "function", "function": {"name": name}}


def has_old_messages(messages: Any) -> bool:
    """Whether a list of messages has a `function_call` or a function's result in it."""
    return isinstance(messages, list) and any(_is_old(message) for message in messages)


def modern_messages(
    messages: Sequence[Any],
    *,
    refuse_call: Callable[[str], NoReturn],
    refuse_name: Callable[[str], NoReturn],
) -> list[Any]:
    """The messages with calls that have ids; a function's message answers the last call of it.

    refuse_call, refuse_name: raise for a call without a name, and for a result of a function that
    was not called, each given the place.
    """
    read: list[Any] = []
    last: dict[str, str] = {}
    for index, message in enumerate(messages):
        if not _is_old(message):
            read.append(message)
        elif message.get("role") == "function":
            name = message.get("name")
            if not isinstance(name, str) or name not in last:
                refuse_name(f"messages[{index}].name")
            rest = _without(message, "role", "name")
            read.append({**rest, "role": "tool", "tool_call_id": last[name]})
        else:
            call = message["function_call"]
            if not isinstance(call, dict) or not isinstance(call.get("name"), str):
                refuse_call(f"messages[{index}].function_call")
            id = last[call["name"]] = f"call_function_{index}"
            rest = _without(message, "function_call")
            read.append({**rest, "tool_calls": [{"id": id, "type": "function", "function": call}]})
    return read


def _is_old(message: Any) -> bool:
    return isinstance(message, dict) and (
        message.get("function_call") is not None or message.get("role") == "function"
    )


def _without(message: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: child for name, child in message.items() if name not in names}


def _refuse_call(where: str) -> NoReturn:
    reject(f"{where} must have a name and arguments", param=where)


def _refuse_name(where: str) -> NoReturn:
    reject(f"{where} must name a function that was called before", param=where)
