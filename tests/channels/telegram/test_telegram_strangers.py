"""Fields from after this was written, broken ones, and the direct messages of channels."""

from typing import Any

import pytest

from roost_channels.channel import Outgoing
from roost_channels.errors import THREAD_GONE, Throttled, Unreachable
from roost_channels.message import InboundMessage
from roost_channels.rendering.parts import RenderedPart
from roost_channels.telegram.bot_api import methods
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.errors import refused
from roost_channels.telegram.forums import direct_topic
from roost_channels.telegram.inbound.updates import read

ADA = {"id": 7, "is_bot": False, "first_name": "Ada"}
PRIVATE = {"id": 7, "type": "private", "first_name": "Ada"}
DIRECT = {"id": -100, "type": "supergroup", "title": "News", "is_direct_messages": True}


def parsed(name: str = "message", **fields: Any) -> InboundMessage:
    body = {"message_id": 5, "from": ADA, "chat": PRIVATE, "date": 1_790_000_000, **fields}
    found = read({"update_id": 1, name: body}, "42", "roostbot")
    assert found is not None
    return found


def test_each_person_who_writes_to_a_channel_has_a_conversation_alone() -> None:
    first = parsed(text="hi", chat=DIRECT, direct_messages_topic={"topic_id": 501, "user": ADA})
    second = parsed(text="ho", chat=DIRECT, direct_messages_topic={"topic_id": 502})
    assert first.address.key != second.address.key
    assert first.is_addressed and not first.is_group and first.kind == "message"


def test_what_admins_of_a_channel_write_there_is_not_answered() -> None:
    channel = {"id": -99, "type": "channel", "title": "News"}
    topic = {"topic_id": 501, "user": ADA}
    found = parsed(text="hello", chat=DIRECT, direct_messages_topic=topic, sender_chat=channel)
    assert found.kind == "other"


async def test_an_answer_goes_to_the_topic_of_the_person(
    channel: TelegramChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    async def call(method: Any, **_: Any) -> Any:
        calls.append(method)
        return type("Sent", (), {"message_id": 9})()

    monkeypatch.setattr(channel._client, "call", call)
    address = parsed(text="hi", chat=DIRECT, direct_messages_topic={"topic_id": 501}).address
    await channel.send(Outgoing(address, RenderedPart("yes")))
    await channel.indicate(address)  # Telegram shows no typing there
    (sent,) = calls
    assert isinstance(sent, methods.SendMessage)
    assert sent.direct_messages_topic_id == 501 and sent.message_thread_id is None


def test_other_threads_are_no_topics_of_direct_messages() -> None:
    assert [direct_topic(one) for one in ("", "9", "direct-", "direct-x")] == [None] * 4


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("photo", {"file_id": "P"}),
        ("photo", ["x"]),
        ("document", "a string"),
        ("reply_to_message", {"from": ADA, "text": "no id"}),
        ("entities", [3, {"type": "text_link", "offset": "x", "length": [], "url": 9}]),
        ("paid_media", [1]),
        ("forward_origin", ["user"]),
    ],
)
def test_a_broken_field_takes_no_words_away(field: str, broken: Any) -> None:
    found = parsed(text="these words", **{field: broken})
    assert (found.kind, found.text, found.problem) == ("message", "these words", "")


def test_a_message_that_is_one_broken_field_is_named() -> None:
    found = parsed(photo={"file_id": "P"})
    assert found.kind == "message" and not found.problem
    assert [one.kind for one in found.attachments] == ["photo"]


@pytest.mark.parametrize("broken", [{"chat": None}, {"chat": "x"}, {"message_id": None}, {}])
def test_a_message_without_a_place_is_kept_as_a_dead_letter(broken: dict[str, Any]) -> None:
    body = {"message_id": 5, "from": ADA, "text": "hi", **broken}
    found = read({"update_id": 1, "message": body}, "42", "roostbot")
    assert found is not None
    assert found.problem or found.message_id == "None"


def test_what_an_entity_shows_stands_beside_its_words() -> None:
    moment = {"type": "date_time", "offset": 5, "length": 8, "unix_time": 1_800_000_000}
    assert parsed(text="meet tomorrow", entities=[moment]).text == (
        "meet tomorrow (2027-01-15 08:00 UTC)"
    )
    portal = {"type": "portal", "offset": 5, "length": 4, "url": "https://p.example"}
    assert parsed(text="look here now", entities=[portal]).text == (
        "look here (https://p.example) now"
    )


@pytest.mark.parametrize("moment", [-1, 10**30, "now", None, True, 1.5])
def test_a_moment_that_is_none_says_nothing(moment: Any) -> None:
    entity = {"type": "date_time", "offset": 0, "length": 4, "unix_time": moment}
    assert parsed(text="soon", entities=[entity]).text == "soon"


@pytest.mark.parametrize("offset", range(5))
@pytest.mark.parametrize("length", range(1, 5))
def test_no_link_cuts_a_character_in_two(offset: int, length: int) -> None:
    link = {"type": "text_link", "offset": offset, "length": length, "url": "https://x.example"}
    text = parsed(text="😀a😀", entities=[link]).text
    assert text.replace(" (https://x.example)", "") == "😀a😀"


def test_tasks_that_a_person_adds_to_a_checklist_are_words() -> None:
    checklist = {"title": "Trip", "tasks": [{"id": 1, "text": "pack"}]}
    added = {"checklist_message": {"checklist": checklist}, "tasks": [{"id": 2, "text": "fly"}]}
    found = parsed(checklist_tasks_added=added)
    assert found.kind == "message" and found.attachments[0].name == "Trip: fly"


def test_the_terms_of_a_suggested_post_stand_beside_its_text() -> None:
    terms = {"state": "pending", "price": {"currency": "XTR", "amount": 50}}
    found = parsed(text="my ad", suggested_post_info=terms)
    assert found.text == "my ad" and "price: 50 Stars" in found.attachments[0].name


@pytest.mark.parametrize("words", ["SLOWMODE_WAIT_7", "FLOOD_WAIT_7", "FLOOD_PREMIUM_WAIT_7"])
def test_a_wait_in_the_words_of_the_core_is_waited(words: str) -> None:
    error = refused(400, {"ok": False, "error_code": 400, "description": f"Bad Request: {words}"})
    assert isinstance(error, Throttled) and error.retry_after_s == 7


def test_a_closed_topic_is_left_like_one_that_is_gone() -> None:
    error = refused(400, {"ok": False, "error_code": 400, "description": "TOPIC_CLOSED"})
    assert isinstance(error, Unreachable) and error.code == THREAD_GONE
