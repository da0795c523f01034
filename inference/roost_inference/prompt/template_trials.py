"""What a chat template leaves out, found by trials; and the messages in a form it shows whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from roost_inference.prompt.hermes import fold_system

Messages = list[dict[str, Any]]
Shows = Callable[[Messages, Sequence[str]], bool]

_TEXTS = ("Zoltan-1", "Zoltan-2")
_CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "zoltan", "arguments": {"a": "Zoltan-2"}},
}


@dataclass(frozen=True, slots=True)
class Omissions:
    """What a template leaves out, or refuses.

    one_system: all system messages but one, or those that don't come first; lone_system: a system
    message without a person's; text_beside_calls: the text of a message with calls, or its calls;
    splits: it shows both where they stand in two messages.
    """

    one_system: bool
    lone_system: bool
    text_beside_calls: bool
    splits: bool


def omissions_of(shows: Shows, adapted: Callable[[Messages], Messages]) -> Omissions:
    """Try a template. shows: whether it shows all these texts of messages; adapted: makes of
    messages with calls what it takes."""
    first, second = (_said("system", text) for text in _TEXTS)
    user, answer = _said("user", "a"), _said("assistant", "b")
    knows_system = shows([first, user], _TEXTS[:1])
    several = ([first, second, user], [first, user, answer, second, user])
    calling = [
        user,
        {**_said("assistant", _TEXTS[0]), "tool_calls": [_CALL]},
        {**_said("tool", "c"), "tool_call_id": _CALL["id"]},
        answer,
        user,
    ]
    return Omissions(
        one_system=knows_system and not all(shows(each, _TEXTS) for each in several),
        lone_system=knows_system and not shows([first], _TEXTS[:1]),
        text_beside_calls=not shows(adapted(calling), _TEXTS),
        splits=shows(adapted(split_calls(calling)), _TEXTS),
    )


def shown(messages: Messages, omissions: Omissions) -> Messages:
    """The messages without system messages that the template would leave out."""
    if omissions.lone_system and not any(message["role"] == "user" for message in messages):
        return fold_system(messages)
    return _joined_system(messages) if omissions.one_system else messages


def split_calls(messages: Messages) -> Messages:
    """The messages, each text with calls behind it in a message of its own."""
    split: Messages = []
    for message in messages:
        if message.get("tool_calls") and message["content"].strip():
            split.append(_said(message["role"], message["content"]))
            message = {**message, "content": ""}
        split.append(message)
    return split


def _joined_system(messages: Messages) -> Messages:
    """All system messages as one, which comes first."""
    texts = [message["content"] for message in messages if message["role"] == "system"]
    if not texts:
        return messages
    rest = [message for message in messages if message["role"] != "system"]
    return [_said("system", "\n\n".join(texts)), *rest]


def _said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
