"""Reads reply_parameters: the target, the quote, and the fallback when the target is gone."""

from dataclasses import dataclass
from typing import Any

from roost_channels.testing.telegram.errors import bad_request
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.core import TelegramCore
from roost_channels.testing.telegram.state.records import Chat, Message
from roost_channels.testing.telegram.text.formatted import (
    Formatted,
    normalize,
    quote_matches,
    quote_position,
    read_formatted,
)
from roost_channels.testing.telegram.text.utf16 import utf16_length

QUOTE_UNITS_MAX = 1024
NOT_FOUND = "message to be replied not found"


@dataclass(frozen=True, slots=True)
class Reply:
    """A resolved reply; all fields are None for a message that replies to nothing."""

    message_id: int | None = None
    snapshot: dict[str, Any] | None = None
    external: dict[str, Any] | None = None
    quote: dict[str, Any] | None = None


def read_reply(core: TelegramCore, parameters: Parameters, chat: Chat, thread: int) -> Reply:
    """The reply of a call; BotApiError 400 when its target or quote does not exist."""
    reply = parameters.json("reply_parameters", "Can't parse reply parameters JSON object")
    if reply is None:
        legacy = parameters.integer("reply_to_message_id")
        reply = (
            {
                "message_id": legacy,
                "allow_sending_without_reply": parameters.boolean("allow_sending_without_reply"),
            }
            if legacy
            else {}
        )
    if not isinstance(reply, dict):
        raise bad_request("Object expected as reply parameters")
    if not reply:
        return Reply()
    message_id = reply.get("message_id")
    if message_id is None:
        raise bad_request('Can\'t find field "message_id"')
    if not isinstance(message_id, int):
        raise bad_request('Field "message_id" must be of type Number')
    other = str(reply.get("chat_id", "") or "")
    target_chat = core.world.find_chat(other) if other else chat
    target = target_chat.messages.get(message_id)
    elsewhere = target_chat.id != chat.id or (target is not None and target.thread != thread)
    if target is None or not target.exists:
        if reply.get("allow_sending_without_reply") and not elsewhere:
            return Reply()
        raise bad_request(NOT_FOUND)
    quote = _read_quote(reply, target)
    if elsewhere:
        return Reply(external=_external(core, target), quote=quote)
    return Reply(message_id, core.world.message_json(target, with_reply=False), None, quote)


def _read_quote(reply: dict[str, Any], target: Message) -> dict[str, Any] | None:
    text = reply.get("quote") or ""
    if not text:
        return None
    quote = normalize(
        read_formatted(text, reply.get("quote_parse_mode") or "", reply.get("quote_entities"))
    )
    if utf16_length(quote.text) > QUOTE_UNITS_MAX:
        raise bad_request("QUOTE_TEXT_INVALID")
    wanted = int(reply.get("quote_position") or 0)
    position = quote_position(target.formatted, quote.text, wanted)
    if position is None or not quote_matches(target.formatted, quote, position):
        raise bad_request("QUOTE_TEXT_INVALID")
    return quote_json(quote, position, is_manual=True)


def quote_json(quote: Formatted, position: int, *, is_manual: bool) -> dict[str, Any]:
    """The TextQuote object."""
    body: dict[str, Any] = {"text": quote.text, "position": position}
    if quote.entities:
        body["entities"] = quote.entities
    if is_manual:
        body["is_manual"] = True
    return body


def _external(core: TelegramCore, target: Message) -> dict[str, Any]:
    """The ExternalReplyInfo object; it has no text, only the quote does."""
    chat = core.world.chats[target.chat_id]
    return {
        "origin": {
            "type": "user",
            "date": int(target.date),
            "sender_user": target.sender.to_json(),
        },
        "chat": chat.to_json(),
        "message_id": target.message_id,
    }
