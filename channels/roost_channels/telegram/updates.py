"""Telegram updates read into InboundMessages.

Works on the raw JSON, so that fields and kinds of update we have never heard of pass unharmed.
https://core.telegram.org/bots/api#update
"""

import logging
from collections.abc import Mapping
from typing import Any

from roost_channels.message import (
    Address,
    Attachment,
    Author,
    InboundKind,
    InboundMessage,
    Quote,
    Sender,
)

logger = logging.getLogger(__name__)

Json = Mapping[str, Any]

ALLOWED_UPDATES = (
    "message",
    "edited_message",
    "callback_query",
    "stopped_message_generation",
    "my_chat_member",
)
_MEDIA = ("voice", "audio", "video", "video_note", "animation", "document", "sticker")
_GROUPS = ("group", "supergroup", "channel")


def read(update: Json, account: str, username: str = "") -> InboundMessage | None:
    """One update as an event; None for those without a chat, which nobody can be answered in.

    account: the bot's id. username: the bot's name, by which groups mention it. A known kind in an
    unexpected shape becomes an `other` event: it is kept, never lost, and never stops the poller.
    """
    try:
        return _read(update, account, username.lower())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        logger.exception("update %s has an unexpected shape", update.get("update_id"))
        return _other(update, account)


def _read(update: Json, account: str, username: str) -> InboundMessage | None:
    if message := update.get("message"):
        return _message(update, message, account, username, "message")
    if message := update.get("edited_message"):
        return _message(update, message, account, username, "edited")
    if query := update.get("callback_query"):
        return _callback(update, query, account)
    if stopped := update.get("stopped_message_generation"):
        return _stopped(update, stopped, account)
    return _other(update, account)


def _message(
    update: Json, message: Json, account: str, username: str, kind: InboundKind
) -> InboundMessage:
    sender = message.get("from") or message.get("sender_chat") or message["chat"]
    text = message.get("text") or message.get("caption") or ""
    attachments = _attachments(message)
    is_group = message["chat"].get("type") in _GROUPS
    if kind == "message" and not (text or attachments):
        kind = "other"  # a service message: somebody joined, a title changed
    if sender.get("is_bot") or message["chat"].get("type") == "channel":
        kind = "other"  # bots that answer bots never end
    return InboundMessage(
        address=_address(message, account),
        event_id=str(update["update_id"]),
        message_id=str(message["message_id"]),
        sender=_sender(sender),
        text=text,
        sent_at=float(message.get("edit_date") or message.get("date") or 0),
        kind=kind,
        quote=_quote(message, account),
        attachments=attachments,
        is_group=is_group,
        is_addressed=not is_group or _is_addressed(message, text, account, username),
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
        is_group=message["chat"].get("type") in _GROUPS,
        raw=dict(update),
    )


def _stopped(update: Json, stopped: Json, account: str) -> InboundMessage:
    chat = stopped["chat"]
    thread = stopped.get("message_thread_id")
    return InboundMessage(
        address=Address("telegram", account, str(chat["id"]), str(thread) if thread else ""),
        event_id=str(update["update_id"]),
        message_id="",
        sender=_sender(chat),
        text="",
        sent_at=0.0,
        kind="stop",
        raw=dict(update),
    )


def _other(update: Json, account: str) -> InboundMessage | None:
    """Any update that names a chat, kept for the record."""
    for key, body in update.items():
        if key == "update_id" or not isinstance(body, Mapping):
            continue
        message = body.get("message") if isinstance(body.get("message"), Mapping) else body
        chat = message.get("chat") if isinstance(message, Mapping) else None
        if not isinstance(chat, Mapping) or "id" not in chat or "update_id" not in update:
            continue
        sender = body.get("from")
        return InboundMessage(
            address=Address("telegram", account, str(chat["id"])),
            event_id=str(update["update_id"]),
            message_id=str(message.get("message_id") or "") if message else "",
            sender=_sender(sender if isinstance(sender, Mapping) else chat),
            text="",
            sent_at=0.0,
            kind="other",
            is_group=chat.get("type") in _GROUPS,
            raw=dict(update),
        )
    return None


def _address(message: Json, account: str) -> Address:
    thread = message.get("message_thread_id") if message.get("is_topic_message") else None
    return Address("telegram", account, str(message["chat"]["id"]), str(thread) if thread else "")


def _sender(who: Json) -> Sender:
    names = (who.get("first_name"), who.get("last_name"))
    name = " ".join(part for part in names if part) or who.get("title") or ""
    return Sender(str(who.get("id", "")), name, who.get("username") or "")


def _is_addressed(message: Json, text: str, account: str, username: str) -> bool:
    """In a group: a reply to us, our name, or a command that names nobody else."""
    replied = message.get("reply_to_message") or {}
    if str((replied.get("from") or {}).get("id", "")) == account:
        return True
    units = text.encode("utf-16-le")
    for entity in (*message.get("entities", ()), *message.get("caption_entities", ())):
        start, end = 2 * entity["offset"], 2 * (entity["offset"] + entity["length"])
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


def _attachments(message: Json) -> tuple[Attachment, ...]:
    found = []
    if photo := message.get("photo"):
        found.append(_file("photo", photo[-1]))  # sizes come smallest first
    for kind in _MEDIA:
        # An animation repeats itself as a document.
        if (body := message.get(kind)) and not (kind == "document" and "animation" in message):
            found.append(_file(kind, body))
    if place := message.get("venue") or message.get("location"):
        point = place.get("location", place)
        words = (f"{point['latitude']},{point['longitude']}", place.get("title", ""))
        found.append(Attachment("location", "", " ".join(word for word in words if word)))
    if contact := message.get("contact"):
        words = (contact.get("first_name", ""), contact.get("phone_number", ""))
        found.append(Attachment("contact", "", " ".join(word for word in words if word)))
    if poll := message.get("poll"):
        found.append(Attachment("poll", str(poll.get("id", "")), poll.get("question", "")))
    if dice := message.get("dice"):
        found.append(Attachment("dice", "", f"{dice.get('emoji', '')} {dice.get('value', '')}"))
    return tuple(found)


def _file(kind: str, body: Json) -> Attachment:
    return Attachment(
        kind=kind,
        provider_id=body.get("file_id", ""),
        name=body.get("file_name") or body.get("emoji") or "",
        mime_type=body.get("mime_type") or "",
        size=body.get("file_size"),
    )


def _quote(message: Json, account: str) -> Quote | None:
    """What the message refers to: there is no history to ask, the update's copy is the snapshot."""
    selected = message.get("quote") or {}
    replied = message.get("reply_to_message")
    # In a topic every message hangs on the one that opened it.
    if replied and not replied.get("forum_topic_created"):
        text = _words(replied)
        return Quote(
            ref=str(replied["message_id"]),
            author=_author(replied, message, account),
            text=text,
            excerpt=selected.get("text") or text,
            utf16_start=selected.get("position"),
            is_manual=bool(selected.get("is_manual")),
            resolved=bool(text),
        )
    if external := message.get("external_reply"):
        text = selected.get("text") or _words(external)
        return Quote(
            ref=None,
            author="other",
            text=text,
            excerpt=text,
            utf16_start=selected.get("position"),
            is_manual=bool(selected.get("is_manual")),
            resolved=bool(text),
        )
    if message.get("reply_to_story"):
        return Quote(ref=None, author="other", text="[story]", excerpt="[story]")
    return None


def _words(message: Json) -> str:
    """A message's text, else what kind of thing it is."""
    text = message.get("text") or message.get("caption")
    if text:
        return str(text)
    return " ".join(f"[{attachment.kind}]" for attachment in _attachments(message))


def _author(replied: Json, message: Json, account: str) -> Author:
    who = str((replied.get("from") or {}).get("id", ""))
    if who == account:
        return "bot"
    return "user" if who == str((message.get("from") or {}).get("id", "-")) else "other"
