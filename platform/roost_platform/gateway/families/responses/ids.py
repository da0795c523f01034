"""Ids of responses and of their items; each tells the call that made it."""

import re
from typing import Final

# By type of an item; others get the last one.
PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "compaction": "cmp",
}
OTHER: Final = "item"
_RESPONSE: Final = re.compile(r"resp_([0-9a-f]{32})")
_ITEM: Final = re.compile(r"[a-z]{2,4}_([0-9a-f]{32})_i?\d{1,6}")


def response_id(call_id: str) -> str:
    """The id of the response that this call writes."""
    return f"resp_{call_id.replace('-', '')}"


def item_id(response: str, kind: str, number: int) -> str:
    """The id of an item that a response puts out."""
    return f"{PREFIXES.get(kind, OTHER)}_{response[5:]}_{number}"


def input_item_id(response: str, kind: str, number: int) -> str:
    """The id of an item of a response's input, where the client gave none."""
    return f"{PREFIXES.get(kind, OTHER)}_{response[5:]}_i{number}"


def is_response_id(text: str) -> bool:
    """Whether a text may be the id of a response of ours."""
    return _RESPONSE.fullmatch(text) is not None


def response_of(item: str) -> str | None:
    """The id of the response to which an item belongs; None if the id is not one of ours."""
    match = _ITEM.fullmatch(item)
    return None if match is None else f"resp_{match[1]}"
