"""What a Telegram message holds beside its text: files, places, and what it refers to."""

from collections.abc import Mapping
from typing import Any

from roost_channels.message import Attachment, Author, Quote

Json = Mapping[str, Any]

_MEDIA = ("voice", "audio", "video", "video_note", "animation", "document", "sticker")


def attachments_of(message: Json) -> tuple[Attachment, ...]:
    """Read what came with a message: files by their ids, a place or a poll in words."""
    attachments = []
    if photo := message.get("photo"):
        attachments.append(_file("photo", photo[-1]))  # sizes come smallest first
    for kind in _MEDIA:
        # An animation repeats itself as a document.
        if (body := message.get(kind)) and not (kind == "document" and "animation" in message):
            attachments.append(_file(kind, body))
    if place := message.get("venue") or message.get("location"):
        point = place.get("location", place)
        words = (f"{point['latitude']},{point['longitude']}", place.get("title", ""))
        attachments.append(Attachment("location", "", " ".join(word for word in words if word)))
    if contact := message.get("contact"):
        words = (contact.get("first_name", ""), contact.get("phone_number", ""))
        attachments.append(Attachment("contact", "", " ".join(word for word in words if word)))
    if poll := message.get("poll"):
        attachments.append(Attachment("poll", str(poll.get("id", "")), poll.get("question", "")))
    if dice := message.get("dice"):
        attachments.append(
            Attachment("dice", "", f"{dice.get('emoji', '')} {dice.get('value', '')}")
        )
    return tuple(attachments)


def _file(kind: str, body: Json) -> Attachment:
    return Attachment(
        kind=kind,
        provider_id=body.get("file_id", ""),
        name=body.get("file_name") or body.get("emoji") or "",
        mime_type=body.get("mime_type") or "",
        size=body.get("file_size"),
    )


def quote_of(message: Json, account: str) -> Quote | None:
    """Read what the message refers to. A bot has no history to ask: the update's copy is kept."""
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
        origin = external.get("origin") or {}
        sender = {"from": origin.get("sender_user") or {}}
        # A message of this chat, from another topic, has an id that we may know; others have none.
        is_here = (external.get("chat") or {}).get("id") == message["chat"]["id"]
        ref = external.get("message_id") if is_here else None
        return Quote(
            ref=None if ref is None else str(ref),
            author=_author(sender, message, account),
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
    """Return a message's text, or the name of its kind where it has none."""
    text = message.get("text") or message.get("caption")
    if text:
        return str(text)
    return " ".join(f"[{attachment.kind}]" for attachment in attachments_of(message))


def _author(replied: Json, message: Json, account: str) -> Author:
    who = str((replied.get("from") or {}).get("id", ""))
    if who == account:
        return "bot"
    return "user" if who == str((message.get("from") or {}).get("id", "-")) else "other"
