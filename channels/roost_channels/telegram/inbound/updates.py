"""Telegram updates read into InboundMessages.

Works on the raw JSON, so that fields and kinds of update we have never heard of pass unharmed.
https://core.telegram.org/bots/api#update
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from roost_channels.message import Address, InboundKind, InboundMessage, Sender
from roost_channels.telegram.inbound.contents import Json, attachments_of, quote_of

logger = logging.getLogger(__name__)

ALLOWED_UPDATES = (
    "message",
    "edited_message",
    "callback_query",
    "stopped_message_generation",
    "my_chat_member",
)
_GROUPS = ("group", "supergroup", "channel")
# The topic General: messages go there without a topic's number, typing needs this one.
GENERAL_TOPIC = "1"
# The chat of dead letters that name none.
UNREADABLE_CHAT = "unreadable"
PROBLEM_MAX = 500
# UTF-16 units of an entity that are read: names of bots and commands have at most 32 each.
NAME_LENGTH_MAX = 100


def read(update: Json, account: str, username: str = "") -> InboundMessage | None:
    """Read one update as an event; None for one without a chat, because nobody can be answered.

    account: the bot's id. username: the bot's name, by which groups mention it. An update that
    can't be read becomes a dead letter: it is kept, never lost, and never stops the poller.
    """
    try:
        return _read(update, account, username.lower())
    except Exception as error:
        # Whatever is wrong with it, the next poll would bring the same update again.
        logger.exception("update %s can't be read", _id(update))
        return unreadable(update, account, error)


def unreadable(update: Any, account: str, error: Exception) -> InboundMessage:
    """Return a dead letter: the raw update and what went wrong, in its chat if it names one."""
    raw = dict(update) if isinstance(update, Mapping) else {"update": update}
    try:
        readable = _other(raw, account)
    except Exception:
        logger.debug("update %s names no chat that we can read", _id(update))
        readable = None
    return InboundMessage(
        address=readable.address if readable else Address("telegram", account, UNREADABLE_CHAT),
        event_id=_id(update),
        message_id="",
        sender=Sender(""),
        text="",
        sent_at=0.0,
        kind="other",
        problem=f"{type(error).__name__}: {error}"[:PROBLEM_MAX],
        raw=raw,
    )


def update_id(update: Any) -> int | None:
    """Return the update's number, by which offsets count; None where it has none."""
    number = update.get("update_id") if isinstance(update, Mapping) else None
    return number if isinstance(number, int) else None


def _id(update: Any) -> str:
    """Return the update's number, or a hash of its content where it has none."""
    number = update_id(update)
    if number is not None:
        return str(number)
    content = json.dumps(update, sort_keys=True, default=str).encode()
    return f"unnumbered:{hashlib.sha256(content).hexdigest()[:32]}"


def _read(update: Json, account: str, username: str) -> InboundMessage | None:
    message = update.get("message")
    if message and (moved := _migrated(update, message, account)):
        return moved
    if message:
        return _message(update, message, account, username, "message")
    if message := update.get("edited_message"):
        return _message(update, message, account, username, "edited")
    if query := update.get("callback_query"):
        return _callback(update, query, account)
    if stopped := update.get("stopped_message_generation"):
        return _stopped(update, stopped, account)
    if member := update.get("my_chat_member"):
        return _membership(update, member, account)
    return _other(update, account)


def _message(
    update: Json, message: Json, account: str, username: str, kind: InboundKind
) -> InboundMessage:
    sender = message.get("from") or message.get("sender_chat") or message["chat"]
    text = message.get("text") or message.get("caption") or ""
    attachments = attachments_of(message)
    address = _address(message, account)
    if kind == "message" and not (text or attachments):
        kind = "other"  # a service message: somebody joined, a title changed
    if sender.get("is_bot") or message["chat"].get("type") == "channel":
        kind = "other"  # bots that answer bots never end
    return InboundMessage(
        address=address,
        event_id=str(update["update_id"]),
        message_id=str(message["message_id"]),
        sender=_sender(sender),
        text=text,
        sent_at=float(message.get("edit_date") or message.get("date") or 0),
        kind=kind,
        quote=quote_of(message, account),
        attachments=attachments,
        is_addressed=not address.is_group or _is_addressed(message, text, account, username),
        album=str(message.get("media_group_id") or ""),
        raw=dict(update),
    )


def _migrated(update: Json, message: Json, account: str) -> InboundMessage | None:
    """Read the notice of a group that became a supergroup; both chats get one."""
    here = str(message["chat"]["id"])
    if new := message.get("migrate_to_chat_id"):
        old, now = here, str(new)
    elif before := message.get("migrate_from_chat_id"):
        old, now = str(before), here
    else:
        return None
    return InboundMessage(
        address=Address("telegram", account, old, is_group=True),
        event_id=str(update["update_id"]),
        message_id=str(message["message_id"]),
        sender=_sender(message.get("from") or message["chat"]),
        text=now,
        sent_at=float(message.get("date") or 0),
        kind="migrated",
        raw=dict(update),
    )


def _membership(update: Json, member: Json, account: str) -> InboundMessage:
    """Read whether the bot was let into a chat or put out of it."""
    is_out = member["new_chat_member"]["status"] in ("kicked", "left")
    return InboundMessage(
        address=_chat(member["chat"], account),
        event_id=str(update["update_id"]),
        message_id="",
        sender=_sender(member["from"]),
        text="out" if is_out else "in",
        sent_at=float(member.get("date") or 0),
        kind="membership",
        raw=dict(update),
    )


def _callback(update: Json, query: Json, account: str) -> InboundMessage | None:
    message = query.get("message")
    if not message:
        return None  # a button of an inline message, which lives in no chat of ours
    return InboundMessage(
        address=_address(message, account),
        event_id=str(update["update_id"]),
        message_id=str(message["message_id"]),
        sender=_sender(query["from"]),
        text=query.get("data") or "",
        sent_at=float(message.get("edit_date") or message.get("date") or 0),
        kind="callback",
        raw=dict(update),
    )


def _stopped(update: Json, stopped: Json, account: str) -> InboundMessage:
    chat = stopped["chat"]
    thread = stopped.get("message_thread_id")
    return InboundMessage(
        address=_chat(chat, account, str(thread) if thread else ""),
        event_id=str(update["update_id"]),
        message_id="",
        sender=_sender(chat),
        text="",
        sent_at=0.0,
        kind="stop",
        raw=dict(update),
    )


def _other(update: Json, account: str) -> InboundMessage | None:
    """Read any other update that names a chat; it is kept and not answered."""
    for key, body in update.items():
        if key == "update_id" or not isinstance(body, Mapping):
            continue
        message = body.get("message") if isinstance(body.get("message"), Mapping) else body
        chat = message.get("chat") if isinstance(message, Mapping) else None
        if not isinstance(chat, Mapping) or "id" not in chat or "update_id" not in update:
            continue
        sender = body.get("from")
        return InboundMessage(
            address=_chat(chat, account),
            event_id=str(update["update_id"]),
            message_id=str(message.get("message_id") or "") if message else "",
            sender=_sender(sender if isinstance(sender, Mapping) else chat),
            text="",
            sent_at=0.0,
            kind="other",
            raw=dict(update),
        )
    return None


def _address(message: Json, account: str) -> Address:
    """Return the chat and its topic. Messages don't name General, the first topic of a forum."""
    thread = ""
    if message.get("is_topic_message"):
        thread = str(message.get("message_thread_id") or "")
    elif message["chat"].get("is_forum"):
        thread = GENERAL_TOPIC
    return _chat(message["chat"], account, thread)


def _chat(chat: Json, account: str, thread: str = "") -> Address:
    is_group = chat.get("type") in _GROUPS
    return Address("telegram", account, str(chat["id"]), thread, is_group)


def _sender(who: Json) -> Sender:
    names = (who.get("first_name"), who.get("last_name"))
    name = " ".join(part for part in names if part) or who.get("title") or ""
    return Sender(str(who.get("id", "")), name, who.get("username") or "")


def _is_addressed(message: Json, text: str, account: str, username: str) -> bool:
    """Return whether a group's message is for us: a reply to us, our name, or a command to nobody
    else.
    """
    replied = message.get("reply_to_message") or {}
    # In a topic every message hangs on the one that opened it, which may be ours.
    is_reply = not replied.get("forum_topic_created")
    if is_reply and str((replied.get("from") or {}).get("id", "")) == account:
        return True
    units = text.encode("utf-16-le")
    for entity in (*message.get("entities", ()), *message.get("caption_entities", ())):
        start = 2 * entity["offset"]
        end = start + 2 * min(entity["length"], NAME_LENGTH_MAX)
        words = units[start:end].decode("utf-16-le", "replace").lower()
        if entity["type"] == "mention" and username and words == f"@{username}":
            return True
        if entity["type"] == "text_mention" and str(entity["user"]["id"]) == account:
            return True
        if entity["type"] == "bot_command":
            named = words.partition("@")[2]
            if not named or named == username:
                return True
    return False
