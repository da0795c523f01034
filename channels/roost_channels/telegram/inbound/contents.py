"""What a Telegram message holds: its text with addresses, its files, and all else in words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from roost_channels.message import Attachment
from roost_channels.names import plain_name
from roost_channels.telegram.inbound.described import DESCRIBERS, described
from roost_channels.telegram.inbound.entities import with_addresses
from roost_channels.telegram.inbound.fields import ENVELOPE, FLAGS, SERVICE
from roost_channels.telegram.inbound.people import Json
from roost_channels.telegram.inbound.words import NODES_MAX, rich_words

FILES_MAX = 20  # files of one message: of paid media and rich messages
UNKNOWN_MAX = 20  # fields of one message that we never heard of
KIND_MAX = 64  # characters of such a field's name
_PREVIEWS = frozenset({"thumbnail", "thumb", "cover"})
_FILES = ("voice", "audio", "video", "video_note", "animation", "document", "sticker")
_NOT_A_KIND = re.compile(r"\W+")


def raw_text_of(message: Json) -> tuple[str, Any]:
    """The text or the caption as it came, and its entities."""
    for name, entities in (("text", "entities"), ("caption", "caption_entities")):
        if text := message.get(name):
            return str(text), message.get(entities)
    return "", None


def text_of(message: Json, account: str = "") -> str:
    """What a message says, with the addresses of its links; empty for one without words."""
    text, entities = raw_text_of(message)
    return (
        with_addresses(text, entities, account) if text else rich_words(message.get("rich_message"))
    )


def attachments_of(message: Json) -> tuple[Attachment, ...]:
    """What came with a message: files by their ids, all else in words.

    Of a message that has nothing we know, what it has is named: nothing is passed over.
    """
    attachments = _files(message)
    for kind, body in message.items():
        # A venue repeats its place.
        if kind in DESCRIBERS and body and not (kind == "location" and message.get("venue")):
            attachments.append(Attachment(kind, _id(body), described(kind, body)))
    if attachments or text_of(message) or SERVICE.intersection(message):
        return tuple(attachments)
    return _unknown(message)


def line_of(attachment: Attachment) -> str:
    """What came with a message, on a line for who reads of it: `[poll: Lunch? …]`."""
    name = plain_name(attachment.name)
    words = f": {name}" if name else ""
    return f"[{attachment.kind}{words}]"


def _files(message: Json) -> list[Attachment]:
    attachments = []
    live = message.get("live_photo")
    if photo := message.get("photo"):
        attachments.append(_file("photo", _largest(photo)))
    elif isinstance(live, Mapping):
        attachments.append(_live(live))
    for kind in _FILES:
        # An animation repeats itself as a document.
        if (body := message.get(kind)) and not (kind == "document" and "animation" in message):
            attachments.append(_file(kind, body))
    for holder in ("paid_media", "rich_message"):
        attachments += _inner_files(message.get(holder))
    attachments += _files_within("poll", message.get("poll"))
    return attachments


def _inner_files(holder: Any) -> list[Attachment]:
    """The files within paid media, or within the blocks of a rich message."""
    found: list[Attachment] = []
    rest, nodes_left = [holder], NODES_MAX
    while rest and nodes_left and len(found) < FILES_MAX:
        nodes_left -= 1
        part = rest.pop()
        if isinstance(part, list):
            rest.extend(reversed(part))
        elif isinstance(part, Mapping):
            kind = "voice" if part.get("type") == "voice_note" else str(part.get("type"))
            body = part.get(str(part.get("type")))
            if kind == "photo" and isinstance(body, list) and body:
                found.append(_file(kind, _largest(body)))
            elif kind == "live_photo" and isinstance(body, Mapping):
                found.append(_live(body))
            elif kind in _FILES and isinstance(body, Mapping):
                found.append(_file(kind, body))
            else:
                rest.extend(
                    each for each in reversed(tuple(part.values())) if isinstance(each, list | dict)
                )
    return found


def _files_within(name: str, value: Any) -> list[Attachment]:
    """The files at any depth of content whose form we don't know, by the names of their fields."""
    found: list[Attachment] = []
    rest, nodes_left = [(name, value)], NODES_MAX
    while rest and nodes_left and len(found) < FILES_MAX:
        nodes_left -= 1
        key, part = rest.pop()
        if isinstance(part, Mapping) and isinstance(part.get("file_id"), str):
            file = _file(key if key in _FILES or key == "photo" else "document", part)
            found.append(replace(file, name=file.name or (key if file.kind == "document" else "")))
        elif isinstance(part, Mapping):
            shown = [each for each in part.items() if str(each[0]) not in _PREVIEWS]
            rest.extend((str(key), each) for key, each in reversed(shown))
        elif isinstance(part, list) and key == "photo":
            rest += [(key, _largest(part))] if part else []
        elif isinstance(part, list):
            rest.extend((key, each) for each in reversed(part))
    return found


def _live(body: Json) -> Attachment:
    """The picture of a live photo, or its film where it comes without one."""
    photo = body.get("photo")
    if isinstance(photo, list) and photo:
        return _file("photo", _largest(photo))
    return _file("video", body)


def _largest(sizes: Sequence[Any]) -> Any:
    """The largest of a photo's sizes; the last where none says how large it is."""
    return max(enumerate(sizes), key=lambda each: (_pixels(each[1]), each[0]))[1]


def _pixels(size: Any) -> int:
    sides = (size.get("width"), size.get("height")) if isinstance(size, Mapping) else (0, 0)
    width, height = sides
    return width * height if isinstance(width, int) and isinstance(height, int) else 0


def _file(kind: str, body: Json) -> Attachment:
    title = " - ".join(str(body[name]) for name in ("performer", "title") if body.get(name))
    size = body.get("file_size")
    return Attachment(
        kind=kind,
        provider_id=str(body.get("file_id") or ""),
        name=str(body.get("file_name") or title or body.get("emoji") or ""),
        mime_type=str(body.get("mime_type") or ""),
        size=size if isinstance(size, int) else None,
    )


def _unknown(message: Json) -> tuple[Attachment, ...]:
    """Fields that we never heard of, by their names; the files in them are fetched."""
    found: list[Attachment] = []
    for name, body in message.items():
        is_content = name not in ENVELOPE and not name.startswith(FLAGS)
        if not is_content or body is None or body is False or body == "":
            continue
        if len(found) >= UNKNOWN_MAX:
            break
        kind = _NOT_A_KIND.sub("_", name)[:KIND_MAX]
        files, words = _files_within(kind, body), described(name, body)
        found += files
        if words or not files:
            found.append(Attachment(kind, "", words))
    return tuple(found)


def _id(body: Any) -> str:
    return str(body.get("id") or "") if isinstance(body, Mapping) else ""
