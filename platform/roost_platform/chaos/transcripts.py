"""A strict check of transcripts: it names what servers with OpenAI's rules refuse."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]


def faults_of(messages: Sequence[Message]) -> Iterator[str]:
    """Every broken rule: each call is answered at once, exactly once, and by nothing else.

    messages: role, content, tool_calls as (id, name, arguments) or OpenAI's objects, tool_call_id.
    """
    owed: list[str] = []
    known: set[str] = set()
    begun, last = False, ""
    for place, message in enumerate(messages):
        role, before = message.get("role"), last
        last = str(role)
        if role == "tool":
            answered = str(message.get("tool_call_id") or "")
            if answered not in owed:
                yield f"message {place}: a result for {answered!r}, which nobody waits for"
            else:
                owed.remove(answered)
            continue
        if owed:
            yield f"message {place}: {role} while calls {owed} have no result"
            owed = []
        if role == "assistant":
            if not begun:
                yield f"message {place}: the assistant speaks first"
            if before == "assistant":
                yield f"message {place}: the assistant speaks twice"
            calls = [_call(call) for call in message.get("tool_calls") or ()]
            if not calls and not (message.get("content") or message.get("note")):
                yield f"message {place}: an assistant message with neither text nor calls"
            yield from _call_faults(place, calls, known)
            owed = [call[0] for call in calls]
        elif role == "user":
            begun = True
            if not message.get("content"):
                yield f"message {place}: a user message without content"
        elif role != "system" or begun:
            yield f"message {place}: role {role!r} here"
    if owed:
        yield f"the end: calls {owed} have no result"


def _call_faults(
    place: int, calls: Sequence[tuple[str, str, str]], known: set[str]
) -> Iterator[str]:
    for call_id, name, arguments in calls:
        if not call_id or call_id in known:
            yield f"message {place}: call id {call_id!r} is empty or used before"
        known.add(call_id)
        if not name:
            yield f"message {place}: call {call_id!r} names no tool"
        try:
            is_object = isinstance(json.loads(arguments), dict)
        except ValueError:
            is_object = False
        if not is_object:
            yield f"message {place}: arguments of {call_id!r} are not a JSON object"


def _call(call: Any) -> tuple[str, str, str]:
    if isinstance(call, Mapping):
        function = call.get("function") or call
        call_id = call.get("id") or call.get("call_id")
        return (
            str(call_id or ""),
            str(function.get("name") or ""),
            str(function.get("arguments") or ""),
        )
    call_id, name, arguments = call
    return str(call_id), str(name), str(arguments)
