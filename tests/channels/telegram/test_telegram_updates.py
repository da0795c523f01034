"""Updates as Telegram words them, and what we make of them."""

from typing import Any

import pytest

from roost_channels.message import Attachment, InboundMessage, Quote
from roost_channels.telegram.inbound.updates import read

BOT = {"id": 42, "is_bot": True, "first_name": "Roost", "username": "roostbot"}
ADA = {"id": 7, "is_bot": False, "first_name": "Ada", "last_name": "L", "username": "ada"}
PRIVATE = {"id": 7, "type": "private", "first_name": "Ada"}
GROUP = {"id": -100, "type": "supergroup", "title": "Team"}


def message(**fields: Any) -> dict[str, Any]:
    body = {"message_id": 5, "from": ADA, "chat": PRIVATE, "date": 1_790_000_000, **fields}
    return {"update_id": 1001, "message": body}


def parsed(update: dict[str, Any]) -> InboundMessage:
    found = read(update, "42", "roostbot")
    assert found is not None
    return found


def test_a_text_carries_its_ids_its_sender_and_the_raw_update() -> None:
    update = message(text="hello", unknown_field={"new": True})
    found = parsed(update)
    assert (found.kind, found.text, found.event_id, found.message_id) == (
        "message",
        "hello",
        "1001",
        "5",
    )
    assert found.address.key == "telegram:42:7"
    assert (found.sender.address, found.sender.display_name) == ("7", "Ada L")
    assert found.raw == update and found.is_addressed and not found.is_group


def test_r16_topics_are_conversations_of_their_own() -> None:
    update = message(text="hi", chat=GROUP, message_thread_id=9, is_topic_message=True)
    assert parsed(update).address.key == "telegram:42:-100:9"
    # A thread that is no topic (a plain reply thread) stays with the chat.
    assert parsed(message(text="hi", chat=GROUP, message_thread_id=9)).address.thread == ""


@pytest.mark.parametrize(
    ("text", "extra", "addressed"),
    [
        ("hello all", {}, False),
        ("hi @roostbot", {"entities": [{"type": "mention", "offset": 3, "length": 9}]}, True),
        ("😀 @RoostBot", {"entities": [{"type": "mention", "offset": 3, "length": 9}]}, True),
        ("hi @roostbots", {"entities": [{"type": "mention", "offset": 3, "length": 10}]}, False),
        ("/stop", {"entities": [{"type": "bot_command", "offset": 0, "length": 5}]}, True),
        ("/stop@other", {"entities": [{"type": "bot_command", "offset": 0, "length": 11}]}, False),
        (
            "you there",
            {"entities": [{"type": "text_mention", "offset": 0, "length": 3, "user": BOT}]},
            True,
        ),
        (
            "thanks",
            {"reply_to_message": {"message_id": 3, "from": BOT, "chat": GROUP, "text": "x"}},
            True,
        ),
        (
            "thanks",
            {"reply_to_message": {"message_id": 3, "from": ADA, "chat": GROUP, "text": "x"}},
            False,
        ),
    ],
)
def test_groups_are_answered_only_when_they_speak_to_us(
    text: str, extra: dict[str, Any], addressed: bool
) -> None:
    found = parsed(message(text=text, chat=GROUP, **extra))
    assert found.is_group and found.is_addressed is addressed


def test_a_reply_quotes_the_whole_message_and_a_selection_its_passage() -> None:
    old = {"message_id": 3, "from": BOT, "chat": PRIVATE, "text": "one two three"}
    assert parsed(message(text="why", reply_to_message=old)).quote == Quote(
        "3", "bot", "one two three", "one two three"
    )
    selected = {"text": "two", "position": 4, "is_manual": True}
    assert parsed(message(text="why", reply_to_message=old, quote=selected)).quote == Quote(
        "3", "bot", "one two three", "two", 4, True
    )


@pytest.mark.parametrize(
    ("fields", "quote"),
    [
        (
            {"reply_to_message": {"message_id": 3, "from": ADA, "caption": "a cat", "photo": [{}]}},
            Quote("3", "user", "a cat", "a cat"),  # a photo without an id can't be fetched
        ),
        (
            {"reply_to_message": {"message_id": 3, "from": {"id": 9}, "photo": [{"file_id": "x"}]}},
            Quote("3", "other", "[photo]", "[photo]", files=(Attachment("photo", "x"),)),
        ),
        (
            {"reply_to_message": {"message_id": 3, "from": ADA}},
            Quote("3", "user", "", "", resolved=False),
        ),
        (
            {
                "external_reply": {"origin": {"type": "user"}, "message_id": 8},
                "quote": {"text": "elsewhere", "position": 2, "is_manual": True},
            },
            Quote(None, "other", "elsewhere", "elsewhere", 2, True),
        ),
        (
            {"external_reply": {"origin": {"type": "user"}, "voice": {"file_id": "v"}}},
            Quote(None, "other", "[voice]", "[voice]", files=(Attachment("voice", "v"),)),
        ),
        ({"reply_to_story": {"id": 1}}, Quote(None, "other", "[story]", "[story]")),
        # Every message of a topic hangs on the one that opened it: no quote.
        ({"reply_to_message": {"message_id": 1, "forum_topic_created": {"name": "x"}}}, None),
    ],
)
def test_what_is_quoted_is_kept_as_a_snapshot(fields: dict[str, Any], quote: Quote | None) -> None:
    assert parsed(message(text="hm", **fields)).quote == quote


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"photo": [{"file_id": "s"}, {"file_id": "l", "file_size": 9}]}, ["photo"]),
        ({"voice": {"file_id": "v", "mime_type": "audio/ogg"}}, ["voice"]),
        ({"document": {"file_id": "d", "file_name": "a.pdf"}}, ["document"]),
        ({"animation": {"file_id": "a"}, "document": {"file_id": "a"}}, ["animation"]),
        ({"location": {"latitude": 1.5, "longitude": 2.5}}, ["location"]),
        ({"contact": {"first_name": "B", "phone_number": "+1"}}, ["contact"]),
        ({"poll": {"id": "p", "question": "Q?"}}, ["poll"]),
    ],
)
def test_files_and_places_become_attachments(fields: dict[str, Any], kinds: list[str]) -> None:
    found = parsed(message(caption="look", **fields))
    assert [attachment.kind for attachment in found.attachments] == kinds
    assert found.kind == "message" and found.text == "look"


def test_the_largest_photo_is_taken() -> None:
    sizes: list[dict[str, object]] = [{"file_id": "s"}, {"file_id": "l", "file_size": 9}]
    attachment = parsed(message(photo=sizes)).attachments[0]
    assert (attachment.provider_id, attachment.size) == ("l", 9)
    large, small = {"file_id": "l", "width": 90, "height": 60}, {"file_id": "s", "width": 9}
    for sizes in ([large, {**small, "height": 6}], [{**small, "height": 6}, large], [small, large]):
        assert parsed(message(photo=sizes)).attachments[0].provider_id == "l"


def test_a_pressed_button_brings_its_data_and_whose_press_it_was() -> None:
    body = {"message_id": 6, "from": BOT, "chat": PRIVATE, "date": 1}
    update = {
        "update_id": 1002,
        "callback_query": {"id": "99", "from": ADA, "message": body, "data": "stop:turn"},
    }
    found = parsed(update)
    assert (found.kind, found.text, found.sender.address) == ("callback", "stop:turn", "7")


def test_a_native_stop_is_a_stop() -> None:
    update = {"update_id": 3, "stopped_message_generation": {"chat": PRIVATE, "draft_id": 4}}
    assert parsed(update).kind == "stop"


@pytest.mark.parametrize(
    ("update", "kind"),
    [
        ({"update_id": 4, "edited_message": message(text="x")["message"]}, "edited"),
        (message(new_chat_title="t"), "other"),
        (message(text="beep", **{"from": {**ADA, "is_bot": True}}), "other"),
        (message(text="post", chat={"id": -5, "type": "channel"}), "other"),
        ({"update_id": 6, "something_new": {"chat": PRIVATE}}, "other"),
    ],
)
def test_what_is_not_answered_is_kept(update: dict[str, Any], kind: str) -> None:
    found = parsed(update)
    assert found.kind == kind and found.raw == update


@pytest.mark.parametrize(
    "update",
    [{"update_id": 8}, {"update_id": 9, "poll": {"id": "1"}}],
)
def test_updates_without_a_chat_are_nobodys(update: dict[str, Any]) -> None:
    assert read(update, "42") is None


@pytest.mark.parametrize(
    ("update", "chat", "event_id"),
    [
        ({"update_id": 7, "message": {"chat": PRIVATE, "text": "no id"}}, "7", "7"),
        ({"update_id": 10, "message": 5}, "unreadable", "10"),
        ({"update_id": 11, "callback_query": {"message": {"chat": 4}}}, "unreadable", "11"),
        ({"update_id": 12, "my_chat_member": {"chat": PRIVATE, "from": ADA}}, "7", "12"),
        (message(text="x", edit_date="soon", chat=GROUP), "-100", "1001"),
    ],
)
def test_what_can_not_be_read_is_a_dead_letter_with_its_reason(
    update: dict[str, Any], chat: str, event_id: str
) -> None:
    found = parsed(update)
    assert found.kind == "other" and found.problem and found.raw == update
    assert (found.address.chat, found.event_id) == (chat, event_id)


@pytest.mark.parametrize("update", [5, None, ["x"], {"message": message()["message"]}])
def test_what_is_no_update_at_all_is_kept_as_well(update: Any) -> None:
    found = read(update, "42")
    assert found is not None and found.problem and found.event_id.startswith("unnumbered:")
    again = read(update, "42")
    assert again is not None and again.event_id == found.event_id


def test_the_general_topic_is_one_conversation_however_it_is_named() -> None:
    forum = {**GROUP, "is_forum": True}
    named = {"message_thread_id": 1, "is_topic_message": True}
    for fields in ({"chat": forum}, {"chat": GROUP}, {"chat": forum, **named}, {**named}):
        update = message(text="hi", **{"chat": GROUP, **fields})
        assert parsed(update).address.key == "telegram:42:-100"
    inside = message(text="hi", chat=forum, message_thread_id=9, is_topic_message=True)
    assert parsed(inside).address.thread == "9"


def test_a_message_in_a_topic_that_we_opened_is_not_addressed_to_us() -> None:
    root = {"message_id": 9, "from": BOT, "chat": GROUP, "forum_topic_created": {"name": "x"}}
    assert not parsed(message(text="hi", chat=GROUP, reply_to_message=root)).is_addressed
    reply = {"message_id": 10, "from": BOT, "chat": GROUP, "text": "yes?"}
    assert parsed(message(text="hi", chat=GROUP, reply_to_message=reply)).is_addressed


def test_both_notices_of_a_move_name_the_old_chat_and_the_new_id() -> None:
    basic = {"id": -5, "type": "group", "title": "Team"}
    told = parsed(message(chat=basic, migrate_to_chat_id=-100))
    heard = parsed(message(chat=GROUP, migrate_from_chat_id=-5))
    for found in (told, heard):
        assert (found.kind, found.address.chat, found.text) == ("migrated", "-5", "-100")


@pytest.mark.parametrize(
    ("status", "text"), [("kicked", "out"), ("left", "out"), ("member", "in"), ("restricted", "in")]
)
def test_being_let_in_and_shut_out_is_told(status: str, text: str) -> None:
    member = {"chat": PRIVATE, "from": ADA, "date": 1, "new_chat_member": {"status": status}}
    found = parsed({"update_id": 5, "my_chat_member": member})
    assert (found.kind, found.text, found.address.chat) == ("membership", text, "7")
