"""Methods for the topics of forums and of private chats whose bot has topics."""

from typing import Any

from roost_channels.testing.telegram.errors import bad_request, forbidden
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.core import TelegramCore, method
from roost_channels.testing.telegram.state.records import (
    GENERAL_TOPIC,
    TOPIC_COLOR,
    Chat,
    Message,
    Topic,
)
from roost_channels.testing.telegram.text.formatted import Formatted

NAME_MAX = 128
ICON_COLORS = {7322096, 16766590, 13338331, 9367192, 16749490, 16478047}


def _forum(core: TelegramCore, parameters: Parameters, action: str) -> Chat:
    """The chat, if the bot may manage its topics. action: the verb of the error."""
    chat = core.world.writable_chat(parameters.text("chat_id"))
    if chat.is_private and core.private_topics:
        if chat.blocked:
            raise forbidden("bot was blocked by the user")
        return chat
    if not chat.is_forum:
        raise bad_request("the chat is not a forum")
    if not chat.bot_is_admin:
        raise bad_request(f"not enough rights to {action} a topic")
    return chat


def _topic(core: TelegramCore, parameters: Parameters, action: str) -> tuple[Chat, Topic]:
    chat = _forum(core, parameters, action)
    thread = parameters.integer("message_thread_id")
    if thread == GENERAL_TOPIC:
        raise bad_request("TOPIC_ID_INVALID")
    if thread not in chat.topics:
        raise bad_request("message thread not found")
    return chat, chat.topics[thread]


def _name(parameters: Parameters) -> str:
    name = parameters.text("name").strip()[:NAME_MAX]
    if not name:
        raise bad_request("Title must be non-empty")
    return name


def _announce(core: TelegramCore, chat: Chat, thread: int, fields: dict[str, Any]) -> Message:
    """Add the service message to the topic; a bot gets no update about its own actions."""
    message = Message(
        core.world.next_message_id(chat),
        chat.id,
        core.now(),
        core.world.bot,
        Formatted(""),
        media=fields,
        silent=True,
        editable=False,
    )
    message.thread = thread or message.message_id
    chat.messages[message.message_id] = message
    core.changed()
    return message


@method("createForumTopic")
async def create_forum_topic(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """Create a topic; the id of its service message is the topic's id."""
    chat = _forum(core, parameters, "create")
    color = parameters.integer("icon_color", TOPIC_COLOR)
    if color not in ICON_COLORS:
        raise bad_request("Invalid icon color specified")
    topic = Topic(_name(parameters), color, parameters.text("icon_custom_emoji_id"))
    core.flood.send(chat.id, chat.is_private, core.now())
    root = _announce(core, chat, 0, {"forum_topic_created": topic.to_json()})
    chat.topics[root.message_id] = topic
    return {"message_thread_id": root.message_id, **topic.to_json()}


@method("editForumTopic")
async def edit_forum_topic(core: TelegramCore, parameters: Parameters) -> bool:
    """Change the name or icon of a topic."""
    chat, topic = _topic(core, parameters, "edit")
    name = _name(parameters) if "name" in parameters else topic.name
    icon = (
        parameters.text("icon_custom_emoji_id")
        if "icon_custom_emoji_id" in parameters
        else topic.icon_custom_emoji_id
    )
    if (name, icon) == (topic.name, topic.icon_custom_emoji_id):
        raise bad_request("TOPIC_NOT_MODIFIED")
    topic.name, topic.icon_custom_emoji_id = name, icon
    thread = parameters.integer("message_thread_id")
    _announce(core, chat, thread, {"forum_topic_edited": {"name": name}})
    return True


def _set_closed(core: TelegramCore, parameters: Parameters, closed: bool) -> bool:
    chat, topic = _topic(core, parameters, "edit")
    if topic.closed == closed:
        raise bad_request("TOPIC_NOT_MODIFIED")
    topic.closed = closed
    field = "forum_topic_closed" if closed else "forum_topic_reopened"
    _announce(core, chat, parameters.integer("message_thread_id"), {field: {}})
    return True


@method("closeForumTopic")
async def close_forum_topic(core: TelegramCore, parameters: Parameters) -> bool:
    """Close a topic."""
    return _set_closed(core, parameters, True)


@method("reopenForumTopic")
async def reopen_forum_topic(core: TelegramCore, parameters: Parameters) -> bool:
    """Open a closed topic again."""
    return _set_closed(core, parameters, False)


@method("deleteForumTopic")
async def delete_forum_topic(core: TelegramCore, parameters: Parameters) -> bool:
    """Delete a topic with its messages."""
    chat, _ = _topic(core, parameters, "delete")
    thread = parameters.integer("message_thread_id")
    del chat.topics[thread]
    for message in chat.messages.values():
        if message.thread == thread and message.exists:
            message.deleted_at = core.now()
    core.changed()
    return True
