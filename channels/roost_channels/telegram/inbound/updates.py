"""Telegram updates read into InboundMessages.

Works on the raw JSON, so that fields and kinds of update we have never heard of pass unharmed.
https://core.telegram.org/bots/api#update
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from roost_channels.message import Address, Attachment, InboundKind, InboundMessage, Sender
from roost_channels.telegram.forums import direct_thread
from roost_channels.telegram.inbound.addressing import is_addressed, start_payload
from roost_channels.telegram.inbound.contents import attachments_of, raw_text_of, text_of
from roost_channels.telegram.inbound.described import described
from roost_channels.telegram.inbound.fields import ENVELOPE, FLAGS, PLAIN, SERVICE
from roost_channels.telegram.inbound.people import Json, is_bot, sender_of, source_of, writer_of
from roost_channels.telegram.inbound.quotes import quote_of

logger = logging.getLogger(__name__)

ALLOWED_UPDATES = (
    "message",
    "edited_message",
    "callback_query",
    "stopped_message_generation",
    "my_chat_member",
)
# The topic General: messages go there without a topic's number, typing needs this one.
GENERAL_TOPIC = "1"
# The chat of dead letters that name none.
UNREADABLE_CHAT = "unreadable"
PROBLEM_MAX = 500


def read(update: Json, account: str, username: str = "") -> InboundMessage | None:
    """Read one update as an event; None for one without a chat, because nobody can be answered.

    account: the bot's id. username: the bot's name, by which groups mention it. Of a message that
    can't be read whole the words are read and the rest is named. An update that can't be read at
    all becomes a dead letter: it is kept, never lost, and never stops the poller.
    """
    try:
        return _read(update, account, username.lower())
    except Exception as error:
        # Whatever is wrong with it, the next poll would bring the same update again.
        logger.exception("update %s can't be read", _id(update))
        return _words_alone(update, account, username.lower()) or unreadable(update, account, error)


def _words_alone(update: Any, account: str, username: str) -> InboundMessage | None:
    """A message without the fields of which one can't be read; None where that is not enough."""
    kinds: tuple[tuple[str, InboundKind], ...] = (
        ("message", "message"),
        ("edited_message", "edited"),
    )
    for name, kind in kinds:
        message = update.get(name) if isinstance(update, Mapping) else None
        if not isinstance(message, Mapping):
            continue
        plain = {field: message[field] for field in PLAIN if field in message}
        try:
            read_so = _message({**update, name: plain}, plain, account, username, kind)
        except Exception:
            logger.debug("update %s has no envelope that we can read", _id(update))
            return None
        named = tuple(
            Attachment(field, "", described(field, body))
            for field, body in message.items()
            if field not in ENVELOPE and not field.startswith(FLAGS)
        )
        is_told = read_so.kind == "other" and named and not _is_for_nobody(plain)
        is_told = is_told and not SERVICE.intersection(message)
        return replace(
            read_so, kind=kind if is_told else read_so.kind, attachments=named, raw=dict(update)
        )
    return None


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
    try:
        content = json.dumps(update, sort_keys=True, default=str).encode()
    except (TypeError, ValueError, RecursionError):  # too deep, or with keys that have no order
        content = str(list(update)[:100]).encode() if isinstance(update, Mapping) else b""
    return f"unnumbered:{hashlib.sha256(content).hexdigest()[:32]}"


def _read(update: Json, account: str, username: str) -> InboundMessage | None:
    if "message" in update:
        message = update["message"]
        moved = _migrated(update, message, account)
        return moved or _message(update, message, account, username, "message")
    if "edited_message" in update:
        return _message(update, update["edited_message"], account, username, "edited")
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
    raw, _ = raw_text_of(message)
    payload = start_payload(raw, username)
    text = raw.split(maxsplit=1)[0] if payload else text_of(message, account)
    attachments = attachments_of(message)
    address = _address(message, account)
    if kind == "message" and not (text or attachments):
        kind = "other"  # a service message: somebody joined, a title changed
    if _is_for_nobody(message):
        kind = "other"
    return InboundMessage(
        address=address,
        event_id=str(update["update_id"]),
        message_id=str(message["message_id"]),
        sender=sender_of(writer_of(message), message.get("author_signature")),
        text=text,
        sent_at=float(message.get("edit_date") or message.get("date") or 0),
        kind=kind,
        quote=quote_of(message, account),
        attachments=attachments,
        is_addressed=not address.is_group
        or is_addressed(message, text or _words(attachments), account, username),
        album=str(message.get("media_group_id") or ""),
        forwarded_from=source_of(message, account),
        payload=payload or _through(message),
        raw=dict(update),
    )


def _words(attachments: Sequence[Attachment]) -> str:
    """The words of a poll or a list, which may name us as a text does."""
    return " ".join(each.name for each in attachments if not each.is_file)


def _through(message: Json) -> str:
    """Which bot a person let write the message, whose words they may be."""
    bot = message.get("via_bot")
    name = bot.get("username") if isinstance(bot, Mapping) else None
    return f"written by means of the bot @{name}" if isinstance(name, str) else ""


def _is_for_nobody(message: Json) -> bool:
    """Whether no answer is expected: bots that answer bots never end, posts of a channel are for
    its readers, chats of a business account belong to that account, and in the direct messages of
    a channel its admins write in the channel's name.
    """
    is_post = message["chat"].get("type") == "channel"
    if message["chat"].get("is_direct_messages") and message.get("sender_chat"):
        return True
    return is_bot(message) or is_post or bool(message.get("business_connection_id"))


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
        sender=sender_of(writer_of(message)),
        text=now,
        sent_at=float(message.get("date") or 0),
        kind="migrated",
        raw=dict(update),
    )


def _membership(update: Json, member: Json, account: str) -> InboundMessage:
    """Read whether the bot was let into a chat or put out of it."""
    now = member["new_chat_member"]
    is_out = now["status"] in ("kicked", "left") or now.get("is_member") is False
    return InboundMessage(
        address=_chat(member["chat"], account),
        event_id=str(update["update_id"]),
        message_id="",
        sender=sender_of(member["from"]),
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
        sender=sender_of(query["from"]),
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
        sender=sender_of(chat),
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
            sender=sender_of(sender if isinstance(sender, Mapping) else chat),
            text="",
            sent_at=0.0,
            kind="other",
            raw=dict(update),
        )
    return None


def _address(message: Json, account: str) -> Address:
    """Return the chat and its topic. General, the first topic of a forum, is the chat itself:
    messages there don't name it, and not each of them says that the chat is a forum.
    """
    thread = str(message.get("message_thread_id") or "") if message.get("is_topic_message") else ""
    topic = message.get("direct_messages_topic")
    if isinstance(topic, Mapping) and isinstance(topic.get("topic_id"), int):
        thread = direct_thread(topic["topic_id"])
    return _chat(message["chat"], account, thread)


def _chat(chat: Json, account: str, thread: str = "") -> Address:
    # The direct messages of a channel are one chat, in which each person has a topic alone.
    # Kinds of chats that come later are for more than one person, too.
    is_group = chat.get("type", "private") != "private" and not chat.get("is_direct_messages")
    if is_group and thread == GENERAL_TOPIC:
        thread = ""
    return Address("telegram", account, str(chat["id"]), thread, is_group)
