"""Building chat messages from a transcript: the stable first, the volatile last."""

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
QUOTE_AUTHORS: Final = {"bot": "assistant", "user": "user", "other": "other"}


def build_messages(
    instructions: str, messages: Sequence[Message], *, last_step: bool = False
) -> list[dict[str, Any]]:
    """OpenAI chat messages. The same transcript always gives the same messages, so cached prefixes
    stay valid.

    Consecutive user messages become one, and markers join the user message after them: strict chat
    templates accept nothing else than users and assistants taking turns.
    """
    built: list[dict[str, Any]] = [{"role": "system", "content": instructions}]
    for message in messages:
        if message.role == "user":
            _add_user(built, _user_text(message))
        elif message.role == "assistant":
            _add_assistant(built, message)
        elif message.role == "tool":
            built.append(_tool_result(message))
        else:
            _add_user(built, f"[{message.content}]")
        if message.note:
            _add_user(built, _marker(message))
    if last_step:
        _add_user(built, f"[{LAST_STEP}]")
    return built


def _add_user(built: list[dict[str, Any]], text: str) -> None:
    if built[-1]["role"] == "user":
        built[-1]["content"] += f"\n\n{text}"
    else:
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
    if message.role == "assistant" and message.note.startswith("stopped"):
        return f"[The answer above was {message.note}. Its tools may have run in part.]"
    return f"[About the message above: {message.note}]"


def _user_text(message: Message) -> str:
    if not message.quoted:
        return message.content
    return f"{quote_block(message.quoted)}\n{message.content}"


def quote_block(quoted: Mapping[str, Any]) -> str:
    """The passage a message refers to, fenced so that it can't pass for the user's own words."""
    author = QUOTE_AUTHORS.get(str(quoted.get("author")), "other")
    passage = str(quoted.get("excerpt") or quoted.get("text") or "")
    if not quoted.get("resolved", True) or not passage:
        passage = passage or f"[{QUOTE_MISSING}]"
    if len(passage) > QUOTE_CHARS_MAX:
        passage = f"{passage[:QUOTE_CHARS_MAX]} […]"
    passage = passage.replace("</quoted", "<\u200b/quoted")  # a quote can't close its own fence
    return f'<quoted author="{author}">{passage}</quoted>'
