"""Checks the messages of a conversation; contents of kinds that are unknown here stay."""

from collections.abc import Mapping
from typing import Any, Final

from roost_platform.gateway.families.fields import refuse

MESSAGES_MAX: Final = 16_384
PARTS_MAX: Final = 4096
CALLS_MAX: Final = 256
ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})


def read_messages(value: Any) -> list[dict[str, Any]]:
    """The messages. Raises InvalidRequest, which names the field."""
    if not isinstance(value, list) or not value:
        refuse("messages", "has to be a list that is not empty")
    if len(value) > MESSAGES_MAX:
        refuse("messages", f"has more than {MESSAGES_MAX} entries")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(value)]


def check_message(message: Any, where: str) -> None:
    """Raise InvalidRequest for what no provider could read."""
    if not isinstance(message, dict):
        refuse(where, "has to be an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        refuse(f"{where}.role", f"has to be one of {', '.join(sorted(ROLES))}")
    _check_content(message.get("content"), f"{where}.content")
    for name in ("name", "tool_call_id", "refusal", "reasoning", "reasoning_content"):
        if message.get(name) is not None and not isinstance(message[name], str):
            refuse(f"{where}.{name}", "has to be a text")
    if message.get("tool_calls") is not None:
        if role != "assistant":
            refuse(f"{where}.tool_calls", "belongs to messages of the assistant")
        _check_calls(message["tool_calls"], f"{where}.tool_calls")
    if role == "tool" and not message.get("tool_call_id"):
        refuse(f"{where}.tool_call_id", "has to name the call that this message answers")


def _message(message: Any, where: str) -> dict[str, Any]:
    """A checked message, without fields that are null."""
    check_message(message, where)
    kept = {name: value for name, value in message.items() if value is not None}
    for name in ("tool_calls", "annotations"):
        if not kept.get(name, True):
            del kept[name]  # an empty list, which some providers refuse
    if "content" in kept:
        return kept
    if kept["role"] != "assistant":
        refuse(f"{where}.content", "has to be a text or a list of parts")
    if "tool_calls" not in kept:
        kept["content"] = kept.pop("refusal", "")  # nothing, or nothing but reasoning
    return kept


def _check_content(content: Any, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list) or len(content) > PARTS_MAX:
        refuse(where, f"has to be a text or a list of at most {PARTS_MAX} parts")
    for index, part in enumerate(content):
        spot = f"{where}[{index}]"
        if not isinstance(part, dict):
            refuse(spot, "has to be an object")
        kind = part.get("type")
        if not isinstance(kind, str):
            refuse(f"{spot}.type", "has to be a text")
        if kind in TEXT_PARTS and not isinstance(part.get("text"), str):
            refuse(f"{spot}.text", "has to be a text")
        if kind == "image_url":
            _check_image(part.get("image_url"), f"{spot}.image_url")


def _check_image(image: Any, where: str) -> None:
    address = image.get("url") if isinstance(image, dict) else image
    if not isinstance(address, str) or not address:
        refuse(f"{where}.url", "has to be an address or a data: address")


def _check_calls(calls: Any, where: str) -> None:
    if not isinstance(calls, list) or len(calls) > CALLS_MAX:
        refuse(where, f"has to be a list of at most {CALLS_MAX} calls")
    for index, call in enumerate(calls):
        spot = f"{where}[{index}]"
        if not isinstance(call, dict):
            refuse(spot, "has to be an object")
        if call.get("id") is not None and not isinstance(call["id"], str):
            refuse(f"{spot}.id", "has to be a text")
        if call.get("type", "function") == "function":
            _check_function(call.get("function"), f"{spot}.function")


def _check_function(function: Any, where: str) -> None:
    if not isinstance(function, Mapping):
        refuse(where, "has to be an object")
    for name in ("name", "arguments"):
        if not isinstance(function.get(name), str):
            refuse(f"{where}.{name}", "has to be a text")
