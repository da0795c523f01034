"""Methods that edit and delete messages."""

from typing import Any

from roost_channels.testing.telegram.errors import bad_request, forbidden
from roost_channels.testing.telegram.keyboards import Keyboard, read_keyboard
from roost_channels.testing.telegram.methods.files import read_caption, read_input_media
from roost_channels.testing.telegram.methods.messages import read_text
from roost_channels.testing.telegram.methods.rich_messages import read_rich
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.core import TelegramCore, method
from roost_channels.testing.telegram.state.media import KINDS
from roost_channels.testing.telegram.state.records import Chat, Message
from roost_channels.testing.telegram.text.formatted import Formatted

DELETE_WINDOW_S = 48 * 3600
DELETE_MAX = 100
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)


def find_message(
    core: TelegramCore, parameters: Parameters, kind: str, *, write: bool = True
) -> tuple[Chat, Message]:
    """The message that a call names. kind: the first words of the error when it is missing."""
    chat_id = parameters.text("chat_id")
    message_id = parameters.integer("message_id")
    if not chat_id and message_id == 0:
        raise bad_request("Message identifier is not specified")
    world = core.world
    chat = world.writable_chat(chat_id) if write else world.find_chat(chat_id)
    message = chat.messages.get(message_id)
    if message is None or not message.exists:
        raise bad_request(f"{kind} not found")
    return chat, message


def _change(
    core: TelegramCore,
    chat: Chat,
    message: Message,
    formatted: Formatted,
    keyboard: Keyboard,
    media: dict[str, Any] | None = None,
) -> dict[str, Any]:
    if not message.sender.is_bot or not message.editable:
        raise bad_request("message can't be edited")
    if chat.blocked:
        raise forbidden("bot was blocked by the user")
    core.flood.edit(chat.id, chat.is_private, core.now())
    media = message.media if media is None else media
    if (message.formatted, message.keyboard, message.media) == (formatted, keyboard, media):
        raise bad_request(NOT_MODIFIED)
    message.formatted, message.keyboard, message.media = formatted, keyboard, media
    message.edited_at = core.now()
    message.edits.append(core.now())
    core.changed()
    return core.world.message_json(message)


@method("editMessageText")
async def edit_message_text(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """Replace the text or rich message, and the keyboard."""
    rich = read_rich(parameters)
    formatted = read_text(parameters) if rich is None else rich.formatted
    # An edit without a keyboard removes the keyboard.
    keyboard, _ = read_keyboard(parameters)
    chat, message = find_message(core, parameters, "message to edit")
    if message.media and "rich_message" not in message.media:
        raise bad_request("there is no text in the message to edit")
    return _change(core, chat, message, formatted, keyboard, rich.media if rich else {})


@method("editMessageCaption")
async def edit_message_caption(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """Replace the caption and the keyboard."""
    caption = read_caption(parameters)
    keyboard, _ = read_keyboard(parameters)
    chat, message = find_message(core, parameters, "message to edit")
    if not any(kind in message.media for kind in KINDS):
        raise bad_request("there is no caption in the message to edit")
    return _change(core, chat, message, caption, keyboard)


@method("editMessageMedia")
async def edit_message_media(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """Replace the file, its caption and the keyboard."""
    media = parameters.json("media", "Can't parse media JSON object")
    if media is None:
        raise bad_request("input media is empty")
    _, content = read_input_media(core, media, parameters)
    keyboard, _ = read_keyboard(parameters)
    chat, message = find_message(core, parameters, "message to edit")
    return _change(core, chat, message, content.formatted, keyboard, content.media)


@method("editMessageReplyMarkup")
async def edit_message_reply_markup(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """Replace the keyboard."""
    keyboard, _ = read_keyboard(parameters)
    chat, message = find_message(core, parameters, "message to edit")
    return _change(core, chat, message, message.formatted, keyboard)


@method("deleteMessage")
async def delete_message(core: TelegramCore, parameters: Parameters) -> bool:
    """Delete one message of the last 48 hours."""
    if not parameters.text("chat_id"):
        raise bad_request("Chat identifier is not specified")
    if parameters.integer("message_id") == 0:
        raise bad_request("Message identifier is not specified")
    chat, message = find_message(core, parameters, "message to delete")
    if not _deletable(core, chat, message):
        raise bad_request("message can't be deleted")
    message.deleted_at = core.now()
    core.changed()
    return True


def _deletable(core: TelegramCore, chat: Chat, message: Message) -> bool:
    too_old = core.now() - message.date > DELETE_WINDOW_S
    own = message.sender.is_bot or chat.is_private
    return not too_old and (own or chat.bot_is_admin)


@method("deleteMessages")
async def delete_messages(core: TelegramCore, parameters: Parameters) -> bool:
    """Delete up to 100 messages; skip those that are missing or cannot be deleted."""
    ids = parameters.json("message_ids", "Can't parse message identifiers JSON object")
    if not isinstance(ids, list) or any(not isinstance(one, int) for one in ids):
        raise bad_request("Message identifiers are not specified")
    if not 1 <= len(ids) <= DELETE_MAX:
        raise bad_request("too many messages to delete" if ids else "there are no messages")
    chat = core.world.writable_chat(parameters.text("chat_id"))
    for message in (chat.messages.get(one) for one in ids):
        if message is not None and message.exists and _deletable(core, chat, message):
            message.deleted_at = core.now()
    core.changed()
    return True
