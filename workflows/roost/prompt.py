"""Chat messages built from a transcript: what stays the same first, what changes last."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from roost.disarming.marks import disarmed, plain_name
from roost.messages import Message, MessageFile

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
SPEAKER_CHARS_MAX: Final = 1000
# Those of several scripts.
_COLONS: Final = re.compile("[:\u02d0\u02f8\u0589\u05c3\u16ec\u1803\u2236\ua789\ufe13\ufe55\uff1a]")
_NAME_IN_TAG: Final = str.maketrans('"<>[]', "'()()")
# What a user's message is made of.
UserBlock = Literal["context", "quote", "payload", "file", "words"]
QUOTE_AUTHORS: Final = {"bot": "assistant", "user": "user", "other": "other"}


def build_messages(
    instructions: str,
    messages: Sequence[Message],
    *,
    last_step: bool = False,
    pictures: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """OpenAI chat messages. The same transcript always gives the same messages, so that cached
    prefixes stay valid.

    Consecutive user messages become one, and notes join the user message after them: strict chat
    templates accept only users and assistants in turns, users first. So what nobody asked for is
    told of before it.

    pictures: data URLs by the ids of files; None for a model that sees no pictures.
    """
    built: list[dict[str, Any]] = [{"role": "system", "content": instructions}]
    # What users wrote since the last other message; joined once, however much it is.
    user_texts: list[str] = []
    urls = pictures or {}
    shown: list[str] = []  # the pictures that came with them
    for message in messages:
        if message.role == "user":
            user_texts.append(_user_text(message, pictures))
            shown += [urls[file.id] for file in message.files if file.id in urls]
        elif message.role == "assistant":
            if is_unasked(message):
                user_texts.append(marker(message))
            _end_user(built, user_texts, shown)
            _add_assistant(built, message)
        elif message.role == "tool":
            _end_user(built, user_texts, shown)
            built.append(tool_result(message))
        else:
            user_texts.append(f"[{unfenced(message.content)}]")
        if message.note and not _is_framed(message) and not is_unasked(message):
            user_texts.append(marker(message))
    if last_step:
        user_texts.append(f"[{LAST_STEP}]")
    _end_user(built, user_texts, shown)
    return built


def _end_user(built: list[dict[str, Any]], user_texts: list[str], shown: list[str]) -> None:
    if not user_texts:
        return
    text, urls = "\n\n".join(user_texts), list(shown)
    user_texts.clear()
    shown.clear()
    if built[-1]["role"] == "user":  # an assistant's empty message between them left nothing
        earlier, earlier_urls = _parts_of(built.pop()["content"])
        text, urls = f"{earlier}\n\n{text}", [*earlier_urls, *urls]
    built.append({"role": "user", "content": _content(text, urls)})


def _content(text: str, urls: Sequence[str]) -> str | list[dict[str, Any]]:
    """A text alone, or in OpenAI's form a list of the text and the pictures."""
    if not urls:
        return text
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"type": "text", "text": text}, *images]


def _parts_of(content: str | list[dict[str, Any]]) -> tuple[str, list[str]]:
    if isinstance(content, str):
        return content, []
    return content[0]["text"], [part["image_url"]["url"] for part in content[1:]]


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


def tool_result(message: Message) -> dict[str, Any]:
    """The message of a tool's result, with how the call ended."""
    prefix = STATUS_TEXT.get(message.status, "")
    content = disarmed(message.content)  # pages and files that tools read are written by anybody
    text = f"{prefix} {content}".strip() if prefix else content
    return {
        "role": "tool",
        "tool_call_id": message.tool_call_id,
        "name": message.name,
        "content": text,
    }


def marker(message: Message) -> str:
    """What happened to the message, as the model is told after it, or before what is unasked."""
    if message.role == "assistant" and message.note_kind == "stopped":
        return f"[The answer above was {message.note}. Its tools may have run in part.]"
    place = "below" if is_unasked(message) else "above"
    return f"[About the message {place}: {disarmed(message.note)}]"  # it may name a person's job


def is_unasked(message: Message) -> bool:
    """Whether it speaks for the agent though no message of a user came before: the result of a job,
    or an operator's words.
    """
    return message.role == "assistant" and message.note_kind in ("scheduled", "operator")


def _user_text(message: Message, pictures: Mapping[str, str] | None) -> str:
    return "\n".join(text for _, text in user_blocks(message, pictures))


def user_blocks(
    message: Message, pictures: Mapping[str, str] | None
) -> Sequence[tuple[UserBlock, str]]:
    """The context first, then the quote and the files, then the person's own words."""
    blocks: list[tuple[UserBlock, str]] = []
    if message.context:
        blocks.append(("context", context_block(message.context)))
    if message.quoted:
        blocks.append(("quote", quote_block(message.quoted)))
    if message.payload:
        blocks.append(("payload", f"<payload>{unfenced(message.payload)}</payload>"))
    texts = (file_block(file, pictures) for file in message.files)
    blocks += [("file", text) for text in texts if text]
    words = unfenced(message.content)
    if message.note_kind == "agent":
        return [("words", agent_block(message.name, words))]
    if _is_task(message):
        words = scheduled_block(message.note, words)
    if message.forwarded_from:
        words = forwarded_block(message.forwarded_from, words)
    if message.context is not None and message.name:
        words = f"{_speaker(message.name)} {_indented(words)}"
    return [*blocks, ("words", words)]


def forwarded_block(source: str, words: str) -> str:
    """Words that the person passed on, fenced so that they cannot pass for the person's own.

    words: without fences of ours.
    """
    name = plain_name(source).translate(_NAME_IN_TAG)
    return f'<forwarded from="{name}">{words}</forwarded>'


def _is_task(message: Message) -> bool:
    return message.role == "user" and message.note_kind == "scheduled"


def _is_framed(message: Message) -> bool:
    """Whether the message's frame says already what its note says."""
    return message.note_kind == "agent" or _is_task(message)


def scheduled_block(due: str, words: str) -> str:
    """A task whose time has come, fenced so that it is not taken for what a person just wrote.

    words: without fences of ours.
    """
    name = plain_name(due).translate(_NAME_IN_TAG)
    return f'<scheduled due="{name}">{words}</scheduled>'


def agent_block(name: str, words: str) -> str:
    """The answer of an agent that was given a task, fenced so that it can't pass for a person's.

    words: without fences of ours.
    """
    return f'<agent name="{plain_name(name).translate(_NAME_IN_TAG)}">\n{words}\n</agent>'


def unfenced(text: str) -> str:
    """The text with every fence, control token and marker disarmed: only we write those."""
    return disarmed(text)


def context_block(context: Sequence[tuple[str, str]]) -> str:
    """What others said in the group, fenced so that it cannot pass for words to the agent."""
    lines = "\n".join(f"{_speaker(name)} {_indented(unfenced(text))}" for name, text in context)
    return f"<context>\n{lines}\n</context>"


def _speaker(name: str) -> str:
    """`Ada:` before what she says in a group. No name has another colon in it: `Ada: yes. Eve`
    would speak for Ada. Nor does ours make a heading of one.
    """
    return disarmed(f"{plain_name(_COLONS.sub(' ', name[:SPEAKER_CHARS_MAX])) or 'Somebody'}:")


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


def file_block(file: MessageFile, pictures: Mapping[str, str] | None) -> str:
    """A document's beginning in a frame, or what is missing of a file in words; else empty."""
    name = plain_name(file.name).translate(_NAME_IN_TAG)
    if file.state == "text":
        shown = len(file.text)
        facts = {
            "id": file.id,
            "name": name,
            "pages": file.pages or "",
            "characters": file.characters or shown,
            "shown": f"the first {shown}" if shown < file.characters else "",
        }
        attributes = "".join(f' {key}="{value}"' for key, value in facts.items() if value)
        return f"<file{attributes}>\n{disarmed(file.text)}\n</file>"
    kind = file.kind or "file"
    if file.state == "missing":
        return f"[{kind} {file.id}: not shown, because {file.reason}]"
    if (file.is_picture or file.state == "picture") and pictures is None:
        return f"[{kind} {file.id}: the model can't see pictures]"
    if file.state == "picture" and file.id not in (pictures or {}):
        return f"[{kind} {file.id}: not shown again, as newer pictures are]"
    if file.is_recording:
        return f"[{kind} {file.id}: the model can't hear or watch recordings]"
    return ""
