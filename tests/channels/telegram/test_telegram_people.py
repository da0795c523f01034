"""Who writes on Telegram, what they refer to, and that no update is lost, whatever it holds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost_channels.message import FILE_KINDS, Attachment, InboundMessage, Quote
from roost_channels.telegram.forums import FORUMS_MAX, Forums
from roost_channels.telegram.inbound.fields import SERVICE
from roost_channels.telegram.inbound.updates import read

Json = dict[str, Any]

BOT = {"id": 42, "is_bot": True, "first_name": "Roost", "username": "roostbot"}
ADA = {"id": 7, "is_bot": False, "first_name": "Ada"}
BOB: Json = {"id": 8, "is_bot": False, "first_name": "Bob"}
ANONYMOUS: Json = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
CHANNEL_BOT: Json = {"id": 136817688, "is_bot": True, "first_name": "Channel"}
SERVICE_USER: Json = {"id": 777000, "is_bot": False, "first_name": "Telegram"}
PRIVATE: Json = {"id": 7, "type": "private", "first_name": "Ada"}
GROUP: Json = {"id": -100, "type": "supergroup", "title": "Team"}
NEWS: Json = {"id": -1009, "type": "channel", "title": "News", "username": "news"}
MENTION: Json = {
    "text": "@roostbot hi",
    "entities": [{"type": "mention", "offset": 0, "length": 9}],
}
LINK = {"type": "text_link", "offset": 0, "length": 3, "url": "u"}
PHOTO = [{"file_id": "s"}, {"file_id": "l", "file_size": 9}]


def update(name: str = "message", /, **fields: Any) -> dict[str, Any]:
    body = {"message_id": 5, "from": ADA, "chat": PRIVATE, "date": 1_790_000_000, **fields}
    return {"update_id": 1001, name: body}


def parsed(name: str = "message", /, **fields: Any) -> InboundMessage:
    found = read(update(name, **fields), "42", "roostbot")
    assert found is not None and not found.problem
    return found


def test_an_anonymous_admin_is_a_person_with_the_groups_name() -> None:
    found = parsed(
        **MENTION,
        **{"from": ANONYMOUS},
        chat=GROUP,
        sender_chat=GROUP,
        author_signature="Boss",
    )
    assert (found.kind, found.is_addressed) == ("message", True)
    assert (found.sender.address, found.sender.display_name) == ("-100", "Team (Boss)")
    alone = parsed(**MENTION, **{"from": ANONYMOUS}, chat=GROUP)
    assert (alone.kind, alone.sender.address) == ("message", "-100")


def test_who_writes_as_a_channel_is_the_channel() -> None:
    found = parsed(**MENTION, **{"from": CHANNEL_BOT}, chat=GROUP, sender_chat=NEWS)
    assert found.kind == "message"
    sender = (found.sender.address, found.sender.display_name, found.sender.username)
    assert sender == ("-1009", "News", "news")


def test_a_post_that_is_forwarded_to_the_channels_group_is_the_channels_word() -> None:
    origin = {"type": "channel", "date": 1, "chat": NEWS, "message_id": 3}
    found = parsed(
        text="stop",
        **{"from": SERVICE_USER},
        chat=GROUP,
        sender_chat=NEWS,
        is_automatic_forward=True,
        forward_origin=origin,
    )
    assert (found.sender.address, found.forwarded_from) == ("-1009", "the channel News")
    assert not found.is_addressed


@pytest.mark.parametrize(
    "fields",
    [
        {"from": {**BOB, "is_bot": True}},
        {"chat": NEWS, "sender_chat": NEWS},
        {"business_connection_id": "b", "chat": {**PRIVATE, "id": 99}},
    ],
)
def test_bots_posts_and_chats_of_a_business_are_kept_and_not_answered(
    fields: dict[str, Any],
) -> None:
    assert parsed(text="hi", **fields).kind == "other"


@pytest.mark.parametrize(
    "name", ["channel_post", "edited_channel_post", "business_message", "message_reaction", "new"]
)
def test_other_kinds_of_update_are_kept_and_start_nothing(name: str) -> None:
    found = parsed(name, text="stop", chat=NEWS)
    assert (found.kind, found.text, found.address.chat) == ("other", "", "-1009")


def reply(**fields: Any) -> dict[str, Any]:
    return {"message_id": 3, "from": BOB, "chat": PRIVATE, "date": 1, **fields}


@pytest.mark.parametrize(
    ("replied", "text", "files"),
    [
        (reply(photo=PHOTO), "[photo]", [Attachment("photo", "l", size=9)]),
        (reply(photo=PHOTO, caption="cat"), "cat", [Attachment("photo", "l", size=9)]),
        (
            reply(document={"file_id": "d", "file_name": "a.pdf"}),
            "[document: a.pdf]",
            [Attachment("document", "d", "a.pdf")],
        ),
        (
            reply(poll={"id": "1", "question": "Eat?", "options": [{"text": "Yes"}]}),
            "[poll: Eat?, options: Yes]",
            [],
        ),
        (
            reply(contact={"phone_number": "+1", "first_name": "B", "last_name": "S"}),
            "[contact: B S, +1]",
            [],
        ),
        (reply(location={"latitude": 1, "longitude": 2}), "[location: 1,2]", []),
        (reply(dice={"emoji": "🎲", "value": 2}), "[dice: 🎲 2]", []),
        (reply(checklist={"title": "T", "tasks": [{"text": "a"}]}), "[checklist: T: [ ] a]", []),
        (reply(invoice={"title": "Tea", "currency": "EUR", "total_amount": 5}), None, []),
        (reply(rich_message={"blocks": [{"type": "paragraph", "text": "rich"}]}), "rich", []),
        (reply(hologram={"title": "x"}), "[hologram: x]", []),
        (reply(story={"chat": NEWS, "id": 1}), "[story: of News]", []),
        (
            reply(
                text="see", entities=[{"type": "text_link", "offset": 0, "length": 3, "url": "u"}]
            ),
            "see (u)",
            [],
        ),
    ],
)
def test_a_reply_quotes_what_there_is_with_its_files(
    replied: dict[str, Any], text: str | None, files: list[Attachment]
) -> None:
    expected = "[invoice: Tea, 0.05 EUR]" if text is None else text
    quote = parsed(text="this?", reply_to_message=replied).quote
    assert quote == Quote("3", "other", expected, expected, files=tuple(files))
    external = {**replied, "origin": {"type": "user", "sender_user": BOB}, "chat": NEWS}
    if "from" in external and not {"text", "caption", "rich_message"} & set(external):
        del external["from"]
        quote = parsed(text="this?", external_reply=external).quote
        assert quote == Quote(None, "other", expected, expected, files=tuple(files))


def test_a_reply_to_one_item_of_a_list_means_that_item() -> None:
    tasks = reply(
        checklist={"title": "T", "tasks": [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]}
    )
    quote = parsed(text="why?", reply_to_message=tasks, reply_to_checklist_task_id=2).quote
    assert quote is not None
    assert (quote.excerpt, quote.text) == ("b", "[checklist: T: [ ] a; [ ] b]")
    options = [{"persistent_id": "p", "text": "Yes"}]
    poll = reply(poll={"id": "1", "question": "Eat?", "options": options})
    quote = parsed(text="why?", reply_to_message=poll, reply_to_poll_option_id="p").quote
    assert quote is not None and quote.excerpt == "Yes"


def test_people_behind_a_chat_quote_themselves() -> None:
    own = {**reply(text="mine"), "from": CHANNEL_BOT, "sender_chat": NEWS}
    mine = parsed(
        text="more", **{"from": CHANNEL_BOT}, sender_chat=NEWS, chat=GROUP, reply_to_message=own
    )
    assert mine.quote is not None and mine.quote.author == "user"
    other = {**reply(text="theirs"), "from": ANONYMOUS, "sender_chat": GROUP}
    found = parsed(
        text="more", **{"from": CHANNEL_BOT}, sender_chat=NEWS, chat=GROUP, reply_to_message=other
    )
    assert found.quote is not None and found.quote.author == "other"


def test_an_entity_that_makes_no_sense_loses_no_message() -> None:
    found = parsed(text="hi", chat=GROUP, entities=[{"type": "mention"}])
    assert (found.text, found.is_addressed) == ("hi", False)


def test_a_name_in_a_rich_message_speaks_to_us() -> None:
    rich = {
        "blocks": [{"type": "paragraph", "text": ["hi ", {"type": "mention", "text": "@RoostBot"}]}]
    }
    assert parsed(chat=GROUP, rich_message=rich).is_addressed
    rich = {"blocks": [{"type": "paragraph", "text": "hi roostbot"}]}
    assert not parsed(chat=GROUP, rich_message=rich).is_addressed


def test_forums_are_learned_from_messages_within_a_bound() -> None:
    forums = Forums()
    for number in range(FORUMS_MAX + 5):
        forums.learn(update(chat={"id": -number, "is_forum": True}))
    forums.learn(update(chat=GROUP))
    for nothing in (5, None, {"update_id": 1, "message": 5}, {"message": {"chat": 3}}):
        forums.learn(nothing)
    assert "-3" not in forums and "-100" in forums and "-1004" in forums


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5)
    ),
    max_leaves=20,
)
_NAMES = """
    text caption entities caption_entities photo voice document animation sticker location venue
    contact poll dice game invoice story checklist paid_media giveaway users_shared chat_shared
    web_app_data rich_message gift live_photo forward_origin reply_to_message external_reply quote
    reply_to_story sender_chat from media_group_id message_thread_id is_topic_message hologram
    edit_date author_signature reply_to_checklist_task_id new_chat_title migrate_to_chat_id
"""
FIELDS = sorted(_NAMES.split())
MESSAGES = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6)
NAMES = st.sampled_from(
    ["message", "edited_message", "callback_query", "my_chat_member", "channel_post", "novelty"]
)


@given(JSON)
def test_no_json_makes_the_reader_fail(anything: Any) -> None:
    read(anything, "42", "roostbot")
    read({"update_id": 3, "message": anything}, "42", "roostbot")


@given(NAMES, MESSAGES)
def test_no_update_with_a_chat_is_lost(name: str, fields: dict[str, Any]) -> None:
    raw = update(name, **fields)
    found = read(raw, "42", "roostbot")
    assert found is not None or name == "callback_query"
    if found is not None:
        assert found.raw == raw
        assert found.address.chat in ("7", "unreadable") or "migrate_to_chat_id" in fields


@given(st.sampled_from(FIELDS), JSON)
def test_a_message_with_content_waits_for_an_answer_or_tells_why_it_can_not_be_read(
    field: str, value: Any
) -> None:
    found = read(update(**{field: value}), "42", "roostbot")
    assert found is not None
    is_content = field in FILE_KINDS or field in (
        *("text", "contact", "poll", "story", "checklist", "hologram", "rich_message"),
        *("game", "invoice", "web_app_data", "gift", "venue", "location"),
    )
    if is_content and value and field not in SERVICE:
        assert found.kind == "message" or found.problem, (field, value)
