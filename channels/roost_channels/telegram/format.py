"""Parts, replies and buttons in the form of the Bot API: entities, never `parse_mode`."""

import re
from collections.abc import Sequence
from typing import Any

from roost_channels.channel import Outgoing
from roost_channels.message import Button, ReplyTarget
from roost_channels.rendering.cutting import shortened
from roost_channels.rendering.parts import RenderedPart, utf16_length

QUOTE_MAX = 1024
PRESS_ANSWER_MAX = 200  # characters; more is refused, and nothing is shown
ROW_BUTTONS_MAX = 4
ROW_CHARS_MAX = 36  # of the labels of one row, as much as a telephone shows
# What may make Telegram fetch an address when it lays a rich message out: an image, or a tag.
_MEDIA = re.compile(r"!\[|<[A-Za-z]")


def text(part: RenderedPart) -> dict[str, Any]:
    """Return the text of a message or an edit, without a preview of its links.

    For a preview Telegram asks the address at once, whoever wrote it and whatever it carries.
    """
    return {
        "text": part.text,
        "entities": entities(part),
        "link_preview_options": {"is_disabled": True},
    }


def press_answer(callback_id: str, said: str) -> dict[str, Any]:
    """Return the answer to a pressed button, its words cut to what Telegram takes."""
    answer: dict[str, Any] = {"callback_query_id": callback_id}
    if len(said) > PRESS_ANSWER_MAX:
        said = f"{shortened(said, PRESS_ANSWER_MAX - 1)}…"
    return answer | ({"text": said} if said else {})


def may_fetch(markdown: str) -> bool:
    """Return whether Telegram may fetch an address to lay this Markdown out."""
    return _MEDIA.search(markdown) is not None


def entities(part: RenderedPart) -> list[dict[str, Any]] | None:
    """Return a part's formatting, None where there is none."""
    return [
        {
            "type": entity.type,
            "offset": entity.offset,
            "length": entity.length,
            **({"url": entity.url} if entity.url else {}),
            **({"language": entity.language} if entity.language else {}),
        }
        for entity in part.entities
    ] or None


def keyboard(buttons: Sequence[Button]) -> dict[str, Any] | None:
    """Return the buttons in rows, None without buttons. An edit without a keyboard removes it.

    Buttons of a row share its width, so long labels get rows of their own.
    """
    if not buttons:
        return None
    rows: list[list[dict[str, str]]] = []
    room = 0
    for button in buttons:
        if not rows or len(button.label) > room or len(rows[-1]) == ROW_BUTTONS_MAX:
            rows.append([])
            room = ROW_CHARS_MAX
        rows[-1].append({"text": button.label, "callback_data": button.data})
        room -= len(button.label)
    return {"inline_keyboard": rows}


def asking(message: Outgoing) -> dict[str, Any] | None:
    """Return what goes below a message: its buttons, or an opened reply for an answer in words."""
    if message.asks and not message.buttons:
        return {"force_reply": True, "selective": True}
    return keyboard(message.buttons)


def reply_parameters(reply: ReplyTarget | None) -> dict[str, Any] | None:
    """Return a native reply that is sent even if its target is gone; None without a message id."""
    if reply is None or not reply.message_id.isdigit():
        return None
    quote, position = checked_quote(reply)
    parameters: dict[str, Any] = {
        "message_id": int(reply.message_id),
        "allow_sending_without_reply": True,
    }
    if quote:
        parameters["quote"] = quote
    if position is not None:
        parameters["quote_position"] = position
    return parameters


def checked_quote(reply: ReplyTarget) -> tuple[str, int | None]:
    """Return the quote and its UTF-16 position if Telegram will find it, ("", None) otherwise.

    The quote must be an exact part of the target, whose text the reply carries as `excerpt` where
    it is known. Of several occurrences the one nearest to the wanted position is meant.
    """
    quote = reply.quote.strip()
    if not quote or utf16_length(quote) > QUOTE_MAX:
        return "", None
    text = reply.excerpt
    if not text or quote == text:
        return quote, reply.utf16_start
    places: list[int] = []
    position, before = 0, 0  # in characters, and the UTF-16 units before it
    place = text.find(quote)
    while place >= 0:
        before += utf16_length(text[position:place])
        position = place
        places.append(before)
        place = text.find(quote, place + 1)
    if not places:
        return "", None
    wanted = reply.utf16_start or 0
    return quote, min(places, key=lambda place: abs(place - wanted))
