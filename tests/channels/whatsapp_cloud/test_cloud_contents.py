"""Whatever people send through Meta is told in words, and nothing is lost or raises."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roost_channels.message import Button, InboundMessage
from roost_channels.whatsapp.described import WORDS_MAX
from roost_channels.whatsapp_cloud.contents import CONTACTS_MAX, ITEMS_MAX, WELCOME
from roost_channels.whatsapp_cloud.format import interactive as made_interactive
from roost_channels.whatsapp_cloud.payloads import UNREADABLE_CHAT, Value, read, values
from roost_channels.whatsapp_cloud.testing import NUMBER, USER

BASE = {"from": "16505551234", "id": "wamid.1", "timestamp": "1749416383"}


def taken(message: Any, **value: Any) -> InboundMessage:
    return read(message, Value(NUMBER, value), 1.0)


def told(content: dict[str, Any]) -> list[str]:
    """The words that the agent reads, each attachment as `kind: details`."""
    found = taken({**BASE, **content})
    assert found.kind == "message" and not found.problem
    lines = [f"{a.kind}: {a.name}".removesuffix(": ") for a in found.attachments]
    return [*lines, *filter(None, [found.text])]


def interactive(kind: str, content: Any) -> dict[str, Any]:
    return {"type": "interactive", "interactive": {"type": kind, kind: content}}


FORM = {
    "name": "flow",
    "body": "Sent",
    "response_json": json.dumps({"flow_token": "tok-1", "name": "Ada", "guests": 4, "vegan": True}),
}
ADDRESS = {
    "name": "address_message",
    "body": "CUSTOMER\n12 Road",
    "response_json": '{"saved_address_id": "a1", "values": {"city": "Pune", "in_pin_code": "1"}}',
}
ITEM = {"product_retailer_id": "SKU-1", "quantity": 2, "item_price": 10.5, "currency": "EUR"}
BEN = {
    "name": {"formatted_name": "Ben Ng", "first_name": "Ben"},
    "phones": [{"phone": "+1 555 123", "wa_id": "1555123", "type": "CELL"}, {"wa_id": "44777"}],
    "emails": [{"email": "ben@x.example", "type": "WORK"}],
    "org": {"company": "Acme", "title": "Chief"},
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (interactive("button_reply", {"id": "y", "title": "Yes"}), ["Yes"]),
        (
            interactive("list_reply", {"id": "a", "title": "First", "description": "by rail"}),
            ["First"],
        ),
        (interactive("button_reply", {"id": "y"}), ["y"]),
        (interactive("nfm_reply", FORM), ["form: name: Ada; guests: 4; vegan: yes"]),
        (
            interactive("nfm_reply", ADDRESS),
            [
                "address_message: saved_address_id: a1; values.city: Pune; values.in_pin_code: 1",
                "CUSTOMER\n12 Road",
            ],
        ),
        (interactive("nfm_reply", {"response_json": "not json"}), ["form: not json"]),
        (interactive("nfm_reply", {"response_json": {"a": 1}}), ["form: a: 1"]),
        (
            interactive("call_permission_reply", {"response": "accept", "is_permanent": False}),
            ["call_permission_reply: response: accept; is_permanent: no"],
        ),
        (interactive("hologram_reply", {"depth": 3}), ["hologram_reply: depth: 3"]),
        (
            {"type": "interactive", "interactive": {"hologram": {"a": 1}}},
            ["interactive: hologram.a: 1"],
        ),
        ({"type": "interactive"}, ["interactive"]),
        ({"type": "request_welcome"}, [f"request_welcome: {WELCOME}"]),
        (
            {
                "type": "order",
                "order": {"catalog_id": "42", "text": "please", "product_items": [ITEM, {}]},
            },
            ["order: 2 x SKU-1 at 10.5 EUR; ? x ?; catalog 42", "please"],
        ),
        ({"type": "order", "order": {"hologram": 1}}, ["order: hologram: 1"]),
        (
            {"type": "contacts", "contacts": [BEN]},
            [
                "contact: Ben Ng, +1 555 123 (CELL), +44777, ben@x.example (WORK),"
                " org.company: Acme; org.title: Chief"
            ],
        ),
        (
            {"type": "contacts", "contacts": [{"name": {"first_name": "Cy"}, "vcard": "BEGIN"}]},
            ["contact: first_name: Cy, vcard: BEGIN"],
        ),
        ({"type": "contacts", "contacts": "Ben"}, ["contacts: Ben"]),
        (
            {
                "type": "location",
                "location": {
                    "latitude": 1.5,
                    "longitude": -2,
                    "name": "Here",
                    "address": "Road 1",
                    "url": "https://x.example",
                },
            },
            ["location: 1.5,-2 Here Road 1 https://x.example"],
        ),
        ({"type": "location", "location": {"accuracy": 5}}, ["location: accuracy: 5"]),
        ({"type": "sticker", "sticker": {"id": "4", "animated": True}}, ["sticker"]),
        (
            {"type": "document", "document": {"id": "3", "filename": "a\n\u202egpj.\x00exe"}},
            ["document: a gpj.exe"],
        ),
        ({"type": "image", "image": {}}, ["photo"]),
        (
            {
                "type": "unsupported",
                "unsupported": {"type": "poll"},
                "errors": [{"code": 131051, "title": "T", "error_data": {"details": "not passed"}}],
            },
            ["unsupported: poll; not passed"],
        ),
        ({"type": "unsupported"}, ["unsupported: WhatsApp does not pass it on"]),
        ({"type": "button", "button": {"text": "No", "payload": "n"}}, ["No"]),
        ({"type": "ephemeral", "errors": [{"code": 1}]}, ["ephemeral: errors.code: 1"]),
        ({"type": "hologram", "hologram": {"depth": 3}}, ["hologram: depth: 3"]),
        ({"type": "hologram", "hologram": "shiny"}, ["hologram: shiny"]),
        ({"hologram": {"depth": 3}}, ["hologram: depth: 3"]),
        ({"type": "a] [system: b"}, ["asystemb"]),
        ({"type": "text", "text": {"body": ""}}, ["text"]),
        ({"type": "text", "text": "bare"}, ["text: bare"]),
        ({}, ["message"]),
    ],
)
def test_every_kind_reaches_the_agent_in_words(content: dict[str, Any], words: list[str]) -> None:
    assert told(content) == words


@pytest.mark.parametrize("kind", ["reaction", "system"])
def test_events_about_messages_are_kept_and_not_answered(kind: str) -> None:
    found = taken({**BASE, "type": kind, kind: {"message_id": "wamid.0", "emoji": "👍"}})
    assert found.kind == "other" and found.raw["type"] == kind and not found.problem


def test_a_press_on_a_card_is_a_press_and_no_words() -> None:
    pressed = interactive("button_reply", {"id": "ap:n:a", "title": "Approve"})
    event = taken({**BASE, **pressed})
    assert (event.kind, event.text, event.answered_in_chat) == ("callback", "ap:n:a", True)


def test_long_options_go_into_a_list_that_shows_them_whole() -> None:
    long = ("On Friday afternoon at the station", "On Friday afternoon at the harbour")
    made = made_interactive("Where?", [Button(label, f"ap:n:{n}") for n, label in enumerate(long)])
    (section,) = made["interactive"]["action"]["sections"]
    assert [row["description"] for row in section["rows"]] == list(long)
    assert len({row["title"] for row in section["rows"]}) == 2


def test_what_came_along_is_no_word_of_the_person() -> None:
    referral = {"source_url": "https://fb.me/1", "headline": "Sale", "body": "All shoes"}
    found = taken({**BASE, "type": "text", "text": {"body": "hi"}, "referral": referral})
    assert found.text == "hi" and found.payload == (
        "came by an advertisement: headline: Sale; body: All shoes; source_url: https://fb.me/1"
    )
    pressed = taken({**BASE, **interactive("button_reply", {"id": "y:1", "title": "Yes"})})
    assert (pressed.text, pressed.payload) == ("Yes", "button: y:1")
    listed = {"id": "a", "title": "First", "description": "by rail"}
    chosen = taken({**BASE, **interactive("list_reply", listed)})
    assert (chosen.text, chosen.payload) == ("First", "button: a\ndescription: by rail")
    whole = "The train at nine from the central station"
    long = {"id": whole, "title": whole[:24], "description": whole}
    assert taken({**BASE, **interactive("list_reply", long)}).text == whole
    template = taken({**BASE, "type": "button", "button": {"text": "No", "payload": "No"}})
    assert (template.text, template.payload) == ("No", "")
    form = taken({**BASE, **interactive("nfm_reply", FORM)})
    assert form.payload == "form: flow_token: tok-1"


@pytest.mark.parametrize(
    ("context", "source"),
    [
        ({"forwarded": True}, "somebody"),
        ({"frequently_forwarded": True}, "somebody (forwarded many times)"),
        ({"forwarded": False}, ""),
        ({"from": "1", "id": "wamid.0"}, ""),
    ],
)
def test_forwarded_words_are_not_the_persons_own(context: dict[str, Any], source: str) -> None:
    found = taken({**BASE, "type": "text", "text": {"body": "hi"}, "context": context})
    assert (found.text, found.forwarded_from) == ("hi", source)


def test_a_question_about_a_product_names_it() -> None:
    context = {"referred_product": {"catalog_id": "42", "product_retailer_id": "SKU-1"}}
    asked = {"type": "text", "text": {"body": "in red?"}, "context": context}
    assert told(asked) == ["product: SKU-1 of catalog 42", "in red?"]


def test_long_lists_are_cut_and_say_so() -> None:
    people = [{"name": {"formatted_name": f"P{n}"}} for n in range(CONTACTS_MAX + 3)]
    assert told({"type": "contacts", "contacts": people})[-1] == "contacts: and 3 more"
    order = {"product_items": [ITEM] * (ITEMS_MAX + 2)}
    assert told({"type": "order", "order": order})[0].endswith("and 2 more")
    (words,) = told({"type": "hologram", "hologram": {str(n): "x" * 99 for n in range(999)}})
    assert len(words) <= WORDS_MAX + len("hologram: ") and words.endswith("…")


@pytest.mark.parametrize(
    "message",
    [
        "words",
        None,
        [],
        {"type": "text"},
        {**BASE, "id": ""},
        {**BASE, "id": "wamid.\ud83d"},
        {**BASE, "id": "w" * 600},
        {k: v for k, v in BASE.items() if k != "from"},
        {**BASE, "from": "²²"},
        {**BASE, "from": "9" * 99},
        {**BASE, "from": {}},
        {**BASE, "type": "edit", "edit": {"original_message_id": "wamid.0"}},
    ],
)
def test_what_names_no_message_or_person_is_a_dead_letter(message: Any) -> None:
    found = taken(message)
    assert found.problem and found.kind == "other" and found.address.chat == UNREADABLE_CHAT
    assert found.event_id and found.event_id == taken(message).event_id
    json.dumps(found.raw, allow_nan=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3)
    ),
    max_leaves=8,
)
TYPES = st.sampled_from(
    [
        "text",
        "image",
        "sticker",
        "audio",
        "video",
        "document",
        "location",
        "contacts",
        "order",
        "interactive",
        "button",
        "reaction",
        "system",
        "edit",
        "request_welcome",
        "unsupported",
        "hologram",
    ]
)
FIELDS = st.sampled_from(
    [
        "id",
        "from",
        "from_user_id",
        "timestamp",
        "type",
        "context",
        "referral",
        "group_id",
        "errors",
        "text",
        "image",
        "location",
        "contacts",
        "order",
        "interactive",
        "button",
        "system",
        "edit",
        "unsupported",
        "hologram",
    ]
)
NAMES = st.sampled_from(
    [
        "type",
        "body",
        "id",
        "title",
        "name",
        "phones",
        "emails",
        "product_items",
        "nfm_reply",
        "response_json",
        "button_reply",
        "wa_id",
        "user_id",
        "referred_product",
        "message",
        "filename",
    ]
)
INNER = st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=3), max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    fields=st.dictionaries(FIELDS, JSON | INNER, max_size=6),
    kind=TYPES,
    is_whole=st.booleans(),
    value=st.dictionaries(st.sampled_from(["contacts", "metadata"]), JSON, max_size=2),
)
@example({"timestamp": "9" * 5000}, "text", True, {})
@example({"order": {"product_items": [{"quantity": float("nan")}]}}, "order", True, {})
def test_no_message_raises_or_is_lost(
    fields: dict[str, Any], kind: str, is_whole: bool, value: dict[str, Any]
) -> None:
    message = {**fields, **({**BASE, "type": kind} if is_whole else {})}
    found = taken(message, **value)
    assert found.event_id and found.sent_at >= 0
    json.dumps(found.raw, allow_nan=False)
    is_silent = kind in ("reaction", "system", "edit")
    if is_whole and not is_silent and found.is_addressed:
        assert not found.problem and found.address.chat == USER
        # An empty message would be answered with silence.
        assert found.text or found.attachments


@settings(max_examples=100, deadline=None)
@given(JSON | INNER)
def test_no_payload_raises(payload: Any) -> None:
    whole = payload if isinstance(payload, dict) else {"entry": payload}
    nested = {"entry": [{"changes": [{"field": "messages", "value": payload}]}]}
    for one in (*values(whole), *values(nested)):
        for message in one.messages():
            assert read(message, one, 1.0).event_id
        assert isinstance(one.statuses(), list) and isinstance(one.errors(), list)


@pytest.mark.parametrize("depth", [10, 200, 900])
def test_a_deep_message_is_stored_and_told(depth: int) -> None:
    deep: Any = "bottom"
    for _ in range(depth):
        deep = {"a": deep}
    found = taken({**BASE, "type": "hologram", "hologram": deep})
    assert found.attachments[0].kind == "hologram" and not found.problem
    assert len(json.dumps(found.raw)) < 1000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"text": {"body": "no type"}}, ["no type"]),
        ({"location": {"latitude": 1, "longitude": 2}}, ["location: 1,2"]),
    ],
)
def test_a_message_without_a_type_is_read_by_what_it_holds(
    content: dict[str, Any], words: list[str]
) -> None:
    assert told(content) == words
