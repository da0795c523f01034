"""FakeTelegram's replies, quotes, edits, deletions, buttons, typing, drafts and reactions."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from roost_channels.testing import FakeTelegram, VirtualClock

Call = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]
STOP = {"inline_keyboard": [[{"text": "Stop", "callback_data": "stop:1"}]]}


async def sent(call: Call, fake: FakeTelegram, **parameters: Any) -> int:
    status, body = await call(fake, "sendMessage", **({"chat_id": 7, "text": "x"} | parameters))
    assert status == 200, body
    return int(body["result"]["message_id"])


def why(answer: tuple[int, Any]) -> str:
    status, body = answer
    assert status == 400, body
    return str(body["description"]).removeprefix("Bad Request: ")


async def test_a_quote_must_be_an_exact_passage(telegram: FakeTelegram, call: Call) -> None:
    question = await telegram.user_says(7, "🐈 one, two, one")
    for quote, wanted, position in (("one", 0, 3), ("one", 12, 13), ("🐈 one", 0, 0)):
        reply = {"message_id": question, "quote": quote, "quote_position": wanted}
        _, body = await call(telegram, "sendMessage", chat_id=7, text="x", reply_parameters=reply)
        assert body["result"]["quote"] == {"text": quote, "position": position, "is_manual": True}
    reply = {"message_id": question, "quote": "three"}
    refused = await call(telegram, "sendMessage", chat_id=7, text="x", reply_parameters=reply)
    assert why(refused) == "QUOTE_TEXT_INVALID"


async def test_a_quote_must_carry_the_styles_of_its_passage(
    telegram: FakeTelegram, call: Call
) -> None:
    bold = {"type": "bold", "offset": 4, "length": 3}
    link = {"type": "text_link", "offset": 0, "length": 3, "url": "https://example.org"}
    target = await telegram.user_says(7, "one two", entities=[link, bold])
    plain = {"message_id": target, "quote": "one two"}
    refused = await call(telegram, "sendMessage", chat_id=7, text="x", reply_parameters=plain)
    assert why(refused) == "QUOTE_TEXT_INVALID"
    styled = {**plain, "quote_entities": [bold]}
    assert await sent(call, telegram, reply_parameters=styled)


async def test_a_quote_has_at_most_1024_units(telegram: FakeTelegram, call: Call) -> None:
    question = await telegram.user_says(7, "a" * 2000)
    reply = {"message_id": question, "quote": "a" * 1025}
    refused = await call(telegram, "sendMessage", chat_id=7, text="x", reply_parameters=reply)
    assert why(refused) == "QUOTE_TEXT_INVALID"
    assert await sent(call, telegram, reply_parameters={**reply, "quote": "a" * 1024})


async def test_a_reply_to_a_missing_message_fails_unless_it_may_go_without(
    telegram: FakeTelegram, call: Call
) -> None:
    question = await telegram.user_says(7, "soon gone")
    telegram.user_deletes(7, question)
    reply = {"message_id": question}
    refused = await call(telegram, "sendMessage", chat_id=7, text="x", reply_parameters=reply)
    assert why(refused) == "message to be replied not found"
    anyway = {**reply, "allow_sending_without_reply": True}
    await sent(call, telegram, reply_parameters=anyway)
    assert telegram.visible(7)[-1].reply_to is None


async def test_replies_across_topics_are_external_and_never_go_without(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.add_group(-1001, topics={5: "Ideas", 6: "Bugs"})
    idea = await telegram.user_says(-1001, "An idea", thread=5)
    _, body = await call(
        telegram,
        "sendMessage",
        chat_id=-1001,
        text="x",
        message_thread_id=6,
        reply_parameters={"message_id": idea, "chat_id": -1001},
    )
    result = body["result"]
    assert result["external_reply"]["message_id"] == idea
    assert result["reply_to_message"]["message_id"] == 6  # the topic's first message
    await telegram.user_says(7, "Hi")
    missing = {"message_id": 999, "chat_id": -1001, "allow_sending_without_reply": True}
    refused = await call(telegram, "sendMessage", chat_id=7, text="x", reply_parameters=missing)
    assert why(refused) == "message to be replied not found"


async def test_a_users_quote_arrives_with_the_quoted_message(
    telegram: FakeTelegram, call: Call
) -> None:
    await telegram.user_says(7, "Hi")
    answer = await sent(call, telegram, text="🐈 The first. The second.")
    await telegram.user_says(7, "This one?", reply_to=answer, quote="The second.")
    _, body = await call(telegram, "getUpdates")
    message = body["result"][-1]["message"]
    assert message["reply_to_message"]["text"] == "🐈 The first. The second."
    assert message["quote"] == {"text": "The second.", "position": 14, "is_manual": True}
    with pytest.raises(ValueError, match="is not in the message"):
        await telegram.user_says(7, "?", reply_to=answer, quote="The third.")
    with pytest.raises(ValueError, match="no message 999"):
        await telegram.user_says(7, "?", reply_to=999)


async def test_a_reply_to_a_deleted_message_shows_so(telegram: FakeTelegram, call: Call) -> None:
    await telegram.user_says(7, "Hi")
    status_id = await sent(call, telegram, text="Working")
    await sent(call, telegram, text="Done", reply_parameters={"message_id": status_id})
    await call(telegram, "deleteMessage", chat_id=7, message_id=status_id)
    reply = telegram.visible(7)[-1].reply_to
    assert reply is not None and reply.text == "Deleted message"


async def test_an_edit_that_changes_nothing_is_refused(telegram: FakeTelegram, call: Call) -> None:
    await telegram.user_says(7, "Hi")
    message = await sent(call, telegram, text="One", reply_markup=STOP)
    same = {"chat_id": 7, "message_id": message, "text": "One  ", "reply_markup": STOP}
    assert why(await call(telegram, "editMessageText", **same)) == (
        "message is not modified: specified new message content and reply markup are exactly the "
        "same as a current content and reply markup of the message"
    )
    assert not telegram.visible(7)[-1].edited


async def test_an_edit_without_a_keyboard_removes_it(telegram: FakeTelegram, call: Call) -> None:
    await telegram.user_says(7, "Hi")
    message = await sent(call, telegram, text="One", reply_markup=STOP)
    await call(telegram, "editMessageText", chat_id=7, message_id=message, text="One")
    shown = telegram.visible(7)[-1]
    assert (shown.buttons, shown.edited, telegram.notifications(7)) == ((), True, 1)


async def test_only_own_existing_editable_messages_can_be_edited(
    telegram: FakeTelegram, call: Call
) -> None:
    question = await telegram.user_says(7, "Hi")

    async def edit(message_id: int) -> str:
        answer = await call(
            telegram, "editMessageText", chat_id=7, message_id=message_id, text="New"
        )
        return why(answer)

    assert await edit(999) == "message to edit not found"
    assert await edit(question) == "message can't be edited"
    force = await sent(call, telegram, reply_markup={"force_reply": True})
    assert await edit(force) == "message can't be edited"
    gone = await sent(call, telegram)
    await call(telegram, "deleteMessage", chat_id=7, message_id=gone)
    assert await edit(gone) == "message to edit not found"


async def test_messages_can_be_deleted_for_48_hours_and_once(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    fake = timed_telegram
    await fake.user_says(7, "Hi")
    old, young = await sent(call, fake), await sent(call, fake)
    assert (await call(fake, "deleteMessage", chat_id=7, message_id=young))[0] == 200
    again = await call(fake, "deleteMessage", chat_id=7, message_id=young)
    assert why(again) == "message to delete not found"
    await clock.advance(48 * 3600 + 1)
    too_late = await call(fake, "deleteMessage", chat_id=7, message_id=old)
    assert why(too_late) == "message can't be deleted"
    assert why(await call(fake, "deleteMessage", chat_id=7)) == (
        "message identifier is not specified"
    )


async def test_edit_rates_are_measured(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    fake = timed_telegram
    await fake.user_says(7, "Hi")
    message = await sent(call, fake, text="0")
    for number, pause in enumerate((1.5, 1.5, 0.25), start=1):
        await clock.advance(pause)
        await call(fake, "editMessageText", chat_id=7, message_id=message, text=str(number))
    assert fake.shortest_edit_interval(7) == 0.25
    assert fake.highest_edit_rate(7) == 2.0
    assert fake.highest_edit_rate(7, window_s=10) == 0.3


async def test_a_press_is_answered_once_and_in_time(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    fake = timed_telegram
    await fake.user_says(7, "Hi")
    message = await sent(call, fake, reply_markup=STOP)
    press = await fake.press(7, message, "stop:1")
    assert (await call(fake, "answerCallbackQuery", callback_query_id=press))[0] == 200
    too_old = "query is too old and response timeout expired or query ID is invalid"
    assert why(await call(fake, "answerCallbackQuery", callback_query_id=press)) == too_old
    assert why(await call(fake, "answerCallbackQuery", callback_query_id="5")) == too_old
    late = await fake.press(7, message, "stop:1")
    await clock.advance(151)
    assert why(await call(fake, "answerCallbackQuery", callback_query_id=late)) == too_old
    with pytest.raises(ValueError, match="shows no button"):
        await fake.press(7, message, "other")


async def test_typing_lasts_five_seconds_or_until_a_message(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    fake = timed_telegram
    await fake.user_says(7, "Hi")
    await call(fake, "sendChatAction", chat_id=7, action="typing")
    await clock.advance(4.9)
    assert fake.typing(7)
    await clock.advance(0.2)
    assert not fake.typing(7)
    await call(fake, "sendChatAction", chat_id=7, action="typing")
    await sent(call, fake)
    assert not fake.typing(7)
    wrong = await call(fake, "sendChatAction", chat_id=7, action="thinking")
    assert why(wrong) == "wrong parameter action in request"


async def test_a_draft_lives_thirty_seconds_and_belongs_in_private_chats(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    fake = timed_telegram
    await fake.user_says(7, "Hi")
    await call(fake, "sendMessageDraft", chat_id=7, draft_id=1, text="Half")
    await clock.advance(29)
    await call(fake, "sendMessageDraft", chat_id=7, draft_id=1, text="Half an answer")
    await clock.advance(29)
    assert fake.draft(7) == "Half an answer"
    await clock.advance(1.1)
    assert fake.draft(7) is None
    assert fake.notifications(7) == 0
    fake.add_group(-1001)
    assert (await call(fake, "sendMessageDraft", chat_id=-1001, draft_id=1, text="x"))[0] == 400
    assert (await call(fake, "sendMessageDraft", chat_id=7, draft_id=0, text="x"))[0] == 400


async def test_stopping_a_draft_tells_the_bot(telegram: FakeTelegram, call: Call) -> None:
    await telegram.user_says(7, "Hi")
    await call(telegram, "sendMessageDraft", chat_id=7, draft_id=9, text="Half")
    with pytest.raises(ValueError, match="no draft that can be stopped"):
        await telegram.stop_draft(7)
    await call(telegram, "sendMessageDraft", chat_id=7, draft_id=9, text="Half", can_stop=True)
    await telegram.stop_draft(7)
    _, body = await call(telegram, "getUpdates")
    assert body["result"][-1]["stopped_message_generation"]["draft_id"] == 9
    assert telegram.draft(7) is None


async def test_a_bot_has_one_reaction_from_the_list(telegram: FakeTelegram, call: Call) -> None:
    question = await telegram.user_says(7, "Hi")

    async def react(*emoji: str) -> tuple[int, Any]:
        reaction = [{"type": "emoji", "emoji": e} for e in emoji]
        return await call(
            telegram, "setMessageReaction", chat_id=7, message_id=question, reaction=reaction
        )

    assert (await react("👍"))[0] == 200
    assert why(await react("🥦")) == "REACTION_INVALID"
    assert why(await react("👍", "👀")) == "REACTIONS_TOO_MANY"
    assert (await react())[0] == 200
    assert telegram.visible(7)[0].reactions == ()


async def test_files_over_twenty_megabytes_cannot_be_fetched(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    fake = timed_telegram
    big = fake.add_file(b"", size=(20 << 20) + 1)
    assert why(await call(fake, "getFile", file_id=big.file_id)) == "file is too big"
    assert why(await call(fake, "getFile", file_id="nothing")) == "invalid file_id"
    assert why(await call(fake, "getFile")) == "file_id not specified"


async def test_a_file_link_ends_after_an_hour(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call, http: Any
) -> None:
    fake = timed_telegram
    file = fake.add_file(b"data")
    _, body = await call(fake, "getFile", file_id=file.file_id)
    url = f"{fake.base_url}/file/bot{fake.token}/{body['result']['file_path']}"
    assert (await http.get(url)).content == b"data"
    await clock.advance(3601)
    assert (await http.get(url)).status_code == 404
