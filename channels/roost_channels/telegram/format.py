"""Our parts, replies and buttons as the Bot API wants them; entities always, never parse_mode."""

from collections.abc import Sequence
from typing import Any

from roost_channels.message import Button, ReplyTarget
from roost_channels.rendering.parts import RenderedPart, utf16_length

QUOTE_MAX = 1024


def entities(part: RenderedPart) -> list[dict[str, Any]] | None:
    """A part's formatting; None where there is none."""
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
    """One row of buttons; an edit without a keyboard removes it."""
    if not buttons:
        return None
    row = [{"text": button.label, "callback_data": button.data} for button in buttons]
    return {"inline_keyboard": [row]}


def reply_parameters(reply: ReplyTarget | None) -> dict[str, Any] | None:
    """A native reply that survives the loss of its target; None for what is no message id."""
    if reply is None or not reply.message_id.isdigit():
        return None
    quote, position = checked_quote(reply)
    given: dict[str, Any] = {
        "message_id": int(reply.message_id),
        "allow_sending_without_reply": True,
    }
    if quote:
        given["quote"] = quote
    if position is not None:
        given["quote_position"] = position
    return given


def checked_quote(reply: ReplyTarget) -> tuple[str, int | None]:
    """The quote if Telegram will find it, and its UTF-16 position; ("", None) otherwise.

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
    found = text.find(quote)
    while found >= 0:
        before += utf16_length(text[position:found])
        position = found
        places.append(before)
        found = text.find(quote, found + 1)
    if not places:
        return "", None
    wanted = reply.utf16_start or 0
    return quote, min(places, key=lambda place: abs(place - wanted))
