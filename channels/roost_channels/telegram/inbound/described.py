"""Content that is neither text nor file, in words: a contact, a poll, or what nobody knows yet."""

from collections.abc import Callable, Mapping
from typing import Any

from roost_channels.telegram.inbound.people import Json, name_of
from roost_channels.telegram.inbound.vcard import vcard_words
from roost_channels.telegram.inbound.words import WORDS_MAX, words_of

ITEMS_MAX = 100  # options, tasks, people that are named
# Currencies that Telegram counts in whole units; the others have hundredths.
_WHOLE = frozenset(("XTR", "CLP", "ISK", "JPY", "KRW", "PYG", "UGX", "VND"))


def described(kind: str, body: Any) -> str:
    """A field of a message in words; a kind that has no words of its own is walked through."""
    describe = DESCRIBERS.get(kind)
    words = describe(body) if describe and isinstance(body, Mapping) else words_of(body)
    return words[:WORDS_MAX]


def _contact(body: Json) -> str:
    number = str(body.get("phone_number") or "")
    card = body.get("vcard")
    name, more = vcard_words(card) if isinstance(card, str) else ("", [])
    others = (words for words in more if not number or number not in words)
    return ", ".join(filter(None, (name_of(body) or name, number, *others)))


def _location(body: Json) -> str:
    live = " (live)" if body.get("live_period") else ""
    return f"{body.get('latitude')},{body.get('longitude')}{live}"


def _venue(body: Json) -> str:
    place = body.get("location")
    point = _location(place) if isinstance(place, Mapping) else ""
    return _joined(point, body.get("title"), body.get("address"), by=" ")


def _dice(body: Json) -> str:
    return _joined(body.get("emoji"), body.get("value"), by=" ")


def _poll(body: Json) -> str:
    options = "; ".join(str(each.get("text") or "") for each in _items(body, "options"))
    kind = "quiz" if body.get("type") == "quiz" else ""
    closed = "closed" if body.get("is_closed") else ""
    asked = _joined(body.get("question"), body.get("description"), by=" ")
    why = body.get("explanation")
    media = body.get("media")
    link = words_of(media.get("link")) if isinstance(media, Mapping) else ""
    said = (asked, options and f"options: {options}", kind, closed, why and f"why: {why}", link)
    return _joined(*said)


def _checklist(body: Json) -> str:
    tasks = (
        f"[{'x' if task.get('completion_date') else ' '}] {task.get('text') or ''}"
        for task in _items(body, "tasks")
    )
    return _joined(body.get("title"), "; ".join(tasks), by=": ")


def _tasks_added(body: Json) -> str:
    message = body.get("checklist_message")
    checklist = message.get("checklist") if isinstance(message, Mapping) else None
    title = checklist.get("title") if isinstance(checklist, Mapping) else ""
    tasks = "; ".join(str(task.get("text") or "") for task in _items(body, "tasks"))
    return _joined(title, tasks, by=": ")


def _story(body: Json) -> str:
    chat = body.get("chat")
    return f"of {name_of(chat)}" if name_of(chat) else ""


def _game(body: Json) -> str:
    about = _joined(body.get("description"), body.get("text"), by=" ")
    return _joined(body.get("title"), about, by=": ")


def _price(body: Json, field: str = "total_amount") -> str:
    amount, currency = body.get(field), str(body.get("currency") or "")
    if not isinstance(amount, int):
        return currency
    if currency == "TON":  # counted in billionths
        return f"{amount / 10**9:.9f}".rstrip("0").rstrip(".") + " TON"
    shown = str(amount) if currency in _WHOLE else f"{amount // 100}.{amount % 100:02}"
    return f"{shown} {'Stars' if currency == 'XTR' else currency}".strip()


def _invoice(body: Json) -> str:
    about = _joined(body.get("title"), body.get("description"), by=": ")
    return _joined(about, _price(body))


def _payment(body: Json) -> str:
    times = {"subscription_expiration_date": body.get("subscription_expiration_date")}
    more = words_of([times, body.get("order_info")])
    return _joined(_price(body), body.get("invoice_payload"), more)


def _suggested_post(body: Json) -> str:
    price = body.get("price")
    asked = _price(price, "amount") if isinstance(price, Mapping) else ""
    rest = {name: each for name, each in body.items() if name != "price"}
    return _joined(words_of(rest), asked and f"price: {asked}", by="; ")


def _paid_media(body: Json) -> str:
    kinds = ", ".join(str(each.get("type") or "") for each in _items(body, "paid_media"))
    return _joined(kinds, f"for {body.get('star_count', '?')} Stars", by=" ")


def _users(body: Json) -> str:
    people = (_person(each, "user_id") for each in _items(body, "users"))
    numbers = body.get("user_ids")  # servers before Bot API 7.2
    older = [f"id {number}" for number in numbers] if isinstance(numbers, list) else []
    return "; ".join([*people] or older[:ITEMS_MAX])


def _chat(body: Json) -> str:
    return _person(body, "chat_id")


def _person(body: Json, id_field: str) -> str:
    username = body.get("username")
    number = body.get(id_field)
    return _joined(name_of(body), username and f"@{username}", number and f"id {number}")


def _web_app(body: Json) -> str:
    return _joined(body.get("button_text"), body.get("data"), by=": ")


def _secret(body: Json) -> str:
    return ""  # encrypted papers of a person


DESCRIBERS: Mapping[str, Callable[[Json], str]] = {
    "contact": _contact,
    "location": _location,
    "venue": _venue,
    "dice": _dice,
    "poll": _poll,
    "checklist": _checklist,
    "story": _story,
    "game": _game,
    "invoice": _invoice,
    "successful_payment": _payment,
    "refunded_payment": _payment,
    "paid_media": _paid_media,
    "users_shared": _users,
    "user_shared": _chat,
    "chat_shared": _chat,
    "web_app_data": _web_app,
    "passport_data": _secret,
    "giveaway": words_of,
    "giveaway_winners": words_of,
    "suggested_post_info": _suggested_post,
    "checklist_tasks_added": _tasks_added,
    "gift": words_of,
    "unique_gift": words_of,
}


def _items(body: Json, name: str) -> list[Json]:
    items = body.get(name)
    if not isinstance(items, list):
        return []
    return [each for each in items[:ITEMS_MAX] if isinstance(each, Mapping)]


def _joined(*words: Any, by: str = ", ") -> str:
    return by.join(str(word) for word in words if word not in (None, "", False))
