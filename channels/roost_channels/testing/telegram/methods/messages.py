"""Methods that create messages."""

from dataclasses import dataclass, field
from typing import Any

from roost_channels.testing.telegram.errors import bad_request, forbidden
from roost_channels.testing.telegram.keyboards import read_keyboard
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.replies import read_reply
from roost_channels.testing.telegram.state.core import TelegramCore, method
from roost_channels.testing.telegram.state.records import GENERAL_TOPIC, Message
from roost_channels.testing.telegram.text.formatted import (
    TEXT_CODEPOINTS_MAX,
    Formatted,
    normalize,
    read_formatted,
)


def read_text(parameters: Parameters) -> Formatted:
    """The text of sendMessage and editMessageText with its entities."""
    raw = parameters.text("text")
    if not raw:
        raise bad_request("Message text is empty")
    entities = parameters.json("entities", "Can't parse entities JSON object")
    formatted = normalize(read_formatted(raw, parameters.text("parse_mode"), entities))
    if len(formatted.text) > TEXT_CODEPOINTS_MAX:
        raise bad_request("Message is too long")
    return formatted


@dataclass(frozen=True, slots=True)
class MessageContent:
    """The content of one message: a text, or media with a caption."""

    formatted: Formatted
    media: dict[str, Any] = field(default_factory=dict)


def deliver(core: TelegramCore, parameters: Parameters, content: MessageContent) -> dict[str, Any]:
    """Put one message of the bot into its chat; returns the Message object."""
    return deliver_album(core, parameters, [content])[0]


def deliver_album(
    core: TelegramCore, parameters: Parameters, contents: list[MessageContent], group: str = ""
) -> list[dict[str, Any]]:
    """Put several messages of the bot into one chat; with `group` they are one album."""
    keyboard, editable = read_keyboard(parameters)
    chat = core.world.writable_chat(parameters.text("chat_id"))
    thread = core.world.thread(chat, parameters.integer("message_thread_id"))
    reply = read_reply(core, parameters, chat, thread)
    if chat.blocked:
        raise forbidden("bot was blocked by the user")
    core.flood.send(chat.id, chat.is_private, core.now(), len(contents))
    sent = []
    for content in contents:
        message = Message(
            core.world.next_message_id(chat),
            chat.id,
            core.now(),
            core.world.bot,
            content.formatted,
            thread=thread,
            reply_to=reply.message_id,
            reply_snapshot=reply.snapshot,
            external_reply=reply.external,
            quote=reply.quote,
            keyboard=keyboard,
            media={**content.media, **({"media_group_id": group} if group else {})},
            silent=parameters.boolean("disable_notification"),
            editable=editable,
        )
        chat.messages[message.message_id] = message
        sent.append(message)
    # A message ends the typing indication and replaces the draft.
    chat.typing.pop(thread or (GENERAL_TOPIC if chat.is_forum else 0), None)
    chat.typing.pop(thread, None)
    if chat.draft is not None and chat.draft.thread == thread:
        chat.draft = None
    core.changed()
    return [core.world.message_json(message) for message in sent]


@method("sendMessage")
async def send_message(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """Send a text."""
    return deliver(core, parameters, MessageContent(read_text(parameters)))
