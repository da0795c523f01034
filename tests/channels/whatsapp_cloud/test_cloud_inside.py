"""What is inside other content of Meta's is told and fetched as well."""

import json
from typing import Any

import pytest

from roost_channels.message import InboundMessage
from roost_channels.whatsapp_cloud.contents import FILES_MAX
from roost_channels.whatsapp_cloud.payloads import Value, read
from roost_channels.whatsapp_cloud.testing import NUMBER

BASE = {"from": "16505551234", "id": "wamid.1", "timestamp": "1749416383"}


def taken(message: Any) -> InboundMessage:
    return read(message, Value(NUMBER, {}), 1.0)


def told(content: dict[str, Any]) -> list[str]:
    """Each attachment as `kind: details`."""
    found = taken({**BASE, **content})
    return [f"{a.kind}: {a.name}".removesuffix(": ") for a in found.attachments]


PHOTO = {"id": "9", "mime_type": "image/jpeg", "file_name": "a.jpg", "sha256": "x"}


def nfm(**answers: Any) -> dict[str, Any]:
    reply = {"name": "flow", "body": "Sent", "response_json": json.dumps(answers)}
    return {"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": reply}}


@pytest.mark.parametrize(
    ("content", "files"),
    [
        ({"type": "video_note", "video_note": {"id": "1", "mime_type": "video/mp4"}}, ["video"]),
        (nfm(day="May", photos=[PHOTO, PHOTO]), ["photo", "photo"]),
        (nfm(photos=[PHOTO] * 100), ["photo"] * FILES_MAX),
    ],
)
def test_files_inside_content_without_a_reader_are_fetched(
    content: dict[str, Any], files: list[str]
) -> None:
    assert [one.kind for one in taken({**BASE, **content}).attachments if one.is_file] == files


def test_what_was_wrong_with_a_file_is_told_beside_it() -> None:
    problem = {"code": 131052, "title": "T", "error_data": {"details": "could not download"}}
    assert told({"type": "image", "errors": [problem]}) == ["photo", "problem: could not download"]


def test_all_of_a_contact_is_told() -> None:
    person = {"name": {"formatted_name": "Zed"}, "user_id": "US.1", "ims": [{"service": "X"}]}
    assert told({"type": "contacts", "contacts": [person]}) == [
        "contact: Zed, user_id: US.1; ims.service: X"
    ]


def test_words_of_another_type_than_they_were_are_told() -> None:
    person = {"name": "Bea", "phones": ["+1 5"], "emails": {"email": "b@x.example"}}
    assert told({"type": "contacts", "contacts": [person]}) == [
        "contact: Bea, phones: +1 5; emails.email: b@x.example"
    ]
    order = {"catalog_id": "c", "text": "please", "product_items": {"product_retailer_id": "A"}}
    assert told({"type": "order", "order": order}) == [
        "order: catalog_id: c; product_items.product_retailer_id: A"
    ]


def test_an_edit_is_read_in_both_of_its_forms() -> None:
    text = {"type": "text", "text": {"body": "new"}}
    for form in ({"message": text}, text):
        found = taken({**BASE, "type": "edit", "edit": {"original_message_id": "w.O", **form}})
        assert (found.kind, found.message_id, found.text) == ("edited", "w.O", "new")


@pytest.mark.parametrize(
    ("contact", "address"),
    [({"user_id": "US.1"}, "whatsapp:US.1"), ({"wa_id": "1555"}, "whatsapp:+1555")],
)
def test_a_writer_whom_only_the_contact_names_is_no_stranger(
    contact: dict[str, Any], address: str
) -> None:
    message = {"id": "w.1", "timestamp": 5, "type": "text", "text": {"body": 12}}
    found = read(message, Value("106", {"contacts": [contact]}), 1.0)
    assert (found.sender.address, found.text, found.sent_at) == (address, "12", 5.0)
    two = read(message, Value("106", {"contacts": [contact, contact]}), 1.0)
    assert two.problem


@pytest.mark.parametrize(
    ("number", "wa_id"),
    [("525512345678", "5215512345678"), ("5511987654321", "551187654321"), ("1555", "+1555")],
)
def test_a_writer_is_the_contact_under_another_form_of_their_number(
    number: str, wa_id: str
) -> None:
    person = {"wa_id": wa_id, "user_id": "MX.7", "profile": {"name": "Lu"}}
    other = {"wa_id": "1999", "user_id": "US.8", "profile": {"name": "Eve"}}
    message = {**BASE, "from": number, "type": "text", "text": {"body": "hi"}}
    found = read(message, Value("106", {"contacts": [other, person]}), 1.0)
    assert found.sender.display_name == "Lu" and "whatsapp:MX.7" in found.sender.aliases
