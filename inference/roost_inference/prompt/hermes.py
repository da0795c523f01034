"""Tools for templates without them: declared in the system message, calls and results as text."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from roost_inference.prompt.call_markup import CALL_CLOSE, CALL_OPEN
from roost_inference.prompt.pieces import with_system_text
from roost_inference.wire.message import FunctionTool, Message

RESPONSE_OPEN = "<tool_response>"
RESPONSE_CLOSE = "</tool_response>"

# Short: small models get lost in long instructions, and every session pays for them.
_BLOCK = """You have access to the following tools:
<tools>
{tools}
</tools>

To use a tool, answer with this format and no other text:
{open}
{{"name": "tool name", "arguments": {{"argument name": "value"}}}}
{close}
If no tool is needed, answer in plain text."""


def without_tools(
    messages: Iterable[Message], functions: Sequence[FunctionTool]
) -> list[dict[str, Any]]:
    """Messages of the roles system, user and assistant alone, with plain text in each."""
    plain: list[dict[str, Any]] = []
    last_was_tool = False
    for message in messages:
        content = message.content or ""
        if message.role == "tool":
            response = f"{RESPONSE_OPEN}\n{_unclosed(content)}\n{RESPONSE_CLOSE}"
            if last_was_tool:
                plain[-1]["content"] += f"\n{response}"
            else:
                plain.append({"role": "user", "content": response})
        elif message.role == "assistant":
            calls = [
                f'{CALL_OPEN}\n{{"name": {json.dumps(call.function.name)}, '
                f'"arguments": {call.function.arguments or "{}"}}}\n{CALL_CLOSE}'
                for call in message.tool_calls or ()
            ]
            text = "\n".join([content, *calls] if content else calls)
            plain.append({"role": "assistant", "content": text})
        else:
            role = "user" if message.role == "user" else "system"
            name = {} if message.name is None else {"name": message.name}
            plain.append({"role": role, "content": content, **name})
        last_was_tool = message.role == "tool"
    return _with_block(plain, functions) if functions else plain


def _with_block(
    messages: list[dict[str, Any]], functions: Sequence[FunctionTool]
) -> list[dict[str, Any]]:
    """The messages, with the tools declared at the end of the first system message."""
    block = _BLOCK.format(
        tools="\n".join(_line(function) for function in functions),
        open=CALL_OPEN,
        close=CALL_CLOSE,
    )
    return with_system_text(messages, block)


def _line(function: FunctionTool) -> str:
    declared = {
        "name": function.name,
        "description": function.description,
        "parameters": function.parameters,
    }
    return json.dumps(declared, ensure_ascii=False)


def _unclosed(content: str) -> str:
    """A tool's text that can't close its own frame, and so can't speak for the user."""
    return content.replace(RESPONSE_CLOSE, "</ tool_response>")


def fold_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """System messages put before the text of the user message that follows them."""
    folded: list[dict[str, Any]] = []
    waiting: list[str] = []
    for message in messages:
        if message["role"] == "system":
            waiting.append(message["content"])
        elif waiting and message["role"] == "user":
            content = "\n\n".join([*waiting, message["content"]])
            folded.append({**message, "content": content})
            waiting = []
        else:
            folded.append(message)
    if waiting:
        folded.append({"role": "user", "content": "\n\n".join(waiting)})
    return folded


def merge_same_role(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages of one role in a row as one, for templates that insist on alternation."""
    merged: list[dict[str, Any]] = []
    for message in messages:
        same = merged and merged[-1]["role"] == message["role"] and message["role"] != "tool"
        if same and not message.get("tool_calls") and not merged[-1].get("tool_calls"):
            content = f"{merged[-1]['content']}\n\n{message['content']}"
            merged[-1] = {**merged[-1], "content": content}
        else:
            merged.append(message)
    return merged
