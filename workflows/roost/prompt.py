"""Chat messages built from a transcript: what stays the same first, what changes last."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from roost.messages import Message

QUOTE_CHARS_MAX: Final = 4000
LAST_STEP: Final = "No more tools can be used in this turn. Answer now with what you know."
QUOTE_MISSING: Final = "quoted message unavailable"
# The status is part of the text because models are not shown any other field of a result.
STATUS_TEXT: Final = {
    "error": "[error]",
    "cancelled": "[cancelled: stopped before it finished]",
    "unknown": "[outcome unknown]",
    "skipped": "[skipped: not run]",
}
# What opens or closes a fence, however it is written. Blanks are taken whole (`*+`): tried again
# shorter and shorter, a long row of them behind one "<" would cost the square of its length.
_FENCE: Final = re.compile(
    r"<(?=\s*+(?:/\s*+)?(?:quoted|context|forwarded|payload)\b)", re.IGNORECASE
)
# What would end the attribute of a fence, or the fence.
_ATTRIBUTE: Final = str.maketrans({'"': "'", "<": "(", ">": ")"})
QUOTE_AUTHORS: Final = {"bot": "assistant", "user": "user", "other": "other"}


def build_messages(
    instructions: str, messages: Sequence[Message], *, last_step: bool = False
) -> list[dict[str, Any]]:
    """OpenAI chat messages. The same transcript always gives the same messages, so that cached
    prefixes stay valid.

    Consecutive user messages become one, and notes join the user message after them: strict chat
    templates accept only users and assistants in turns.
    """
    built: list[dict[str, Any]] = [{"role": "system", "content": instructions}]
    # What users wrote since the last other message; joined once, however much it is.
    user_texts: list[str] = []
    for message in messages:
        if message.role == "user":
            user_texts.append(_user_text(message))
        elif message.role == "assistant":
            _end_user(built, user_texts)
            _add_assistant(built, message)
        elif message.role == "tool":
            _end_user(built, user_texts)
            built.append(_tool_result(message))
        else:
            user_texts.append(f"[{unfenced(message.content)}]")
        if message.note:
            user_texts.append(_marker(message))
    if last_step:
        user_texts.append(f"[{LAST_STEP}]")
    _end_user(built, user_texts)
    return built


def _end_user(built: list[dict[str, Any]], user_texts: list[str]) -> None:
    if not user_texts:
        return
    text = "\n\n".join(user_texts)
    user_texts.clear()
    if built[-1]["role"] == "user":  # an assistant's empty message between them left nothing
        text = f"{built.pop()['content']}\n\n{text}"
    built.append({"role": "user", "content": text})


def _add_assistant(built: list[dict[str, Any]], message: Message) -> None:
    if not message.content and not message.tool_calls:
        return  # a turn stopped before its first word leaves only its marker
    entry: dict[str, Any] = {"role": "assistant", "content": message.content}
    if message.tool_calls:
        entry["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in message.tool_calls
        ]
    built.append(entry)


def _tool_result(message: Message) -> dict[str, Any]:
    prefix = STATUS_TEXT.get(message.status, "")
    text = f"{prefix} {message.content}".strip() if prefix else message.content
    return {
        "role": "tool",
        "tool_call_id": message.tool_call_id,
        "name": message.name,
        "content": text,
    }


def _marker(message: Message) -> str:
    if message.role == "assistant" and message.note_kind == "stopped":
        return f"[The answer above was {message.note}. Its tools may have run in part.]"
    return f"[About the message above: {message.note}]"


def _user_text(message: Message) -> str:
    """The context first, then the quote, then the person's own words without fences."""
    words = unfenced(message.content)
    if message.forwarded_from:
        words = forwarded_block(message.forwarded_from, words)
    blocks = [words]
    if message.context is not None and message.name:
        blocks[0] = f"{_one_line(message.name)}: {blocks[0]}"
    if message.payload:
        blocks.insert(0, f"<payload>{unfenced(message.payload)}</payload>")
    if message.quoted:
        blocks.insert(0, quote_block(message.quoted))
    if message.context:
        blocks.insert(0, context_block(message.context))
    return "\n".join(blocks)


def forwarded_block(source: str, words: str) -> str:
    """Words that the person passed on, fenced so that they cannot pass for the person's own.

    words: without fences of ours.
    """
    name = _one_line(source).translate(_ATTRIBUTE)
    return f'<forwarded from="{name}">{words}</forwarded>'


def unfenced(text: str) -> str:
    """The text with every fence of ours disarmed: only we write those."""
    return _FENCE.sub("<\u200b", text)


def context_block(context: Sequence[tuple[str, str]]) -> str:
    """What others said in the group, fenced so that it cannot pass for words to the agent."""
    lines = "\n".join(f"{_one_line(name) or 'Somebody'}: {text}" for name, text in context)
    return f"<context>\n{unfenced(lines)}\n</context>"


def _one_line(name: str) -> str:
    return unfenced(" ".join(name.split()))


def quote_block(quoted: Mapping[str, Any]) -> str:
    """The passage that a message refers to, fenced so that it cannot pass for the user's words."""
    author = QUOTE_AUTHORS.get(str(quoted.get("author")), "other")
    passage = str(quoted.get("excerpt") or quoted.get("text") or "")
    if not quoted.get("resolved", True) or not passage:
        passage = passage or f"[{QUOTE_MISSING}]"
    if len(passage) > QUOTE_CHARS_MAX:
        passage = f"{passage[:QUOTE_CHARS_MAX]} […]"
    return f'<quoted author="{author}">{unfenced(passage)}</quoted>'
