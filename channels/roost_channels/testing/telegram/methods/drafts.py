"""Drafts: previews of an answer while the bot writes it."""

from roost_channels.testing.telegram.errors import bad_request, forbidden
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.core import TelegramCore, method
from roost_channels.testing.telegram.state.records import Chat, Draft
from roost_channels.testing.telegram.text.formatted import (
    TEXT_CODEPOINTS_MAX,
    Formatted,
    normalize,
    read_formatted,
)

DRAFT_S = 30.0


def find_reachable_chat(core: TelegramCore, chat_id: str) -> Chat:
    """The chat, if its users see what the bot does there; BotApiError otherwise."""
    chat = core.world.writable_chat(chat_id)
    if chat.blocked:
        raise forbidden("bot was blocked by the user")
    return chat


def put_draft(core: TelegramCore, parameters: Parameters, formatted: Formatted) -> bool:
    """Show a draft in a private chat; it replaces the one there."""
    chat = find_reachable_chat(core, parameters.text("chat_id"))
    # The published sources have only the code 400 of these two errors, not their texts.
    if not chat.is_private:
        raise bad_request("TEXTDRAFT_PEER_INVALID")
    draft_id = parameters.integer("draft_id")
    if draft_id == 0:
        raise bad_request("draft_id must be non-zero")
    core.flood.typing(chat.id, core.now())
    chat.draft = Draft(
        draft_id,
        core.world.thread(chat, parameters.integer("message_thread_id")),
        formatted,
        core.now() + DRAFT_S,
        can_stop=parameters.boolean("can_stop"),
        keep_on_stop=parameters.boolean("keep_on_stop"),
    )
    core.changed()
    return True


@method("sendMessageDraft")
async def send_message_draft(core: TelegramCore, parameters: Parameters) -> bool:
    """Show a text as a draft; without a text the draft says that the bot thinks."""
    text = parameters.text("text")
    entities = parameters.json("entities", "Can't parse entities JSON object")
    formatted = read_formatted(text, parameters.text("parse_mode"), entities)
    if text:
        formatted = normalize(formatted)
    if len(formatted.text) > TEXT_CODEPOINTS_MAX:
        raise bad_request("Message is too long")
    return put_draft(core, parameters, formatted if text else Formatted("Thinking…"))
