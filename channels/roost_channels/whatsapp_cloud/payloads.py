"""The Cloud API's webhook payloads read into InboundMessages and receipts.

Fields are added without notice and may be absent: nothing is assumed, everything is kept in `raw`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost_channels.message import (
    STOP_BUTTON,
    Address,
    Attachment,
    InboundKind,
    InboundMessage,
    Quote,
    Sender,
)

_MEDIA = {
    "image": "photo",
    "sticker": "sticker",
    "audio": "audio",
    "video": "video",
    "document": "document",
}
# Kept in the inbox and never answered.
_SILENT = ("reaction", "revoke", "system", "request_welcome", "ephemeral")


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """One receipt. `part_id` is what we sent along, `errors` the provider's reasons."""

    message_id: str
    status: str
    part_id: str
    error_code: str
    description: str


@dataclass(frozen=True, slots=True)
class Value:
    """One change of one phone number."""

    phone_number_id: str
    body: Mapping[str, Any]

    def messages(self) -> Sequence[Mapping[str, Any]]:
        """Return what people sent."""
        return objects(self.body.get("messages"))

    def statuses(self) -> Sequence[StatusSeen]:
        """Return the receipts of what we sent."""
        return [_status(item) for item in objects(self.body.get("statuses")) if item.get("id")]

    def errors(self) -> Sequence[str]:
        """Return the problems of the account, in words."""
        return [_error(item)[1] for item in objects(self.body.get("errors"))]


def values(payload: Mapping[str, Any]) -> Iterator[Value]:
    """Yield every change of the field `messages`, in order."""
    for entry in objects(payload.get("entry")):
        for change in objects(entry.get("changes")):
            body = inner(change, "value")
            if change.get("field") == "messages":
                yield Value(text(inner(body, "metadata"), "phone_number_id"), body)


def quoted(message: Mapping[str, Any]) -> str:
    """Return the id of the message replied to; a forwarded message has a context without one."""
    return text(inner(message, "context"), "id")


def read(
    message: Mapping[str, Any], value: Value, now: float, quote: Quote | None = None
) -> InboundMessage:
    """Read an inbound message, whatever its type."""
    kind_of = text(message, "type")
    wamid = text(message, "id")
    sender = _sender(message, value)
    kind: InboundKind = "message"
    message_id, content = wamid, message
    if kind_of == "edit":
        edit = inner(message, "edit")
        kind, message_id = "edited", text(edit, "original_message_id") or wamid
        content = inner(edit, "message")
    words, pressed = _words(content)
    attachments = _attachments(content)
    if pressed.startswith(STOP_BUTTON):
        kind, words = "callback", pressed
    elif kind_of in _SILENT or not (words or attachments):
        kind = "other"
    sent_at = text(message, "timestamp")
    return InboundMessage(
        address=Address("whatsapp", value.phone_number_id, sender.address),
        event_id=wamid,
        message_id=message_id,
        sender=sender,
        text=words,
        sent_at=float(sent_at) if sent_at.isdecimal() else now,
        kind=kind,
        quote=quote,
        attachments=attachments,
        answered_in_chat=kind == "callback",
        raw=dict(message),
    )


def _words(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return (text, data of a pressed button)."""
    kind = text(message, "type")
    content = inner(message, kind)
    if kind == "text":
        return text(content, "body"), ""
    if kind == "button":  # under a template
        return text(content, "text"), text(content, "payload")
    if kind == "interactive":
        chosen = inner(content, "button_reply") or inner(content, "list_reply")
        return text(chosen, "title"), text(chosen, "id")
    return (text(content, "caption"), "") if kind in _MEDIA else ("", "")


def _attachments(message: Mapping[str, Any]) -> tuple[Attachment, ...]:
    kind = text(message, "type")
    content = inner(message, kind)
    if kind in _MEDIA:
        name = text(content, "filename")
        shown = "voice" if content.get("voice") is True else _MEDIA[kind]
        media = Attachment(shown, text(content, "id"), name, text(content, "mime_type"))
        return (media,)
    if kind == "location":
        place = f"{content.get('latitude')},{content.get('longitude')}"
        words = (place, text(content, "name"), text(content, "address"))
        return (Attachment("location", "", " ".join(word for word in words if word)),)
    if kind == "contacts":
        people = objects(message.get("contacts"))
        names = [text(inner(person, "name"), "formatted_name") for person in people]
        return (Attachment("contact", "", ", ".join(name for name in names if name)),)
    if kind in ("text", "button", "interactive", "edit", *_SILENT):
        return ()
    # A type that is newer than this code, or undocumented: the agent is told its name.
    return (Attachment("".join(filter(str.isalnum, kind))[:20] or "message", ""),)


def _sender(message: Mapping[str, Any], value: Value) -> Sender:
    """Return the writer by phone number, else by business-scoped id; the other becomes an alias."""
    wa_id, user_id = text(message, "from"), text(message, "from_user_id")
    contact: Mapping[str, Any] = next(
        (
            person
            for person in objects(value.body.get("contacts"))
            if (wa_id and person.get("wa_id") == wa_id)
            or (user_id and person.get("user_id") == user_id)
        ),
        {},
    )
    user_id = user_id or text(contact, "user_id")
    names = [f"whatsapp:+{wa_id}"] if wa_id.isdigit() else []
    names += [f"whatsapp:{user_id}"] if user_id else []
    profile = inner(contact, "profile")
    return Sender(
        names[0] if names else "",
        text(profile, "name"),
        text(profile, "username"),
        tuple(names[1:]),
    )


def _status(item: Mapping[str, Any]) -> StatusSeen:
    errors = [_error(error) for error in objects(item.get("errors"))]
    code, words = errors[0] if errors else ("", "")
    return StatusSeen(
        text(item, "id"), text(item, "status"), text(item, "biz_opaque_callback_data"), code, words
    )


def _error(error: Mapping[str, Any]) -> tuple[str, str]:
    code = error.get("code")
    words = (text(error, "title"), text(inner(error, "error_data"), "details"))
    return str(code if code is not None else ""), ": ".join(word for word in words if word)


def objects(value: Any) -> Sequence[Mapping[str, Any]]:
    """Return the JSON objects of a list, and nothing if it is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the JSON object under a name, an empty one where there is none."""
    inside = value.get(name)
    return inside if isinstance(inside, dict) else {}


def text(value: Mapping[str, Any], name: str) -> str:
    """Return the string under a name, the empty string where there is none."""
    inside = value.get(name)
    return inside if isinstance(inside, str) else ""
