"""Items of a conversation: the client's as they are stored, and all of them as chat messages."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from roost_inference.errors import InvalidRequest
from roost_platform.gateway.families.chat.messages import MESSAGES_MAX
from roost_platform.gateway.families.responses.compaction import expanded
from roost_platform.gateway.families.responses.contents import (
    assistant_message,
    chat_content,
    chat_text,
)
from roost_platform.gateway.families.responses.ids import input_item_id
from roost_platform.gateway.families.responses.signatures import detail_of
from roost_platform.gateway.families.responses.tools import INPUT

ROLES: Final = {
    "user": "user",
    "assistant": "assistant",
    # Chat templates know `system`; OpenAI reads it as `developer`.
    "system": "system",
    "developer": "system",
}
REFERENCE: Final = "item_reference"
CALLS: Final = ("function_call", "custom_tool_call")
RESULTS: Final = ("function_call_output", "custom_tool_call_output")
# How the types end that tools of OpenAI's own servers have.
FOREIGN: Final = ("_call", "_output", "_list_tools", "_response", "_request")
KNOWN: Final = frozenset({"message", "reasoning", "compaction", REFERENCE, *CALLS, *RESULTS})


def input_items(given: str | list[Any], response: str) -> list[dict[str, Any]]:
    """The items of a request's input, each with a type and an id. Raises InvalidRequest.

    Items of tools that OpenAI runs, such as web_search_call, are left out, as the tools are.
    """
    if isinstance(given, str):
        part = {"type": "input_text", "text": given}
        given = [{"type": "message", "role": "user", "content": [part]}]
    if len(given) > MESSAGES_MAX:
        raise InvalidRequest(f"input has more than {MESSAGES_MAX} items", param="input")
    items: list[dict[str, Any]] = []
    for index, item in enumerate(given):
        where = f"input[{index}]"
        if not isinstance(item, dict):
            raise InvalidRequest(f"{where} has to be an object", param=where)
        kind = item.get("type") or ("message" if "role" in item else REFERENCE)
        if not isinstance(kind, str):
            raise InvalidRequest(f"{where}.type has to be a text", param=f"{where}.type")
        if kind in KNOWN:
            _check(item, kind, where)
            own = item.get("id") or input_item_id(response, kind, index)
            items.append({**item, "type": kind, "id": own})
        elif not kind.endswith(FOREIGN):
            raise InvalidRequest(f"{where}.type {kind!r} is not supported", param=f"{where}.type")
    return items


def _check(item: Mapping[str, Any], kind: str, where: str) -> None:
    if item.get("id") is not None and not isinstance(item["id"], str):
        raise InvalidRequest(f"{where}.id has to be a text", param=f"{where}.id")
    texts: tuple[str, ...] = ()
    if kind == "message":
        role = item.get("role")
        if not isinstance(role, str) or role not in ROLES:
            known = ", ".join(ROLES)
            raise InvalidRequest(f"{where}.role has to be one of {known}", param=f"{where}.role")
        chat_content(item.get("content"), f"{where}.content")
    elif kind == "function_call":
        texts = ("call_id", "name", "arguments")
    elif kind == "custom_tool_call":
        texts = ("call_id", "name", "input")
    elif kind in RESULTS:
        texts = ("call_id",)
        chat_content(item.get("output"), f"{where}.output")
    elif kind == "compaction":
        texts = ("encrypted_content",)
    elif kind == REFERENCE:
        texts = ("id",)
    for name in texts:
        if not isinstance(item.get(name), str):
            raise InvalidRequest(f"{where}.{name} has to be a text", param=f"{where}.{name}")


def chat_messages(instructions: str, items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A conversation as chat messages. Raises InvalidRequest where a call has no result, or a
    result no call, which no provider takes.

    Reasoning is left out, but for what a provider has signed and wants back. Rules at the beginning
    are one message: many templates take no other.
    """
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    calls = _Calls(messages)
    pending = list(items)[::-1]
    while pending:
        item = pending.pop()
        kind = item["type"]
        if kind == "message":
            messages.append(_message(item))
            _join_rules(messages)
            calls.sign(messages[-1])
        elif kind in CALLS:
            calls.call(item)
        elif kind in RESULTS:
            calls.result(item)
        elif kind == "reasoning":
            calls.reason(item)
        elif kind == "compaction":
            pending += expanded(item)[::-1]
    calls.check()
    if not any(message["role"] != "system" for message in messages):
        raise InvalidRequest("input has no message", param="input")
    return messages


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    role = ROLES[item["role"]]
    content = item.get("content")
    if role == "assistant":
        return assistant_message(content)
    value = chat_content(content, "content")
    return {"role": role, "content": chat_text(value) if role == "system" else value}


def _join_rules(messages: list[dict[str, Any]]) -> None:
    if len(messages) == 2 and messages[0]["role"] == messages[1]["role"] == "system":
        later = messages.pop()
        messages[0]["content"] = f"{messages[0]['content']}\n\n{later['content']}"


class _Calls:
    """Puts calls into the assistant's message before them, and results right after it, wherever
    the client has them: chat takes no other order.
    """

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self._messages = messages
        self._callers: dict[str, dict[str, Any]] = {}
        self._open: dict[str, str] = {}
        self._details: list[dict[str, Any]] = []  # of reasoning whose message is still to come

    def reason(self, item: Mapping[str, Any]) -> None:
        """Keep reasoning that a provider has signed for the message after it."""
        if (detail := detail_of(item)) is not None:
            self._details.append(detail)

    def sign(self, message: dict[str, Any]) -> None:
        """Give a message of the model the reasoning before it; another's message gets none."""
        if self._details and message["role"] == "assistant":
            message["reasoning_details"] = self._details
        self._details = []

    def call(self, item: Mapping[str, Any]) -> None:
        """Add a call."""
        id = str(item["call_id"])
        is_custom = item["type"] == "custom_tool_call"
        arguments = json.dumps({INPUT: item["input"]}) if is_custom else item["arguments"]
        last = self._messages[-1] if self._messages else None
        if last is None or last["role"] != "assistant" or self._details:
            last = {"role": "assistant", "content": None}
            self._messages.append(last)
            self.sign(last)
        function = {"name": item["name"], "arguments": arguments or "{}"}
        last.setdefault("tool_calls", []).append(
            {"id": id, "type": "function", "function": function}
        )
        self._callers[id] = last
        self._open[id] = str(item["name"])

    def result(self, item: Mapping[str, Any]) -> None:
        """Add the result of a call."""
        id = str(item["call_id"])
        caller = self._callers.get(id)
        if caller is None:
            raise InvalidRequest(f"There is no call for the output of {id!r}", param="input")
        if self._open.pop(id, None) is None:
            raise InvalidRequest(f"The call {id!r} has two outputs", param="input")
        at = len(self._messages) - 1
        while self._messages[at] is not caller:
            at -= 1
        at += 1
        while at < len(self._messages) and self._messages[at]["role"] == "tool":
            at += 1
        content = chat_content(item["output"], "output")
        self._messages.insert(at, {"role": "tool", "tool_call_id": id, "content": content})

    def check(self) -> None:
        """Raise InvalidRequest for a call that has no result."""
        for id, name in self._open.items():
            raise InvalidRequest(f"There is no output for the call {id!r} of {name}", param="input")


def usable(output: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items of an earlier response; calls that were cut off are nothing to answer."""
    return [
        item
        for item in output
        if item.get("type") not in CALLS or item.get("status", "completed") == "completed"
    ]
