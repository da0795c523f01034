"""Chat messages built from a transcript: what stays the same first, what changes last."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from roost.disarming import disarmed, plain_name
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
    content = disarmed(message.content)  # pages and files that tools read are written by anybody
    text = f"{prefix} {content}".strip() if prefix else content
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
    if message.context is not None:
        words = f"{plain_name(message.name)}: {_indented(words)}" if message.name else words
    blocks = [words]
    if message.quoted:
        blocks.insert(0, quote_block(message.quoted))
    if message.context:
        blocks.insert(0, context_block(message.context))
    return "\n".join(blocks)


def unfenced(text: str) -> str:
    """The text with every fence, control token and marker disarmed: only we write those."""
    return disarmed(text)


def context_block(context: Sequence[tuple[str, str]]) -> str:
    """What others said in the group, fenced so that it cannot pass for words to the agent."""
    lines = "\n".join(
        f"{plain_name(name) or 'Somebody'}: {_indented(unfenced(text))}" for name, text in context
    )
    return f"<context>\n{lines}\n</context>"


def _indented(text: str) -> str:
    """Lines of one speaker of a group: none but the first can begin with a name."""
    return "\n  ".join(text.splitlines())


def quote_block(quoted: Mapping[str, Any]) -> str:
    """The passage that a message refers to, fenced so that it cannot pass for the user's words."""
    author = QUOTE_AUTHORS.get(str(quoted.get("author")), "other")
    passage = str(quoted.get("excerpt") or quoted.get("text") or "")
    if not quoted.get("resolved", True) or not passage:
        passage = passage or f"[{QUOTE_MISSING}]"
    if len(passage) > QUOTE_CHARS_MAX:
        passage = f"{passage[:QUOTE_CHARS_MAX]} […]"
    return f'<quoted author="{author}">{unfenced(passage)}</quoted>'
