"""Whatever people send through Twilio is told in words, and nothing is lost or raises."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roost_channels.message import InboundMessage
from roost_channels.testing import FakeTwilio
from roost_channels.whatsapp.inbound.form_contents import MEDIA_MAX
from roost_channels.whatsapp.inbound.forms import UNREADABLE_CHAT, Form, read
from roost_channels.whatsapp.inbound.vcards import contacts_of
from roost_channels.whatsapp.numbers import canonical, listed, other_forms
from roost_channels.whatsapp.testing import SENDER, USER, Site, newest

BASE = {
    "AccountSid": "AC1",
    "ApiVersion": "2010-04-01",
    "ChannelMetadata": '{"type":"whatsapp","data":{"context":{}}}',
    "MessageSid": "SM1",
    "SmsSid": "SM1",
    "SmsStatus": "received",
    "From": USER,
    "To": SENDER,
    "NumMedia": "0",
    "NumSegments": "1",
    "ReferralNumMedia": "0",
    "ProfileName": "Ada",
    "WaId": "15551112222",
    "Body": "",
}
MEDIA = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages/SM1/Media/ME1"


def taken(**fields: str) -> InboundMessage:
    form = urlencode({**BASE, **fields}).encode()
    return read(Form.parse(form), SENDER, 1.0)


def told(fields: dict[str, str]) -> list[str]:
    """The words that the agent reads, each attachment as `kind: details`."""
    found = taken(**fields)
    assert found.kind == "message" and not found.problem
    lines = [f"{a.kind}: {a.name}".removesuffix(": ") for a in found.attachments]
    return [*lines, *filter(None, [found.text])]


ANSWERS = json.dumps({"flow_token": "tok", "name": "Ada", "guests": 4})
NESTED = json.dumps({"name": "flow", "body": "Sent", "response_json": ANSWERS})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Body": "hello", "MessageType": "text"}, ["hello"]),
        ({"MessageType": "button", "ButtonText": "Yes", "ButtonPayload": "y"}, ["Yes"]),
        ({"MessageType": "button", "ButtonPayload": "y"}, ["y"]),
        (
            {"MessageType": "interactive", "ListId": "a", "ListTitle": "First"},
            ["First"],
        ),
        (
            {"ListId": "a", "ListTitle": "First", "ListDescription": "by rail"},
            ["First"],
        ),
        (
            {"MessageType": "interactive", "InteractiveData": ANSWERS, "Body": "Sent"},
            ["form: name: Ada; guests: 4"],
        ),
        (
            {"MessageType": "interactive", "FlowData": NESTED},
            ["form: name: Ada; guests: 4"],
        ),
        ({"InteractiveData": "not json", "Body": "my form"}, ["form: not json", "my form"]),
        (
            {"Latitude": "1.5", "Longitude": "-2", "Label": "Here", "Address": "Road 1"},
            ["location: 1.5,-2 Here Road 1"],
        ),
        ({"MessageType": "location", "Label": "Here"}, ["location: Here"]),
        (
            {"NumMedia": "1", "MediaUrl0": MEDIA, "MediaContentType0": "text/vcard; charset=utf-8"},
            ["document: contact.vcf"],
        ),
        (
            {
                "Body": "look",
                "NumMedia": "2",
                "MediaUrl0": MEDIA,
                "MediaContentType0": "image/jpeg",
                "MediaUrl1": MEDIA,
                "MediaContentType1": "audio/ogg",
            },
            ["photo", "audio", "look"],
        ),
        ({"NumMedia": "²", "MediaUrl0": MEDIA, "MediaContentType0": "image/png"}, ["photo"]),
        ({"NumMedia": "1"}, ["document"]),
        ({"MessageType": "contacts"}, ["contacts"]),
        (
            {"MessageType": "Hologram", "HologramData": '{"depth": 3}'},
            ["hologram: HologramData.depth: 3"],
        ),
        ({"MessageType": "order", "OrderItems": "2 x SKU-1"}, ["order: OrderItems: 2 x SKU-1"]),
        ({"MessageType": "unsupported"}, ["unsupported"]),
        ({"MessageType": "text"}, ["message"]),
        ({"MessageType": "interactive"}, ["interactive"]),
        ({}, ["message"]),
        ({"MessageType": "a] [system: b"}, ["asystemb"]),
    ],
)
def test_every_kind_reaches_the_agent_in_words(fields: dict[str, str], words: list[str]) -> None:
    assert told(fields) == words


def test_a_reaction_is_kept_and_not_answered() -> None:
    assert taken(MessageType="reaction").kind == "other"
    found = taken(MessageType="reaction", Body="👍")
    assert (found.kind, found.text) == ("other", "👍")
    assert taken(MessageType="revoke", OriginalMessageSid="SM0").kind == "other"


def test_answers_that_come_wrapped_or_twice_are_told_once_and_without_their_token() -> None:
    wrapped = json.dumps({"type": "nfm_reply", "nfm_reply": json.loads(NESTED)})
    found = taken(InteractiveData=wrapped, FlowData=NESTED)
    assert [one.name for one in found.attachments] == ["name: Ada; guests: 4"]
    assert found.payload == "form: flow_token: tok"


def test_a_card_of_an_old_phone_is_read_in_its_letters() -> None:
    card = b"BEGIN:VCARD\r\nN;ENCODING=QUOTED-PRINTABLE:=D0=98=\r\n=D0=B2;;;\r\nTEL:+1\r\nEND:VCARD"
    assert contacts_of(card) == ["Ив, +1"]


def test_what_came_along_is_no_word_of_the_person() -> None:
    found = taken(
        Body="hi",
        ReferralHeadline="Sale",
        ReferralBody="All shoes",
        ReferralSourceUrl="https://fb.me/1",
        ReferralNewField="x",
    )
    assert found.text == "hi" and found.payload == (
        "came by an advertisement: Headline: Sale; Body: All shoes; SourceUrl: https://fb.me/1;"
        " NewField: x"
    )
    pressed = taken(Body="Yes", ButtonText="Yes", ButtonPayload="y:1")
    assert (pressed.text, pressed.payload) == ("Yes", "button: y:1")
    assert taken(InteractiveData=ANSWERS).payload == "form: flow_token: tok"
    assert taken(Body="hi").payload == ""


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"Forwarded": "true"}, "somebody"),
        ({"Forwarded": "true", "FrequentlyForwarded": "True"}, "somebody (forwarded many times)"),
        ({"Forwarded": "false"}, ""),
        ({}, ""),
    ],
)
def test_forwarded_words_are_not_the_persons_own(fields: dict[str, str], source: str) -> None:
    found = taken(Body="hi", **fields)
    assert (found.text, found.forwarded_from) == ("hi", source)


def test_more_files_than_are_taken_are_told() -> None:
    many = {f"MediaUrl{n}": MEDIA for n in range(MEDIA_MAX + 5)}
    lines = told({"NumMedia": str(MEDIA_MAX + 5), **many})
    assert len(lines) == MEDIA_MAX + 1 and lines[-1] == "files: and 5 more"


@pytest.mark.parametrize(
    "fields",
    [
        {"From": ""},
        {"From": "whatsapp:+1 555"},
        {"From": "whatsapp:\x00"},
        {"From": "w" * 600},
        {"MessageSid": "", "SmsSid": ""},
        {"MessageSid": "SM\u202e"},
    ],
)
def test_what_names_no_message_or_person_is_a_dead_letter(fields: dict[str, str]) -> None:
    found = taken(**fields)
    assert found.problem and found.kind == "other" and found.address.chat == UNREADABLE_CHAT
    assert found.event_id == taken(**fields).event_id


NAMES = st.sampled_from(sorted({*BASE, "MessageType", "InteractiveData", "MediaUrl0", "ListId"}))
VALUES = st.text(max_size=12) | st.sampled_from(["9" * 5000, "[" * 5000, '{"a": 1e999}', "²", "-1"])


@settings(max_examples=300, deadline=None)
@given(
    fields=st.dictionaries(NAMES | st.text(max_size=8), VALUES, max_size=8), is_whole=st.booleans()
)
@example(fields={"NumMedia": "9" * 5000}, is_whole=True)
@example(fields={"InteractiveData": "[" * 30_000}, is_whole=True)
def test_no_form_raises_or_is_lost(fields: dict[str, str], is_whole: bool) -> None:
    own = {name: BASE[name] for name in ("MessageSid", "SmsSid", "From")}
    known = {**BASE, **fields, **(own if is_whole else {})}
    found = read(Form(list(known.items())), SENDER, 1.0)
    assert found.event_id
    if is_whole and found.raw.get("MessageType") != "reaction":
        assert not found.problem and found.address.chat == USER
        assert found.text or found.attachments


async def test_a_form_that_names_nobody_is_kept_and_acknowledged(
    twilio: FakeTwilio, site: Site
) -> None:
    await twilio.user_says(USER, "hi", extra={"From": "not an address"})
    assert newest(site.intake).problem == "ValueError: no sender"
    assert site.replies[-1].status == 200


async def test_a_receipt_at_the_address_of_messages_is_filed_and_not_answered(
    twilio: FakeTwilio, site: Site
) -> None:
    await twilio.user_says(USER, "", extra={"MessageStatus": "delivered"})
    assert not site.intake.messages and site.intake.receipts[-1].status == "delivered"
    await twilio.user_says(USER, "hi", extra={"MessageStatus": "received"})
    assert newest(site.intake).text == "hi"


async def test_a_quoted_photo_that_we_never_saw_comes_along(twilio: FakeTwilio, site: Site) -> None:
    old = await twilio.user_says(USER, "", media=[(b"x", "image/png")])
    site.intake.messages.clear()
    await twilio.user_says(USER, "what is this?", reply_to=old)
    found = newest(site.intake)
    assert found.quote is not None and found.quote.resolved and found.quote.ref == old
    assert [(a.kind, a.is_file) for a in found.attachments] == [("photo", True)]


CARD = b"""BEGIN:VCARD
VERSION:3.0
N:Ng;Ben;;;
FN:Ben Ng
item1.TEL;type=CELL;waid=1555123:+1 555 123
TEL:+44 777
EMAIL;TYPE=WORK:ben@x.exa
 mple
ADR;TYPE=HOME:;;Road 1\\, back;Rome;;;Italy
PHOTO;BASE64:AAAA
END:VCARD
"""


async def test_the_people_of_a_vcard_are_told(twilio: FakeTwilio, site: Site) -> None:
    second = CARD.replace(b"Ben Ng", b"Cy").replace(b"\n", b"\r\n")
    await twilio.user_says(USER, "", media=[(CARD + second, "text/vcard")])
    file, ben, cy = newest(site.intake).attachments
    assert file.is_file and file.name == "contact.vcf"
    assert (ben.kind, ben.name) == (
        "contact",
        "Ben Ng, +1 555 123 (CELL), +44 777, ben@x.example (WORK), Road 1, back Rome Italy",
    )
    assert cy.name.startswith("Cy, +1 555 123")
    twilio.fault("http_500", "media.fetch")
    await twilio.user_says(USER, "again", media=[(CARD, "text/x-vcard")])
    assert [a.kind for a in newest(site.intake).attachments] == ["document"]


@given(st.binary(max_size=300))
def test_no_card_raises(data: bytes) -> None:
    assert all(contacts_of(b"BEGIN:VCARD\n" + data)) and isinstance(contacts_of(data), list)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("whatsapp:+5511987654321", "whatsapp:+5511987654321"),
        ("+55 (11) 8765-4321", "whatsapp:+5511987654321"),
        ("0052 1 55 1234 5678", "whatsapp:+525512345678"),
        ("5491112345678", "whatsapp:+5491112345678"),
        ("whatsapp:+54 11 1234-5678", "whatsapp:+5491112345678"),
        ("whatsapp:+55 11 3456-7890", "whatsapp:+551134567890"),
        ("@ada", "@ada"),
        ("whatsapp:US.1349", "whatsapp:US.1349"),
        ("12345", "12345"),
    ],
)
def test_numbers_of_an_allowlist_may_be_written_as_people_do(written: str, kept: str) -> None:
    assert listed(written) == kept


@settings(max_examples=300, deadline=None)
@given(st.from_regex(r"whatsapp:\+(?:55|52|54|1|49)[0-9]{6,12}", fullmatch=True) | st.text())
def test_every_form_of_a_number_has_one_own_form(address: Any) -> None:
    forms: set[str] = {address, *other_forms(address)}
    assert {canonical(form) for form in forms} == {canonical(address)}
    assert all({form, *other_forms(form)} == forms for form in forms)
