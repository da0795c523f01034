"""The Cloud API's webhook payloads read into InboundMessages and receipts.

Fields are added without notice and may be absent: nothing is assumed, everything is kept in `raw`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

from roost_channels.message import (
    OWN_BUTTONS,
    Address,
    InboundKind,
    InboundMessage,
    Quote,
    Sender,
)
from roost_channels.whatsapp.described import SILENT, identifier, plain, storable
from roost_channels.whatsapp.numbers import PREFIX, canonical, other_forms
from roost_channels.whatsapp_cloud import contents
from roost_channels.whatsapp_cloud.json_values import inner, objects, text

# The chat of events that name none.
UNREADABLE_CHAT = "unreadable"
PROBLEM_MAX = 300
GROUP_PREFIX = "whatsapp:group:"
SECONDS_DIGITS_MAX = 12
NUMBER_DIGITS_MAX = 20


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """One receipt. `part_id` is what we sent along, `errors` the provider's reasons."""

    message_id: str
    status: str
    part_id: str
    error_code: str
    description: str


@dataclass(frozen=True)
class Value:
    """One change of one phone number."""

    phone_number_id: str
    body: Mapping[str, Any]

    @cached_property
    def _people(self) -> Mapping[tuple[str, str], tuple[int, Mapping[str, Any]]]:
        """The contacts with their places, by (field, id): a batch may have thousands. Numbers are
        in their country's own form, as contact and message may have different ones.
        """
        known: dict[tuple[str, str], tuple[int, Mapping[str, Any]]] = {}
        for place, person in enumerate(objects(self.body.get("contacts"))):
            known.setdefault(("wa_id", _own_form(text(person, "wa_id"))), (place, person))
            known.setdefault(("user_id", text(person, "user_id")), (place, person))
        return known

    @cached_property
    def _alone(self) -> Mapping[str, Any]:
        people = objects(self.body.get("contacts"))
        return people[0] if len(people) == 1 else {}

    def contact(self, wa_id: str, user_id: str) -> Mapping[str, Any]:
        """Return what is told of a person, by either id; empty if nothing is. Without an id it is
        the only person of the batch.
        """
        if not (wa_id or user_id):
            return self._alone
        wanted = [key for key in (("wa_id", _own_form(wa_id)), ("user_id", user_id)) if key[1]]
        found = [self._people[key] for key in wanted if key in self._people]
        return min(found, key=itemgetter(0))[1] if found else {}

    def messages(self) -> Sequence[Any]:
        """Return what people sent, as it came."""
        found = self.body.get("messages")
        return found if isinstance(found, list) else [found] if found else []

    def statuses(self) -> Sequence[StatusSeen]:
        """Return the receipts of what we sent."""
        return [_status(item) for item in objects(self.body.get("statuses"))]

    def errors(self) -> Sequence[str]:
        """Return the problems of the account, in words."""
        return [_error(item)[1] for item in objects(self.body.get("errors"))]


def _own_form(wa_id: str) -> str:
    return canonical(f"{PREFIX}+{wa_id.removeprefix('+')}") if wa_id else ""


def values(payload: Mapping[str, Any]) -> Iterator[Value]:
    """Yield every change of the field `messages`, in order."""
    for entry in objects(payload.get("entry")):
        for change in objects(entry.get("changes")):
            body = inner(change, "value")
            if change.get("field") == "messages":
                yield Value(text(inner(body, "metadata"), "phone_number_id"), body)


def quoted(message: Any) -> str:
    """Return the id of the message replied to; a forwarded message has a context without one."""
    return identifier(text(inner(message, "context"), "id")) if isinstance(message, dict) else ""


def read(message: Any, value: Value, now: float, quote: Quote | None = None) -> InboundMessage:
    """Read an inbound message, whatever its type; what can't be read becomes a dead letter."""
    try:
        if not isinstance(message, dict):
            raise ValueError("not a JSON object")
        return _read(message, value, now, quote)
    except Exception as error:  # what nobody thought of must not hold up the messages around it
        return unreadable(message, value, now, error)


def unreadable(message: Any, value: Value, now: float, error: Exception) -> InboundMessage:
    """Make a dead letter: the payload as it came, and why it could not be read."""
    raw = message if isinstance(message, dict) else {"message": message}
    return InboundMessage(
        address=Address("whatsapp", value.phone_number_id, UNREADABLE_CHAT),
        event_id=identifier(text(raw, "id")) or _digest(raw),
        message_id="",
        sender=Sender(""),
        text="",
        sent_at=now,
        kind="other",
        problem=f"{type(error).__name__}: {error}"[:PROBLEM_MAX],
        raw=storable(raw),
    )


def _digest(raw: Mapping[str, Any]) -> str:
    """An id for an event without one: a redelivery has the same."""
    whole = json.dumps(storable(raw), sort_keys=True).encode()
    return f"unreadable:{hashlib.sha256(whole).hexdigest()[:32]}"


def _read(
    message: Mapping[str, Any], value: Value, now: float, quote: Quote | None
) -> InboundMessage:
    kind_of = text(message, "type")
    wamid = identifier(text(message, "id"))
    sender = _sender(message, value)
    if not wamid or not sender.address:
        raise ValueError("no id" if not wamid else "no sender")
    moved = _moved(message, sender) if kind_of == "system" else None
    former: tuple[str, ...] = ()
    if moved is not None:
        kept = (moved.address, *moved.aliases)
        former = tuple(name for name in (sender.address, *sender.aliases) if name not in kept)
        sender = moved
    kind: InboundKind = "message" if moved is None else "migrated"
    message_id, said = wamid, message
    if kind_of == "edit":
        edit = inner(message, "edit")
        kind, message_id = "edited", identifier(text(edit, "original_message_id")) or wamid
        said = inner(edit, "message") or {n: edit[n] for n in edit if n != "original_message_id"}
        if not said:  # nothing must replace what the person wrote
            raise ValueError("an edit without a message")
    elif kind_of == "revoke":
        kind = "revoked"
        message_id = identifier(text(inner(message, "revoke"), "original_message_id")) or wamid
    content, beside = contents.read_content(said), contents.beside(message)
    words = content.text
    if kind == "migrated":
        words = sender.address
    elif content.pressed.startswith(OWN_BUTTONS):
        kind, words = "callback", content.pressed
    elif kind_of in SILENT and kind == "message":
        kind = "other"
    return InboundMessage(
        address=_address(message, value),
        event_id=wamid,
        message_id=message_id,
        sender=sender,
        text=words,
        sent_at=_seconds(text(message, "timestamp"), now),
        kind=kind,
        quote=quote,
        attachments=(*content.attachments, *beside.attachments),
        is_addressed=not text(message, "group_id"),
        forwarded_from=contents.forwarded_from(message),
        payload="\n".join(filter(None, (content.payload, beside.payload))),
        answered_in_chat=kind == "callback",
        former_names=former,
        raw=storable(message),
    )


def _seconds(timestamp: str, now: float) -> float:
    is_known = timestamp.isdecimal() and len(timestamp) <= SECONDS_DIGITS_MAX
    return float(timestamp) if is_known else now


def _address(message: Mapping[str, Any], value: Value) -> Address:
    """A group has its own conversation, so that nobody is answered in private for words there."""
    group = text(message, "group_id")
    if group:
        chat = f"{GROUP_PREFIX}{identifier(group) or UNREADABLE_CHAT}"
        return Address("whatsapp", value.phone_number_id, chat, is_group=True)
    return Address("whatsapp", value.phone_number_id, _sender(message, value).address)


def _moved(message: Mapping[str, Any], was: Sender) -> Sender | None:
    """Who a person is after a change of number; None for other system messages.

    With a number that WhatsApp does not tell us, only the business-scoped id changes.
    """
    change = inner(message, "system")
    names = _names(
        text(change, "wa_id") or text(change, "new_wa_id"),
        text(change, "user_id") or text(change, "new_user_id"),
    )
    is_change = text(change, "type").endswith(("changed_number", "changed_user_id"))
    if not is_change or text(message, "group_id") or not names or names[0] == was.address:
        return None
    return Sender(names[0], aliases=tuple(names[1:]))


def _sender(message: Mapping[str, Any], value: Value) -> Sender:
    """Return the writer by phone number, else by business-scoped id; the other becomes an alias."""
    wa_id, user_id = text(message, "from"), text(message, "from_user_id")
    if text(message, "type") == "system":  # which tells in its content who the person was
        user_id = user_id or text(inner(message, "system"), "previous_user_id")
    contact = value.contact(wa_id, user_id)
    if not (wa_id or user_id):
        wa_id = text(contact, "wa_id")
    names = _names(wa_id, user_id or text(contact, "user_id"))
    profile = inner(contact, "profile")
    return Sender(
        names[0] if names else "",
        text(profile, "name"),
        text(profile, "username"),
        tuple(names[1:]),
    )


def _names(wa_id: str, user_id: str) -> list[str]:
    """The names of one person: the number as it came, the id, the number's other forms."""
    digits = wa_id.removeprefix("+")
    names = []
    if digits.isascii() and digits.isdigit() and len(digits) <= NUMBER_DIGITS_MAX:
        names.append(f"whatsapp:+{digits}")
    if identifier(user_id):
        names.append(f"whatsapp:{user_id}")
    return [*names, *(other_forms(names[0]) if names else ())]


def _status(item: Mapping[str, Any]) -> StatusSeen:
    errors = [_error(error) for error in objects(item.get("errors"))]
    code, words = errors[0] if errors else ("", "")
    return StatusSeen(
        identifier(text(item, "id")),
        plain(text(item, "status")),
        plain(text(item, "biz_opaque_callback_data"), 512),
        code,
        words,
    )


def _error(error: Mapping[str, Any]) -> tuple[str, str]:
    code = error.get("code")
    words = (text(error, "title"), text(inner(error, "error_data"), "details"))
    known = plain(str(code if code is not None else ""))
    return known, plain(": ".join(word for word in words if word), PROBLEM_MAX)
