"""Methods that create messages."""

from typing import Any

from roost_channels.testing.telegram.core import Core, method
from roost_channels.testing.telegram.errors import bad_request, forbidden
from roost_channels.testing.telegram.keyboards import read_keyboard
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.replies import read_reply
from roost_channels.testing.telegram.text import (
    TEXT_CODEPOINTS_MAX,
    Formatted,
    read_formatted,
    settle,
)
from roost_channels.testing.telegram.world import Message


def read_text(parameters: Parameters) -> Formatted:
    """The text of sendMessage and editMessageText."""
    raw = parameters.text("text")
    if not raw:
        raise bad_request("Message text is empty")
    entities = parameters.json("entities", "Can't parse entities JSON object")
    formatted = settle(read_formatted(raw, parameters.text("parse_mode"), entities))
    if len(formatted.text) > TEXT_CODEPOINTS_MAX:
        raise bad_request("Message is too long")
    return formatted


def deliver(
    core: Core, parameters: Parameters, formatted: Formatted, media: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Put a bot's message into its chat, with everything all send methods share."""
    keyboard, editable = read_keyboard(parameters)
    chat = core.world.writable_chat(parameters.text("chat_id"))
    thread = core.world.thread(chat, parameters.integer("message_thread_id"))
    reply = read_reply(core, parameters, chat, thread)
    if chat.blocked:
        raise forbidden("bot was blocked by the user")
    core.flood.send(chat.id, chat.is_private, core.now())
    message = Message(
        core.world.next_message_id(chat),
        chat.id,
        core.now(),
        core.world.bot,
        formatted,
        thread=thread,
        reply_to=reply.message_id,
        reply_snapshot=reply.snapshot,
        external_reply=reply.external,
        quote=reply.quote,
        keyboard=keyboard,
        media=media or {},
        silent=parameters.boolean("disable_notification"),
        editable=editable,
    )
    chat.messages[message.message_id] = message
    # A real message ends the indication and takes the place of the draft.
    chat.typing.pop(thread, None)
    if chat.draft is not None and chat.draft.thread == thread:
        chat.draft = None
    core.changed()
    return core.world.message_json(message)


@method("sendMessage")
async def send_message(core: Core, parameters: Parameters) -> dict[str, Any]:
    return deliver(core, parameters, read_text(parameters))
