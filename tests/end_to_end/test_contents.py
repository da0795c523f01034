"""What people send beside texts, through every real part but the model: all of it is answered."""

import itertools

from roost_platform.testing import World

_chats = itertools.count(7501)
TASKS = {"title": "Trip", "tasks": [{"id": 1, "text": "Pack"}, {"id": 2, "text": "Leave"}]}


def test_a_checklist_is_answered_and_a_reply_to_it_quotes_its_words(scripted: World) -> None:
    chat, phone = next(_chats), scripted.phones.telegram
    sent = phone.say(chat, "", fields={"checklist": TASKS})
    phone.answer(chat, sent)
    asked = phone.say(chat, "[[echo]] when?", reply_to_message_id=sent)
    assert "[checklist: Trip: [ ] Pack; [ ] Leave]" in phone.answer(chat, asked)["text"]


def test_a_kind_that_nobody_knows_yet_is_answered(scripted: World) -> None:
    chat, phone = next(_chats), scripted.phones.telegram
    sent = phone.say(chat, "", fields={"hologram": {"title": "Bridge"}})
    assert phone.answer(chat, sent)["text"]


def test_a_rich_message_is_the_persons_text(scripted: World) -> None:
    chat, phone = next(_chats), scripted.phones.telegram
    blocks = [{"type": "paragraph", "text": ["[[say:", {"type": "bold", "text": "Hi!"}, "]]"]}]
    sent = phone.say(chat, "", fields={"rich_message": {"blocks": blocks}})
    assert phone.answer(chat, sent)["text"] == "Hi!"


def test_forwarded_words_stop_nothing_and_are_answered(scripted: World) -> None:
    chat, phone = next(_chats), scripted.phones.telegram
    long = phone.say(chat, "[[slow:12]]")
    phone.say(chat, "/stop", forwarded_from="Eve")
    words = [message["text"] for message in [phone.answer(chat, long)]]
    assert not any("Stopped" in text for text in words)
