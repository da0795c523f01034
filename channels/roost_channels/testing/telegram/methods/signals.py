"""Methods without a message: typing, reactions and answers to pressed buttons."""

from typing import Any

from roost_channels.testing.telegram.errors import bad_request
from roost_channels.testing.telegram.methods.drafts import find_reachable_chat
from roost_channels.testing.telegram.methods.edits import find_message
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.core import TelegramCore, method
from roost_channels.testing.telegram.state.records import GENERAL_TOPIC
from roost_channels.testing.telegram.state.updates import CALLBACK_LIFETIME_S

TYPING_S = 5.0
CALLBACK_TEXT_MAX = 200
ACTIONS = {
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
    "cancel",
}
_EMOJI = (
    "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 "
    "🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤\u200d🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 "
    "💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨\u200d💻 👀 🎃 🙈 "
    "😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 "
    "😘 💊 🙊 😎 👾 🤷\u200d♂ 🤷 🤷\u200d♀ 😡 "
)
REACTIONS = frozenset(_EMOJI.split())
TOO_OLD = "query is too old and response timeout expired or query ID is invalid"


@method("sendChatAction")
async def send_chat_action(core: TelegramCore, parameters: Parameters) -> bool:
    """Show that the bot is typing or uploading, for 5 s."""
    action = parameters.text("action").lower()
    if action not in ACTIONS:
        raise bad_request("Wrong parameter action in request")
    chat = find_reachable_chat(core, parameters.text("chat_id"))
    core.flood.typing(chat.id, core.now())
    thread = parameters.integer("message_thread_id")
    # Only this method accepts the id of the General topic.
    if not (chat.is_forum and thread == GENERAL_TOPIC):
        thread = core.world.thread(chat, thread)
    if action == "cancel":
        chat.typing.pop(thread, None)
    else:
        chat.typing[thread] = (action, core.now() + TYPING_S)
        chat.typings.append(core.now())
    core.changed()
    return True


@method("setMessageReaction")
async def set_message_reaction(core: TelegramCore, parameters: Parameters) -> bool:
    """Set the bot's one reaction to a message, or remove it."""
    reaction_types = parameters.json("reaction", "Can't parse reaction types JSON object")
    if reaction_types is not None and not isinstance(reaction_types, list):
        raise bad_request("Expected an Array of ReactionType")
    reactions: list[dict[str, Any]] = reaction_types or []
    for reaction in reactions:
        if not isinstance(reaction, dict) or reaction.get("type") not in ("emoji", "custom_emoji"):
            raise bad_request("Can't parse ReactionType: invalid reaction type specified")
    _, message = find_message(core, parameters, "message to react", write=False)
    if len(reactions) > 1:
        raise bad_request("REACTIONS_TOO_MANY")
    for reaction in reactions:
        if reaction["type"] != "emoji" or reaction.get("emoji", "") not in REACTIONS:
            raise bad_request("REACTION_INVALID")
    message.reactions = reactions
    core.changed()
    return True


@method("answerCallbackQuery")
async def answer_callback_query(core: TelegramCore, parameters: Parameters) -> bool:
    """Answer a pressed button once, within 150 s."""
    query = core.callback_queries.get(parameters.text("callback_query_id"))
    if len(parameters.text("text")) > CALLBACK_TEXT_MAX:
        raise bad_request("MESSAGE_TOO_LONG")
    if query is None or query.answer is not None or core.now() - query.at > CALLBACK_LIFETIME_S:
        raise bad_request(TOO_OLD)
    query.answer = {
        "text": parameters.text("text"),
        "show_alert": parameters.boolean("show_alert"),
    }
    core.changed()
    return True
