"""Methods about the members of a chat."""

from typing import Any

from roost_channels.testing.telegram.errors import bad_request
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.core import TelegramCore, method
from roost_channels.testing.telegram.state.records import Chat

_RIGHTS = (
    "can_be_edited",
    "can_manage_chat",
    "can_delete_messages",
    "can_manage_video_chats",
    "can_restrict_members",
    "can_promote_members",
    "can_change_info",
    "can_invite_users",
    "can_post_stories",
    "can_edit_stories",
    "can_delete_stories",
    "can_send_welcome_messages",
    "can_manage_topics",
)
_DENIED_RIGHTS = ("is_anonymous", "can_be_edited", "can_promote_members")


def bot_member(core: TelegramCore, chat: Chat) -> dict[str, Any]:
    """The bot's ChatMember object in a chat."""
    bot = {"user": core.world.bot.to_json()}
    if chat.kicked or chat.blocked:
        return {**bot, "status": "kicked", "until_date": 0}
    if chat.is_private or not chat.bot_is_admin:
        return {**bot, "status": "member"}
    rights = {**dict.fromkeys(_RIGHTS, True), **dict.fromkeys(_DENIED_RIGHTS, False)}
    return {**bot, "status": "administrator", **rights}


@method("getChatMember")
async def get_chat_member(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """The ChatMember object of the bot or of a user."""
    chat = core.world.writable_chat(parameters.text("chat_id"))
    user_id = parameters.integer("user_id")
    if user_id == core.world.bot.id:
        return bot_member(core, chat)
    user = core.world.users.get(user_id)
    if user is None:
        raise bad_request("user not found")
    return {"user": user.to_json(), "status": "member"}


@method("getChatAdministrators")
async def get_chat_administrators(
    core: TelegramCore, parameters: Parameters
) -> list[dict[str, Any]]:
    """The bot, where it is an administrator of the group."""
    chat = core.world.writable_chat(parameters.text("chat_id"))
    if chat.is_private:
        raise bad_request("there are no administrators in the private chat")
    return [bot_member(core, chat)] if chat.bot_is_admin else []


@method("leaveChat")
async def leave_chat(core: TelegramCore, parameters: Parameters) -> bool:
    """Remove the bot from a group."""
    chat = core.world.writable_chat(parameters.text("chat_id"))
    if chat.is_private:
        raise bad_request("chat member status can't be changed in private chats")
    chat.kicked = True
    core.changed()
    return True
