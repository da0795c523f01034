"""What a Telegram message refers to: a bot has no history to ask, so the update's copy is kept."""

from collections.abc import Mapping
from typing import Any

from roost_channels.message import FILE_KINDS, Attachment, Author, Quote
from roost_channels.telegram.forums import opens_topic
from roost_channels.telegram.inbound.contents import attachments_of, line_of, text_of
from roost_channels.telegram.inbound.described import described
from roost_channels.telegram.inbound.entities import with_addresses
from roost_channels.telegram.inbound.people import Json, writer_of

# Which of a list's items is meant: the field that says it, the list's holder, the list, its id.
_ITEMS = (
    ("reply_to_checklist_task_id", "checklist", "tasks", "id"),
    ("reply_to_poll_option_id", "poll", "options", "persistent_id"),
)


def quote_of(message: Json, account: str) -> Quote | None:
    """Read what the message refers to, with the files of it."""
    replied = message.get("reply_to_message")
    if isinstance(replied, Mapping) and not opens_topic(replied, message):
        author = _author(writer_of(replied), message, account)
        return _quote(str(replied["message_id"]), author, replied, message)
    external = message.get("external_reply")
    if isinstance(external, Mapping):
        origin = external.get("origin")
        author = _author(_origin_writer(origin), message, account)
        # A message of this chat, from another topic, has an id that we may know; others have none.
        chat = external.get("chat")
        is_here = isinstance(chat, Mapping) and chat.get("id") == message["chat"]["id"]
        ref = external.get("message_id") if is_here else None
        return _quote(None if ref is None else str(ref), author, external, message)
    story = message.get("reply_to_story")
    if story:
        words = line_of(Attachment("story", "", described("story", story)))
        return Quote(ref=None, author="other", text=words, excerpt=words)
    return None


def _quote(ref: str | None, author: Author, quoted: Json, message: Json) -> Quote:
    """A quote of `quoted`; a passage that the person selected is the excerpt.

    The place of a passage counts in the text as it was sent, so that text stays without addresses.
    """
    selected = message.get("quote")
    chosen: Json = selected if isinstance(selected, Mapping) else {}
    passage = with_addresses(str(chosen.get("text") or ""), chosen.get("entities"))
    position = chosen.get("position")
    plain = str(quoted.get("text") or quoted.get("caption") or "")
    attached = attachments_of(quoted)
    lines = [line_of(each) for each in attached]
    text = (plain if passage else text_of(quoted)) or passage or " ".join(lines) or _link(quoted)
    others = [line_of(each) for each in attached if each.kind not in FILE_KINDS]
    if text_of(quoted) and others and not passage:
        text = "\n".join([text, *others])
    return Quote(
        ref=ref,
        author=author,
        text=text,
        excerpt=passage or _item(quoted, message) or text,
        utf16_start=position if isinstance(position, int) else None,
        is_manual=bool(chosen.get("is_manual")),
        resolved=bool(text),
        files=tuple(each for each in attached if each.is_file),
    )


def _link(quoted: Json) -> str:
    """The link of a text from elsewhere, of which Telegram gives nothing else."""
    preview = quoted.get("link_preview_options")
    url = preview.get("url") if isinstance(preview, Mapping) else None
    return f"[link: {url}]" if isinstance(url, str) else ""


def _item(quoted: Json, message: Json) -> str:
    """The task of a checklist or the option of a poll that the message replies to."""
    for field, holder, items, id_field in _ITEMS:
        wanted, body = message.get(field), quoted.get(holder)
        listed = body.get(items) if isinstance(body, Mapping) else None
        if wanted is None or not isinstance(listed, list):
            continue
        for item in listed:
            if isinstance(item, Mapping) and item.get(id_field) == wanted:
                return str(item.get("text") or "")
    return ""


def _origin_writer(origin: Any) -> Json:
    if not isinstance(origin, Mapping):
        return {}
    return origin.get("sender_user") or origin.get("sender_chat") or origin.get("chat") or {}


def _author(writer: Any, message: Json, account: str) -> Author:
    who = str(writer.get("id", "")) if isinstance(writer, Mapping) else ""
    if who == account:
        return "bot"
    return "user" if who == str(writer_of(message).get("id", "-")) else "other"
