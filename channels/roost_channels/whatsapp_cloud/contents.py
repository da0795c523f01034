"""What a message of the Cloud API says: a reader for each type, and words for those without one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from roost_channels.message import Attachment
from roost_channels.whatsapp.described import (
    SILENT,
    choice_words,
    described,
    from_json,
    kind_name,
    plain,
)
from roost_channels.whatsapp_cloud.json_values import inner, objects, text

MEDIA = {
    "image": "photo",
    "sticker": "sticker",
    "audio": "audio",
    "voice": "voice",
    "video": "video",
    "document": "document",
}
# What stands around the content in every message.
_ENVELOPE = frozenset(
    {"id", "from", "from_user_id", "from_parent_user_id", "to", "timestamp", "type", "context"}
    | {"group_id", "referral", "identity", "username"}
)
CONTACTS_MAX = 10
FILES_MAX, NODES_MAX = 10, 2000  # of a content without a reader
ITEMS_MAX = 30
FORM_WORDS_MAX, FORM_VALUE_MAX = 3000, 1000
FILE_NAME_MAX = 150
# Of a contact, what is told in words of its own.
_CONTACT = frozenset({"name", "phones", "emails", "urls"})
# Part of a form's answers, and no word of the person.
_HIDDEN_FIELDS = frozenset({"flow_token"})
# What the app writes for a person who sent a form.
_FORM_LABELS = frozenset({"Sent", ""})
_TRUE = (True, "true")
# Of an advertisement, what says most goes first.
_REFERRAL = ("headline", "body", "source_type", "source_url", "source_id")
WELCOME = "the person opened this chat for the first time and has not written yet"


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says: the person's words, what is attached, and what came along.

    pressed: the data of the button that the message is.
    """

    text: str = ""
    attachments: tuple[Attachment, ...] = ()
    payload: str = ""
    pressed: str = ""


def read_content(message: Mapping[str, Any]) -> Content:
    """Read a message by its type; one without a reader, or without what it reads, is described."""
    kind = text(message, "type") or next((one for one in message if one in _READERS), "")
    if kind and "type" not in message:
        message = {**message, "type": kind}
    reader = _READERS.get(kind)
    content = reader(message) if reader is not None else Content()
    if not content.text and not content.attachments:
        content = replace(content, attachments=media_within(message.get(kind)))
    if content.text or content.attachments or content.pressed or kind in (*SILENT, "edit"):
        return content if kind == "unsupported" else _with_problem(message, content)
    return Content(attachments=(_unknown(message, kind),), payload=content.payload)


def _with_problem(message: Mapping[str, Any], content: Content) -> Content:
    """The content with what WhatsApp says was wrong with it, such as a file that is not there."""
    words = plain("; ".join(filter(None, _reasons(message))), 400)
    if not words or not content.attachments:
        return content
    return replace(content, attachments=(*content.attachments, Attachment("problem", "", words)))


def media_within(value: Any) -> tuple[Attachment, ...]:
    """The files at any depth of content that has no reader, such as pictures in a form."""
    found: list[Attachment] = []
    rest, left = [value], NODES_MAX
    while rest and left and len(found) < FILES_MAX:
        left -= 1
        part = rest.pop()
        if isinstance(part, Mapping):
            id, mime = text(part, "id"), text(part, "mime_type")
            if id and mime:
                kind = MEDIA.get(mime.partition("/")[0], "document")
                name = plain(text(part, "filename") or text(part, "file_name"), FILE_NAME_MAX)
                found.append(Attachment(kind, id, name, plain(mime)))
            else:
                rest.extend(reversed(tuple(part.values())))
        elif isinstance(part, list | tuple):
            rest.extend(reversed(part))
    return tuple(found)


def _unknown(message: Mapping[str, Any], kind: str) -> Attachment:
    """A type that is newer than this code, or whose content is not what it was."""
    known = message.get(kind)
    if known in (None, {}, ""):
        known = {name: item for name, item in message.items() if name not in _ENVELOPE}
        if not kind and len(known) == 1:
            kind = next(iter(known))
            known = known[kind]
    return _told(kind, described(known))


def _told(kind: str, words: str) -> Attachment:
    return Attachment(kind_name(kind), "", words)


def _text(message: Mapping[str, Any]) -> Content:
    return Content(text(inner(message, "text"), "body"))


def _button(message: Mapping[str, Any]) -> Content:
    """A quick reply under a template."""
    button = inner(message, "button")
    return _press(text(button, "text"), text(button, "payload"))


def _press(title: str, data: str, description: str = "") -> Content:
    words, more = choice_words(title, description)
    payload = (f"button: {data}" if data and data != title else "", more)
    return Content(words or data, payload="\n".join(filter(None, payload)), pressed=data)


def _interactive(message: Mapping[str, Any]) -> Content:
    content = inner(message, "interactive")
    chosen = inner(content, "button_reply") or inner(content, "list_reply")
    if chosen:
        return _press(text(chosen, "title"), text(chosen, "id"), text(chosen, "description"))
    form = inner(content, "nfm_reply")
    if form:
        return _form(form)
    kind = text(content, "type") or "interactive"
    return Content(attachments=(_told(kind, described(content.get(kind, content))),))


def _form(form: Mapping[str, Any]) -> Content:
    """The answers of a form, by the names that its maker gave the fields."""
    answers = form.get("response_json")
    if isinstance(answers, str):
        answers = from_json(answers)
    hidden = ""
    if isinstance(answers, Mapping):
        hidden = described({n: v for n, v in answers.items() if n in _HIDDEN_FIELDS})
        answers = {n: v for n, v in answers.items() if n not in _HIDDEN_FIELDS}
    name, body = text(form, "name"), text(form, "body")
    shown = Attachment("form", "", described(answers, FORM_WORDS_MAX, FORM_VALUE_MAX))
    if name not in ("", "flow"):
        shown = Attachment(kind_name(name), "", shown.name)
    words = "" if body in _FORM_LABELS else body
    files = media_within(answers)
    return Content(words, (shown, *files), f"form: {hidden}" if hidden else "")


def _media(message: Mapping[str, Any]) -> Content:
    kind = text(message, "type")
    content = inner(message, kind)
    shown = "voice" if content.get("voice") is True else MEDIA[kind]
    name = plain(text(content, "filename"), FILE_NAME_MAX)
    file = Attachment(shown, text(content, "id"), name, plain(text(content, "mime_type")))
    return Content(text(content, "caption"), (file,))


def _location(message: Mapping[str, Any]) -> Content:
    content = inner(message, "location")
    place = [str(content[name]) for name in ("latitude", "longitude") if _is_number(content, name)]
    words = [",".join(place), *(text(content, name) for name in ("name", "address", "url"))]
    told = plain(" ".join(word for word in words if word), 500)
    return Content(attachments=(Attachment("location", "", told),) if told else ())


def _is_number(content: Mapping[str, Any], name: str) -> bool:
    value = content.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number or (isinstance(value, str) and bool(value))


def _contacts(message: Mapping[str, Any]) -> Content:
    people = objects(message.get("contacts"))
    shown = [Attachment("contact", "", _contact(person)) for person in people[:CONTACTS_MAX]]
    if len(people) > CONTACTS_MAX:
        shown.append(Attachment("contacts", "", f"and {len(people) - CONTACTS_MAX} more"))
    return Content(attachments=tuple(shown))


def _contact(person: Mapping[str, Any]) -> str:
    """`Ben Ng, +1 555 123 4567 (CELL), ben@x.example, Acme`."""
    words = [text(inner(person, "name"), "formatted_name") or described(person.get("name"))]
    for phone in objects(person.get("phones")):
        number = text(phone, "phone") or _plus(text(phone, "wa_id"))
        words.append(_typed(number, text(phone, "type")))
    words += [_typed(text(m, "email"), text(m, "type")) for m in objects(person.get("emails"))]
    words += [_typed(text(u, "url"), text(u, "type")) for u in objects(person.get("urls"))]
    told = {name for name in _CONTACT if name == "name" or objects(person.get(name))}
    words.append(described({name: value for name, value in person.items() if name not in told}))
    return plain(", ".join(word for word in words if word), 600)


def _plus(wa_id: str) -> str:
    return f"+{wa_id}" if wa_id.isdigit() else wa_id


def _typed(value: str, kind: str) -> str:
    return f"{value} ({kind})" if value and kind else value


def _order(message: Mapping[str, Any]) -> Content:
    """`2 x SKU-1 at 10.5 EUR; 1 x SKU-2 at 3 EUR; catalog 42`."""
    order = inner(message, "order")
    items = objects(order.get("product_items"))
    words = [_item(item) for item in items[:ITEMS_MAX]]
    if len(items) > ITEMS_MAX:
        words.append(f"and {len(items) - ITEMS_MAX} more")
    if catalog := text(order, "catalog_id"):
        words.append(f"catalog {catalog}")
    if not items:
        words = [described({name: value for name, value in order.items() if name != "text"})]
    told = plain("; ".join(words), 3000)
    return Content(text(order, "text"), (_told("order", told),) if told else ())


def _item(item: Mapping[str, Any]) -> str:
    quantity, price = item.get("quantity"), item.get("item_price")
    known = {"quantity", "product_retailer_id", "item_price", "currency"}
    words = f"{quantity if quantity is not None else '?'} x {item.get('product_retailer_id', '?')}"
    if price is not None:
        words += f" at {price} {text(item, 'currency')}"
    rest = described({name: value for name, value in item.items() if name not in known})
    return plain(f"{words.strip()} ({rest})" if rest else words)


def _welcome(message: Mapping[str, Any]) -> Content:
    return Content(attachments=(Attachment("request_welcome", "", WELCOME),))


def _unsupported(message: Mapping[str, Any]) -> Content:
    """What WhatsApp does not pass on: its own word for the kind, else its reason."""
    kind = text(inner(message, "unsupported"), "type")
    reasons = list(_reasons(message))
    words = "; ".join(filter(None, (kind, *reasons))) or "WhatsApp does not pass it on"
    return Content(attachments=(Attachment("unsupported", "", plain(words, 400)),))


def _reasons(message: Mapping[str, Any]) -> Iterator[str]:
    for error in objects(message.get("errors"))[:3]:
        details = text(inner(error, "error_data"), "details") or text(error, "details")
        yield details or text(error, "title") or text(error, "message")


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Content]] = {
    "text": _text,
    "button": _button,
    "interactive": _interactive,
    "location": _location,
    "contacts": _contacts,
    "order": _order,
    "request_welcome": _welcome,
    "unsupported": _unsupported,
    **dict.fromkeys(MEDIA, _media),
}


def beside(message: Mapping[str, Any]) -> Content:
    """What stands beside the content: the advertisement that led here, the product asked about."""
    referral = inner(message, "referral")
    product = inner(inner(message, "context"), "referred_product")
    attachments: tuple[Attachment, ...] = ()
    if product:
        item = text(product, "product_retailer_id") or described(product)
        catalog = text(product, "catalog_id")
        words = f"{item} of catalog {catalog}" if catalog else item
        attachments = (Attachment("product", "", plain(words)),)
    first = {name: referral[name] for name in _REFERRAL if name in referral}
    words = described({**first, **referral})
    return Content(
        attachments=attachments, payload=f"came by an advertisement: {words}" if words else ""
    )


def forwarded_from(message: Mapping[str, Any]) -> str:
    """Whose words these are; WhatsApp never names the writer."""
    context = inner(message, "context")
    if context.get("frequently_forwarded") in _TRUE:
        return "somebody (forwarded many times)"
    return "somebody" if context.get("forwarded") in _TRUE else ""
