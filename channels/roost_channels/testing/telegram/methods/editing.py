"""Methods that change messages or take them back."""

from typing import Any

from roost_channels.testing.telegram.core import Core, method
from roost_channels.testing.telegram.errors import bad_request, forbidden
from roost_channels.testing.telegram.keyboards import Keyboard, read_keyboard
from roost_channels.testing.telegram.methods.sending import read_text
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.text import Formatted
from roost_channels.testing.telegram.world import Chat, Message

DELETE_WINDOW_S = 48 * 3600
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)


def find_message(
    core: Core, parameters: Parameters, kind: str, *, write: bool = True
) -> tuple[Chat, Message]:
    """The message a call names; `kind` words the error."""
    named = parameters.text("chat_id")
    message_id = parameters.integer("message_id")
    if not named and message_id == 0:
        raise bad_request("Message identifier is not specified")
    world = core.world
    chat = world.writable_chat(named) if write else world.find_chat(named)
    message = chat.messages.get(message_id)
    if message is None or not message.exists:
        raise bad_request(f"{kind} not found")
    return chat, message


def _change(
    core: Core, chat: Chat, message: Message, formatted: Formatted, keyboard: Keyboard
) -> dict[str, Any]:
    if not message.sender.is_bot or not message.editable:
        raise bad_request("message can't be edited")
    if chat.blocked:
        raise forbidden("bot was blocked by the user")
    core.flood.edit(chat.id, chat.is_private, core.now())
    if message.formatted == formatted and message.keyboard == keyboard:
        raise bad_request(NOT_MODIFIED)
    message.formatted, message.keyboard = formatted, keyboard
    message.edited_at = core.now()
    message.edits.append(core.now())
    core.changed()
    return core.world.message_json(message)


@method("editMessageText")
async def edit_message_text(core: Core, parameters: Parameters) -> dict[str, Any]:
    formatted = read_text(parameters)
    # Left out, the keyboard goes: an edit states the whole message.
    keyboard, _ = read_keyboard(parameters)
    chat, message = find_message(core, parameters, "message to edit")
    if message.media:
        raise bad_request("there is no text in the message to edit")
    return _change(core, chat, message, formatted, keyboard)


@method("editMessageReplyMarkup")
async def edit_message_reply_markup(core: Core, parameters: Parameters) -> dict[str, Any]:
    keyboard, _ = read_keyboard(parameters)
    chat, message = find_message(core, parameters, "message to edit")
    return _change(core, chat, message, message.formatted, keyboard)


@method("deleteMessage")
async def delete_message(core: Core, parameters: Parameters) -> bool:
    if not parameters.text("chat_id"):
        raise bad_request("Chat identifier is not specified")
    if parameters.integer("message_id") == 0:
        raise bad_request("Message identifier is not specified")
    chat, message = find_message(core, parameters, "message to delete")
    too_old = core.now() - message.date > DELETE_WINDOW_S
    if too_old or (not message.sender.is_bot and not chat.is_private):
        raise bad_request("message can't be deleted")
    message.deleted_at = core.now()
    core.changed()
    return True
