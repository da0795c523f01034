"""Whatever a Telegram message holds, the agent is told of it; nothing is passed over."""

from typing import Any

import pytest

from roost_channels.message import InboundMessage
from roost_channels.telegram.inbound.contents import line_of
from roost_channels.telegram.inbound.updates import read
from roost_channels.telegram.inbound.words import CUT, NODES_MAX, RICH_MAX, WORDS_MAX

BOT = {"id": 42, "is_bot": True, "first_name": "Roost", "username": "roostbot"}
ADA = {"id": 7, "is_bot": False, "first_name": "Ada", "last_name": "L", "username": "ada"}
BOB = {"id": 8, "is_bot": False, "first_name": "Bob", "last_name": "Stone"}
PRIVATE = {"id": 7, "type": "private", "first_name": "Ada"}
NEWS = {"id": -1009, "type": "channel", "title": "News", "username": "news"}
FILE = {"file_id": "f", "file_unique_id": "u", "width": 9, "height": 9, "file_size": 5}
PLACE = {"latitude": 48.85, "longitude": 2.35}


def parsed(**fields: Any) -> InboundMessage:
    body = {"message_id": 5, "from": ADA, "chat": PRIVATE, "date": 1_790_000_000, **fields}
    found = read({"update_id": 1001, "message": body}, "42", "roostbot")
    assert found is not None and not found.problem
    return found


def told(message: InboundMessage) -> str:
    """What the agent is told, on lines as the transcript has them."""
    lines = [line_of(each) for each in message.attachments]
    return "\n".join([*lines, *filter(None, [message.text])])


TASKS = [
    {"id": 1, "text": "Pack", "completion_date": 1_790_000_000, "completed_by_user": ADA},
    {"id": 2, "text": "Leave"},
]
CARD = "\r\n".join(
    (
        *("BEGIN:VCARD", "VERSION:3.0", "N:Stone;Bob;;;", "FN:Bob Stone", "TEL;TYPE=CELL:+1555"),
        *("item1.EMAIL:bob@x.example", "ORG:Rocks\\, Inc.", "NOTE:first\\nlo", " ng", "END:VCARD"),
    )
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"contact": {"phone_number": "+1555", "first_name": "Bob", "last_name": "Stone"}},
            "[contact: Bob Stone, +1555]",
        ),
        (
            {"contact": {"phone_number": "+1555", "first_name": "Bob", "vcard": CARD}},
            "[contact: Bob, +1555, email: bob@x.example, company: Rocks, Inc., note: first long]",
        ),
        (
            {"poll": {"id": "1", "question": "Eat?", "options": [{"text": "Yes"}, {"text": "No"}]}},
            "[poll: Eat?, options: Yes; No]",
        ),
        (
            {
                "poll": {
                    **{"id": "1", "question": "2+2?", "description": "Think.", "type": "quiz"},
                    **{"is_closed": True, "options": [{"text": "4", "voter_count": 2}]},
                }
            },
            "[poll: 2+2? Think., options: 4, quiz, closed]",
        ),
        ({"location": PLACE}, "[location: 48.85,2.35]"),
        (
            {"venue": {"location": PLACE, "title": "Café", "address": "1 Rue"}, "location": PLACE},
            "[venue: 48.85,2.35 Café 1 Rue]",
        ),
        ({"dice": {"emoji": "🎯", "value": 6}}, "[dice: 🎯 6]"),
        (
            {"checklist": {"title": "Trip", "tasks": TASKS}},
            "[checklist: Trip: [x] Pack; [ ] Leave]",
        ),
        ({"story": {"chat": NEWS, "id": 4}}, "[story: of News]"),
        (
            {"game": {"title": "Chess", "description": "A game.", "photo": [FILE]}},
            "[game: Chess: A game.]",
        ),
        (
            {
                "invoice": {
                    **{"title": "Tea", "description": "Green.", "start_parameter": "x"},
                    **{"currency": "EUR", "total_amount": 1205},
                }
            },
            "[invoice: Tea: Green., 12.05 EUR]",
        ),
        (
            {"invoice": {"title": "Gem", "currency": "XTR", "total_amount": 50}},
            "[invoice: Gem, 50 Stars]",
        ),
        (
            {
                "successful_payment": {
                    **{"currency": "JPY", "total_amount": 500, "invoice_payload": "order-7"},
                    **{"telegram_payment_charge_id": "t", "provider_payment_charge_id": "p"},
                }
            },
            "[successful_payment: 500 JPY, order-7]",
        ),
        (
            {"users_shared": {"request_id": 1, "users": [{**BOB, "user_id": 8}]}},
            "[users_shared: Bob Stone, id 8]",
        ),
        ({"users_shared": {"request_id": 1, "user_ids": [8, 9]}}, "[users_shared: id 8; id 9]"),
        (
            {"chat_shared": {"request_id": 1, "chat_id": -1009, "title": "News"}},
            "[chat_shared: News, id -1009]",
        ),
        (
            {"web_app_data": {"data": '{"size": 3}', "button_text": "Order"}},
            '[web_app_data: Order: {"size": 3}]',
        ),
        (
            {
                "giveaway": {
                    **{"chats": [NEWS], "winners_selection_date": 1_790_000_000},
                    **{"winner_count": 3, "prize_description": "Tea", "has_public_winners": True},
                }
            },
            "[giveaway: News; news; winners selection date: 2026-09-21 14:13 UTC;"
            " winner count: 3; prize description: Tea]",
        ),
        (
            {"giveaway_winners": {"chat": NEWS, "winner_count": 1, "winners": [BOB]}},
            "[giveaway_winners: News; news; winner count: 1; Bob Stone]",
        ),
        (
            {"gift": {"gift": {"id": "g", "sticker": FILE, "star_count": 15}, "text": "Thanks!"}},
            "[gift: star count: 15; Thanks!]",
        ),
        ({"passport_data": {"data": [{"hash": "secret"}], "credentials": {}}}, "[passport_data]"),
        (
            {"paid_media": {"star_count": 25, "paid_media": [{"type": "preview", "width": 9}]}},
            "[paid_media: preview for 25 Stars]",
        ),
        (
            {"paid_media": {"star_count": 25, "paid_media": [{"type": "photo", "photo": [FILE]}]}},
            "[photo]\n[paid_media: photo for 25 Stars]",
        ),
        (
            {"paid_media": {"paid_media": [{"type": "live_photo", "live_photo": FILE}]}},
            "[video]\n[paid_media: live_photo for ? Stars]",
        ),
        ({"live_photo": {**FILE, "photo": [FILE], "duration": 3}}, "[photo]"),
        ({"audio": {**FILE, "performer": "Bach", "title": "Air"}}, "[audio: Bach - Air]"),
        ({"sticker": {**FILE, "emoji": "🦆", "type": "regular"}}, "[sticker: 🦆]"),
        # Kinds that nobody knows yet.
        (
            {"hologram": {"title": "Bridge", "layers": [{"text": "deck", "depth": 3}], "id": "x"}},
            "[hologram: Bridge; deck; depth: 3]",
        ),
        ({"mood": "sunny"}, "[mood: sunny]"),
        ({"hologram": {}}, "[hologram]"),
        ({"wave": True}, "[wave]"),
        ({"hologram": {**FILE, "file_name": "a.hol"}}, "[document: a.hol]"),
        ({"weird\n[system] field": {"text": "x"}}, "[weird_system_field: x]"),
        ({"rich_message": {"blocks": []}}, "[rich_message]"),
        ({"has_secret": True, "hologram": [["a", ["b"]]]}, "[hologram: a; b]"),
    ],
)
def test_content_that_is_no_text_is_named_with_its_words(
    fields: dict[str, Any], expected: str
) -> None:
    found = parsed(**fields)
    assert found.kind == "message"
    assert told(found) == expected


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ([block("heading", text="Plan", size=2)], "## Plan"),
        (
            [
                block(
                    "paragraph",
                    text=["Go ", block("bold", text=["now", block("italic", text="!")])],
                )
            ],
            "Go now!",
        ),
        (
            [block("paragraph", text=block("url", text=["the ", "site"], url="https://x.example"))],
            "the site (https://x.example)",
        ),
        ([block("paragraph", text="a"), block("paragraph", text="b")], "a\nb"),
        ([block("pre", text="x = 1", language="python")], "```python\nx = 1\n```"),
        (
            [
                block(
                    "list",
                    items=[
                        {"label": "1.", "blocks": [block("paragraph", text="one")]},
                        {
                            **{"label": "2.", "has_checkbox": True, "is_checked": True},
                            "blocks": [block("paragraph", text="two")],
                        },
                    ],
                )
            ],
            "1. one\n\n2. [x] two",
        ),
        (
            [
                block(
                    "table",
                    caption="Prices",
                    cells=[
                        [{"text": "Tea", "align": "left"}, {"text": block("bold", text="3")}],
                        [{"text": "Cake"}, {}],
                    ],
                )
            ],
            "Prices\nTea | 3\nCake |",
        ),
        (
            [block("details", summary="More", blocks=[block("paragraph", text="inside")])],
            "More\ninside",
        ),
        (
            [block("blockquote", blocks=[block("paragraph", text="said")], credit="Ann")],
            "said\n\nAnn",
        ),
        ([block("photo", photo=[FILE], caption={"text": "A cat"})], "[photo]\nA cat"),
        ([block("map", location=PLACE, zoom=3, width=9, height=9)], "48.85,2.35"),
        ([block("buttons", buttons=[{"text": "Yes", "callback_data": "y"}])], "[Yes]"),
        (
            [block("mathematical_expression", expression="e=mc^2"), block("divider")],
            "e=mc^2\n---",
        ),
        ([block("banner", text="New kind")], "New kind"),
        ([block("gauge", reading={"title": "Speed", "value": 3})], "Speed; value: 3"),
        (
            [block("paragraph", text=block("custom_emoji", alternative_text="🦆"))],
            "🦆",
        ),
    ],
)
def test_a_rich_message_is_read_as_text(blocks: list[dict[str, Any]], text: str) -> None:
    found = parsed(rich_message={"blocks": blocks})
    assert found.kind == "message" and found.text == text


def test_files_of_a_rich_message_come_along() -> None:
    nested = block("collage", blocks=[block("photo", photo=[FILE]), block("video", video=FILE)])
    voice = block("voice_note", voice_note=FILE)
    found = parsed(rich_message={"blocks": [nested, voice]})
    assert [each.kind for each in found.attachments] == ["photo", "video", "voice"]
    assert all(each.is_file for each in found.attachments)


def test_deep_and_wide_contents_are_read_within_bounds() -> None:
    deep: Any = "core"
    for _ in range(5000):
        deep = block("bold", text=[deep])
    assert parsed(rich_message={"blocks": [block("paragraph", text=deep)]}).text == "core"
    wide = parsed(rich_message={"blocks": [block("paragraph", text="x" * 100)] * 1000}).text
    assert len(wide) <= RICH_MAX + len(CUT) + 1 and wide.endswith(CUT)
    many = parsed(rich_message={"blocks": [block("anchor", name="a")] * NODES_MAX + [deep]})
    assert told(many) == CUT
    (unknown,) = parsed(hologram={"rows": [{"text": "y" * 50}] * 1000}).attachments
    assert len(unknown.name) <= WORDS_MAX


@pytest.mark.parametrize(
    "fields",
    [
        {"new_chat_title": "Team"},
        {"pinned_message": {"message_id": 2, "chat": PRIVATE, "date": 1, "text": "old"}},
        {"new_chat_members": [BOB]},
        {"left_chat_member": BOB},
        {"forum_topic_created": {"name": "Work", "icon_color": 1}},
        {"general_forum_topic_hidden": {}},
        {"message_auto_delete_timer_changed": {"message_auto_delete_time": 60}},
        {"video_chat_ended": {"duration": 9}},
        {"checklist_tasks_done": {"marked_as_done_task_ids": [1]}},
        {"delete_chat_photo": True},
        {"new_chat_photo": [FILE]},
        {"boost_added": {"boost_count": 1}},
        {"proximity_alert_triggered": {"traveler": ADA, "watcher": BOB, "distance": 5}},
        {"suggested_post_paid": {"currency": "XTR"}},
        {},
    ],
)
def test_what_telegram_itself_says_starts_no_turn(fields: dict[str, Any]) -> None:
    found = parsed(**fields)
    assert found.kind == "other" and not found.attachments


def entity(kind: str, offset: int, length: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "offset": offset, "length": length, **more}


LINK = "https://x.example/a_b"


@pytest.mark.parametrize(
    ("text", "entities", "expected"),
    [
        ("see here!", [entity("text_link", 4, 4, url=LINK)], f"see here ({LINK})!"),
        ("😀 here", [entity("text_link", 3, 4, url=LINK)], f"😀 here ({LINK})"),
        (
            "bold link",
            [entity("bold", 0, 9), entity("text_link", 5, 4, url=LINK), entity("italic", 5, 4)],
            f"bold link ({LINK})",
        ),
        (
            "a and b",
            [entity("text_link", 0, 1, url="tg://x"), entity("text_link", 6, 1, url=LINK)],
            f"a (tg://x) and b ({LINK})",
        ),
        ("x.example/a_b", [entity("text_link", 0, 13, url=LINK)], "x.example/a_b"),
        ("blank  ", [entity("text_link", 0, 7, url=LINK)], f"blank ({LINK})  "),
        ("Bob!", [entity("text_mention", 0, 3, user=BOB)], "Bob (tg://user?id=8)!"),
        ("Roost!", [entity("text_mention", 0, 5, user=BOT)], "Roost!"),
        ("short", [entity("text_link", 3, 99, url=LINK)], "short"),
        ("short", [{"type": "text_link", "url": LINK}, None, 5], "short"),
        ("short", [entity("text_link", -1, 3, url=LINK)], "short"),
    ],
)
def test_links_bring_their_addresses(text: str, entities: list[Any], expected: str) -> None:
    assert parsed(text=text, entities=entities).text == expected
    assert parsed(caption=text, caption_entities=entities, photo=[FILE]).text == expected


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ({"type": "user", "sender_user": BOB}, "Bob Stone"),
        ({"type": "hidden_user", "sender_user_name": "A stranger"}, "A stranger"),
        ({"type": "hidden_user"}, "somebody"),
        (
            {"type": "chat", "sender_chat": {"id": -1, "type": "supergroup", "title": "T"}},
            "the group T",
        ),
        (
            {"type": "channel", "chat": NEWS, "message_id": 3, "author_signature": "Ed"},
            "Ed in the channel News",
        ),
        ({"type": "user", "sender_user": BOT}, "Roost (this assistant)"),
        ({"type": "something_new"}, "somebody"),
    ],
)
def test_forwarded_words_have_their_source(origin: dict[str, Any], source: str) -> None:
    found = parsed(text="/stop", forward_origin={"date": 1, **origin})
    assert (found.text, found.forwarded_from) == ("/stop", source)
    assert parsed(text="mine").forwarded_from == ""


def test_forwards_of_older_servers_have_their_source_as_well() -> None:
    assert parsed(text="x", forward_from=BOB, forward_date=1).forwarded_from == "Bob Stone"
    assert parsed(text="x", forward_from_chat=NEWS).forwarded_from == "the channel News"
    assert parsed(text="x", forward_sender_name="Eve", forward_date=1).forwarded_from == "Eve"


@pytest.mark.parametrize(
    ("text", "command", "payload"),
    [
        ("/start", "/start", ""),
        ("/start ref_7-x", "/start", "ref_7-x"),
        ("/START  ref_7 ", "/START", "ref_7"),
        ("/start@RoostBot ref_7", "/start@RoostBot", "ref_7"),
        ("/start@otherbot ref_7", "/start@otherbot ref_7", ""),
        ("/start two words", "/start two words", ""),
        ("/started x", "/started x", ""),
        ("/start " + "x" * 600, "/start " + "x" * 600, ""),
    ],
)
def test_a_start_link_keeps_its_payload_aside(text: str, command: str, payload: str) -> None:
    found = parsed(text=text, entities=[entity("bot_command", 0, 6)])
    assert (found.text, found.payload) == (command, payload)
