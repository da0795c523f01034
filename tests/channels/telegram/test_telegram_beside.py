"""What stands beside a text or inside unknown content is told, and whom a message speaks to."""

from typing import Any

import pytest

from roost_channels.message import InboundMessage, Quote
from roost_channels.telegram.inbound.contents import FILES_MAX, UNKNOWN_MAX, line_of
from roost_channels.telegram.inbound.updates import read

BOT = {"id": 42, "is_bot": True, "first_name": "Roost", "username": "roostbot"}
ADA = {"id": 7, "is_bot": False, "first_name": "Ada"}
BOB = {"id": 8, "is_bot": False, "first_name": "Bob"}
PRIVATE = {"id": 7, "type": "private", "first_name": "Ada"}
GROUP = {"id": -100, "type": "supergroup", "title": "Team", "is_forum": True}
FILE = {"file_id": "f", "file_unique_id": "u", "width": 9, "height": 9, "file_size": 5}


def parsed(**fields: Any) -> InboundMessage:
    body = {"message_id": 5, "from": ADA, "chat": PRIVATE, "date": 1_790_000_000, **fields}
    found = read({"update_id": 1001, "message": body}, "42", "roostbot")
    assert found is not None and not found.problem
    return found


def told(message: InboundMessage) -> list[str]:
    """The attachments on lines, files with a star."""
    return [line_of(each) + ("*" if each.is_file else "") for each in message.attachments]


def entity(kind: str, offset: int, length: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "offset": offset, "length": length, **more}


@pytest.mark.parametrize(
    ("text", "entities", "expected"),
    [
        ("at 5 6 pm", [entity("strikethrough", 3, 1)], "at ~~5~~ 6 pm"),
        ("😀x y", [entity("strikethrough", 0, 3)], "~~😀x~~ y"),
        (
            "5pm or 6",
            [entity("strikethrough", 0, 1), entity("bold", 1, 5), entity("strikethrough", 1, 2)],
            "~~5pm~~ or 6",
        ),
        ("he said\nno\nyes", [entity("blockquote", 0, 10)], "> he said\n> no\nyes"),
        ("a\n\nb", [entity("expandable_blockquote", 0, 4)], "> a\n> \n> b"),
        (
            "old link",
            [entity("text_link", 4, 4, url="https://x"), entity("strikethrough", 0, 8)],
            "~~old link (https://x)~~",
        ),
        ("\u0a00\u0a00", [entity("blockquote", 0, 2)], "> \u0a00\u0a00"),
    ],
)
def test_marks_without_which_words_mean_something_else_are_told(
    text: str, entities: list[Any], expected: str
) -> None:
    assert parsed(text=text, entities=entities).text == expected
    assert parsed(caption=text, caption_entities=entities, photo=[FILE]).text == expected


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ({"type": "text_mention", "text": "Bob", "user": BOB}, "Bob (tg://user?id=8)"),
        (
            {"type": "date_time", "text": "soon", "unix_time": 1_800_000_000},
            "soon (2027-01-15 08:00 UTC)",
        ),
        ({"type": "url", "text": "https://x", "url": "https://x"}, "https://x"),
        ({"type": "strikethrough", "text": ["5", " pm"]}, "~~5 pm~~"),
    ],
)
def test_rich_text_tells_what_stands_behind_its_words(piece: Any, expected: str) -> None:
    blocks = [{"type": "paragraph", "text": [piece]}]
    assert parsed(rich_message={"blocks": blocks}).text == expected


def test_a_block_of_an_unknown_kind_loses_none_of_its_words() -> None:
    chart = {"type": "chart", "title": "Sales", "series": [{"label": "May", "value": 3}]}
    text = parsed(rich_message={"blocks": [chart]}).text
    assert all(word in text for word in ("Sales", "May", "3"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"voice_poll": {"question": "Tea?", "options": [{"text": "Yes"}], "file_id": "z"}},
            ["[document: voice_poll]*", "[voice_poll: Tea?; Yes]"],
        ),
        ({"hologram": [FILE, FILE]}, ["[document: hologram]*", "[document: hologram]*"]),
        (
            {"capsule": {"title": "Then", "content": {"video": {**FILE, "thumbnail": FILE}}}},
            ["[video]*", "[capsule: Then]"],
        ),
        ({"capsule": {"photo": [FILE, {**FILE, "file_id": "big"}]}}, ["[photo]*"]),
        ({"counter": 0}, ["[counter: 0]"]),
        (
            {
                "poll": {
                    "question": "Which?",
                    "media": {"photo": [FILE]},
                    "options": [{"text": "A", "media": {"video": FILE}}],
                }
            },
            ["[video]*", "[photo]*", "[poll: Which?, options: A]"],
        ),
        (
            {"contact": {"phone_number": "", "vcard": "BEGIN:VCARD\nFN:Zed\nTEL:+1777\nEND:VCARD"}},
            ["[contact: Zed, phone: +1777]"],
        ),
        (
            {
                "successful_payment": {
                    "currency": "EUR",
                    "total_amount": 500,
                    "invoice_payload": "tea",
                    "order_info": {"name": "Ada", "shipping_address": {"city": "Bonn"}},
                }
            },
            ["[successful_payment: 5.00 EUR, tea, Ada; city: Bonn]"],
        ),
        (
            {"location": {"latitude": 1, "longitude": 2, "live_period": 60}},
            ["[location: 1,2 (live)]"],
        ),
        (
            {"suggested_post_info": {"price": {"currency": "TON", "amount": 2_500_000_000}}},
            ["[suggested_post_info: price: 2.5 TON]"],
        ),
    ],
)
def test_files_and_words_inside_a_content_are_told(
    fields: dict[str, Any], expected: list[str]
) -> None:
    assert sorted(told(parsed(**fields))) == sorted(expected)


def test_files_of_unknown_content_are_bounded() -> None:
    many = parsed(hologram=[FILE] * 500)
    assert len(many.attachments) == FILES_MAX
    wide = parsed(**{f"kind_{number}": "x" for number in range(500)})
    assert len(wide.attachments) == UNKNOWN_MAX


CARD = "\n".join(
    (
        *("BEGIN:VCARD", "VERSION:2.1", "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D0=98=D0=B2"),
        *("PHOTO;ENCODING=BASE64:AAAA", " BB==", "TEL;CELL:+1777"),
        *("NOTE;ENCODING=QUOTED-PRINTABLE:one=0Atwo=", " three", "END:VCARD"),
    )
)


def test_a_card_of_an_old_phone_is_read_in_its_letters() -> None:
    found = parsed(contact={"phone_number": "+1777", "vcard": CARD})
    assert told(found) == ["[contact: Ив, +1777, note: one two three]"]


def test_who_lets_a_bot_write_says_so() -> None:
    bot = {"id": 99, "is_bot": True, "first_name": "Gif", "username": "gif"}
    assert parsed(text="w", via_bot=bot).payload == "written by means of the bot @gif"


def test_a_link_from_elsewhere_is_what_is_quoted() -> None:
    external = {"origin": {"type": "user"}, "link_preview_options": {"url": "https://x"}}
    quote = parsed(text="this?", external_reply=external).quote
    assert quote == Quote(None, "other", "[link: https://x]", "[link: https://x]")


TOPIC = {"chat": GROUP, "message_thread_id": 77, "is_topic_message": True}


def replied(message_id: int, **fields: Any) -> dict[str, Any]:
    return {"message_id": message_id, "from": BOT, "chat": GROUP, "date": 1, **fields}


@pytest.mark.parametrize(
    ("fields", "is_addressed"),
    [
        # Apps reply to the notice that opened a topic by themselves, which may be ours.
        ({**TOPIC, "reply_to_message": replied(77)}, False),
        ({**TOPIC, "reply_to_message": replied(80, text="yes")}, True),
        (
            {
                "chat": {**GROUP, "is_forum": False},
                "message_thread_id": 33,
                "reply_to_message": replied(33, text="yes"),
            },
            True,
        ),
        # A message of ours from another topic.
        ({**TOPIC, "external_reply": {"origin": {"type": "user", "sender_user": BOT}}}, True),
        ({**TOPIC, "external_reply": {"origin": {"type": "user", "sender_user": BOB}}}, False),
        # A server that tells of no names.
        ({"chat": GROUP, "text": "hey @RoostBot!"}, True),
        ({"chat": GROUP, "text": "/ask@roostbot why"}, True),
        ({"chat": GROUP, "text": "/ask why"}, True),
        ({"chat": GROUP, "text": "/ask@otherbot why"}, False),
        ({"chat": GROUP, "text": "mail me@roostbot.example"}, False),
        ({"chat": GROUP, "text": "hey @roostbot", "entities": []}, False),
        (
            {"chat": GROUP, "text": "", "poll": {"question": "@roostbot which?", "options": []}},
            True,
        ),
        ({"chat": {"id": -5, "type": "commune"}}, False),
    ],
)
def test_whom_a_groups_message_speaks_to(fields: dict[str, Any], is_addressed: bool) -> None:
    found = parsed(**{"text": "hi all", **fields})
    assert (found.is_group, found.is_addressed) == (True, is_addressed)


def test_a_topic_begins_without_a_quote_of_its_notice() -> None:
    assert parsed(**TOPIC, text="hi", reply_to_message=replied(77)).quote is None


@pytest.mark.parametrize(("is_member", "said"), [(True, "in"), (False, "out")])
def test_who_is_restricted_may_still_be_in_the_chat(is_member: bool, said: str) -> None:
    member = {"status": "restricted", "user": BOT, "is_member": is_member}
    change = {"chat": GROUP, "from": ADA, "date": 1, "new_chat_member": member}
    found = read({"update_id": 1, "my_chat_member": change}, "42", "roostbot")
    assert found is not None and (found.kind, found.text) == ("membership", said)


def test_what_is_for_one_reader_alone_is_no_content() -> None:
    found = parsed(chat=GROUP, ephemeral_message_id=4, receiver_user=BOT)
    assert found.kind == "other" and not found.attachments
