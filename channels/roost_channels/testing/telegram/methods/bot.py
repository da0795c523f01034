"""Methods about the bot itself: its profile, its chats and its commands."""

import re
from typing import Any

from roost_channels.testing.telegram.errors import bad_request
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.core import TelegramCore, method

COMMANDS_MAX = 100
_COMMAND = re.compile(r"/?[a-z0-9_]{1,32}")
_SCOPES = {
    "default",
    "all_private_chats",
    "all_group_chats",
    "all_chat_administrators",
    "chat",
    "chat_administrators",
    "chat_member",
}


@method("getMe")
async def get_me(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """The bot's User object with its abilities."""
    return {
        **core.world.bot.to_json(),
        "can_join_groups": True,
        "can_read_all_group_messages": not core.privacy,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
        "has_topics_enabled": core.private_topics,
        "allows_users_to_create_topics": core.private_topics,
    }


@method("getChat")
async def get_chat(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """The ChatFullInfo object."""
    chat = core.world.find_chat(parameters.text("chat_id"))
    return {
        **chat.to_json(),
        "accent_color_id": chat.id % 7 if chat.id > 0 else 0,
        "max_reaction_count": 11,
        "accepted_gift_types": {
            "unlimited_gifts": False,
            "limited_gifts": False,
            "unique_gifts": False,
            "premium_subscription": False,
            "gifts_from_channels": False,
        },
    }


def _scope(parameters: Parameters) -> tuple[str, str]:
    """The key of a BotCommandScope, and the language."""
    scope = parameters.json("scope", "Can't parse BotCommandScope JSON object")
    if scope is None:
        scope = {"type": "default"}
    if not isinstance(scope, dict):
        raise bad_request("Can't parse BotCommandScope: BotCommandScope must be an Object")
    if scope.get("type") not in _SCOPES:
        raise bad_request("Can't parse BotCommandScope: Unsupported type specified")
    name = ":".join(str(scope[key]) for key in ("type", "chat_id", "user_id") if key in scope)
    return name, parameters.text("language_code")


@method("setMyCommands")
async def set_my_commands(core: TelegramCore, parameters: Parameters) -> bool:
    """Store the commands of a scope and language."""
    commands = parameters.json("commands", "Can't parse commands JSON object")
    if not isinstance(commands, list):
        raise bad_request("Expected an Array of BotCommand")
    if len(commands) > COMMANDS_MAX:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    checked: list[dict[str, str]] = []
    for command in commands:
        if not isinstance(command, dict):
            raise bad_request("Can't parse BotCommand: expected an Object")
        for name in ("command", "description"):
            if not isinstance(command.get(name), str):
                raise bad_request(f"Can't parse BotCommand: Can't find field \"{name}\"")
        if not _COMMAND.fullmatch(command["command"]):
            raise bad_request("BOT_COMMAND_INVALID")
        if not 1 <= len(command["description"]) <= 256:
            raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
        checked.append(
            {
                "command": command["command"].lstrip("/"),
                "description": command["description"],
            }
        )
    core.commands[_scope(parameters)] = checked
    return True


@method("getMyCommands")
async def get_my_commands(core: TelegramCore, parameters: Parameters) -> list[dict[str, str]]:
    """The commands of a scope and language."""
    return core.commands.get(_scope(parameters), [])


@method("deleteMyCommands")
async def delete_my_commands(core: TelegramCore, parameters: Parameters) -> bool:
    """Forget the commands of a scope and language."""
    core.commands.pop(_scope(parameters), None)
    return True
