"""The official aiogram Bot works against FakeTelegram, method by method."""

import asyncio
from io import BytesIO
from typing import Any

import pytest
from aiogram import Bot
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.methods import GetUpdates, SendMessage
from aiogram.types import (
    BotCommand,
    BotCommandScopeAllPrivateChats,
    BufferedInputFile,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    MessageEntity,
    ReactionTypeEmoji,
    ReplyParameters,
)

from roost_channels.testing import FakeTelegram

STOP = InlineKeyboardMarkup(
    inline_keyboard=[[InlineKeyboardButton(text="Stop", callback_data="stop:1")]]
)


async def test_get_me_names_the_bot(telegram: FakeTelegram, bot: Bot) -> None:
    me = await bot.get_me()
    assert (me.id, me.is_bot, me.username) == (42, True, "roost_test_bot")


async def test_get_updates_returns_what_a_user_wrote(telegram: FakeTelegram, bot: Bot) -> None:
    message_id = await telegram.user_says(7, "/stop now", first_name="Ada", username="ada")
    (update,) = await bot.get_updates(timeout=5)
    assert update.message is not None and update.message.from_user is not None
    assert update.message.message_id == message_id
    assert update.message.text == "/stop now"
    assert update.message.chat.type == "private"
    assert update.message.from_user.username == "ada"
    assert update.message.entities is not None
    assert [(e.type, e.offset, e.length) for e in update.message.entities] == [
        ("bot_command", 0, 5)
    ]


async def test_send_message_replies_with_a_quote_entities_and_buttons(
    telegram: FakeTelegram, bot: Bot
) -> None:
    question = await telegram.user_says(7, "Where is the cat?")
    sent = await bot.send_message(
        7,
        "On the mat.",
        entities=[MessageEntity(type="bold", offset=7, length=3)],
        reply_parameters=ReplyParameters(
            message_id=question, quote="the cat", quote_parse_mode=None, quote_position=9
        ),
        reply_markup=STOP,
    )
    assert sent.reply_to_message is not None and sent.reply_to_message.message_id == question
    assert sent.quote is not None
    assert (sent.quote.text, sent.quote.position, sent.quote.is_manual) == ("the cat", 9, True)
    shown = telegram.visible(7)[-1]
    assert (shown.sender, shown.text) == ("bot", "On the mat.")
    assert shown.entities == ({"type": "bold", "offset": 7, "length": 3},)
    assert shown.reply_to is not None and shown.reply_to.quote == "the cat"
    assert [(b.text, b.data) for b in shown.buttons] == [("Stop", "stop:1")]


async def test_edits_deletions_and_keyboards(telegram: FakeTelegram, bot: Bot) -> None:
    await telegram.user_says(7, "Hi")
    sent = await bot.send_message(7, "Working", reply_markup=STOP)
    edited = await bot.edit_message_text(
        "Still working", chat_id=7, message_id=sent.message_id, reply_markup=STOP
    )
    assert not isinstance(edited, bool) and edited.edit_date is not None
    await bot.edit_message_reply_markup(chat_id=7, message_id=sent.message_id)
    assert telegram.visible(7)[-1].buttons == ()
    assert telegram.visible(7)[-1].edited
    assert await bot.delete_message(7, sent.message_id)
    assert telegram.bot_texts(7) == []


async def test_pressing_a_button_and_answering_it(telegram: FakeTelegram, bot: Bot) -> None:
    await telegram.user_says(7, "Hi")
    sent = await bot.send_message(7, "Working", reply_markup=STOP)
    callback_id = await telegram.press(7, sent.message_id, "stop:1")
    updates = await bot.get_updates(timeout=5)
    query = updates[-1].callback_query
    assert query is not None and query.message is not None
    assert (query.id, query.data, query.message.message_id) == (
        callback_id,
        "stop:1",
        sent.message_id,
    )
    assert telegram.press_answer(callback_id) is None
    assert await bot.answer_callback_query(query.id, text="Stopping", show_alert=True)
    assert telegram.press_answer(callback_id) == {"text": "Stopping", "show_alert": True}


async def test_typing_draft_and_reaction(telegram: FakeTelegram, bot: Bot) -> None:
    question = await telegram.user_says(7, "Hi")
    assert await bot.send_chat_action(7, "typing")
    assert telegram.typing(7)
    assert await bot.send_message_draft(chat_id=7, draft_id=1, text="")
    assert telegram.draft(7) == "Thinking…"
    assert await bot.send_message_draft(chat_id=7, draft_id=1, text="Half an ans")
    assert telegram.draft(7) == "Half an ans"
    assert await bot.set_message_reaction(7, question, [ReactionTypeEmoji(emoji="👀")])
    assert telegram.visible(7)[0].reactions == ("👀",)
    await bot.send_message(7, "The answer")
    assert telegram.draft(7) is None
    assert not telegram.typing(7)


async def test_commands_are_kept_by_scope_and_language(bot: Bot) -> None:
    commands = [BotCommand(command="stop", description="Stop the answer")]
    scope = BotCommandScopeAllPrivateChats()
    assert await bot.set_my_commands(commands, scope=scope)
    (kept,) = await bot.get_my_commands(scope=scope)
    assert (kept.command, kept.description) == ("stop", "Stop the answer")
    assert await bot.get_my_commands() == []
    assert await bot.delete_my_commands(scope=scope)
    assert await bot.get_my_commands(scope=scope) == []


async def test_files_go_both_ways(telegram: FakeTelegram, bot: Bot) -> None:
    file = telegram.add_file(b"cat picture", "cat.jpg", "image/jpeg")
    media = {"photo": [{"file_id": file.file_id, "file_unique_id": "u", "width": 9, "height": 9}]}
    await telegram.user_says(7, "look", media=media)
    (update,) = await bot.get_updates(timeout=5)
    assert update.message is not None and update.message.photo is not None
    assert update.message.caption == "look"
    fetched = await bot.get_file(update.message.photo[-1].file_id)
    assert fetched.file_path is not None
    into = BytesIO()
    await bot.download_file(fetched.file_path, into)
    assert into.getvalue() == b"cat picture"
    sent = await bot.send_document(
        7, BufferedInputFile(b"report", filename="report.txt"), caption="Your report"
    )
    assert sent.document is not None and sent.document.file_name == "report.txt"
    assert sent.caption == "Your report"
    photo = await bot.send_photo(7, BufferedInputFile(b"photo", filename="p.jpg"))
    assert photo.photo is not None
    again = await bot.send_photo(7, photo.photo[-1].file_id)
    assert again.photo is not None and again.photo[-1].file_id == photo.photo[-1].file_id


async def test_get_chat_describes_private_chats_and_forums(
    telegram: FakeTelegram, bot: Bot
) -> None:
    telegram.add_group(-1001, "Team", topics={5: "Ideas"}, username="team")
    await telegram.user_says(7, "Hi")
    assert (await bot.get_chat(7)).type == "private"
    team = await bot.get_chat("@team")
    assert (team.id, team.type, team.is_forum) == (-1001, "supergroup", True)


async def test_webhook_settings_are_kept(bot: Bot) -> None:
    assert await bot.set_webhook("http://127.0.0.1:9/hook", allowed_updates=["message"])
    info = await bot.get_webhook_info()
    assert (info.url, info.allowed_updates) == ("http://127.0.0.1:9/hook", ["message"])
    with pytest.raises(TelegramConflictError, match="can't use getUpdates method"):
        await bot.get_updates()
    assert await bot.delete_webhook(drop_pending_updates=True)
    assert (await bot.get_webhook_info()).url == ""


async def test_topics_keep_their_messages_apart(telegram: FakeTelegram, bot: Bot) -> None:
    telegram.add_group(-1001, "Team", topics={5: "Ideas", 6: "Bugs"})
    await telegram.user_says(-1001, "An idea", thread=5)
    (update,) = await bot.get_updates(timeout=5)
    message = update.message
    assert message is not None and message.is_topic_message
    assert message.message_thread_id == 5
    # A topic's message that replies to nothing names the message that opened the topic.
    assert message.reply_to_message is not None
    assert message.reply_to_message.forum_topic_created is not None
    await bot.send_message(-1001, "Noted", message_thread_id=5)
    assert [m.text for m in telegram.visible(-1001, thread=5)] == ["An idea", "Noted"]
    assert telegram.visible(-1001, thread=6) == []


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        ("drop_before", 0, TelegramNetworkError),
        ("drop_after", 0, TelegramNetworkError),
        ("http_502", 0, ClientDecodeError),
        ("http_500", 0, TelegramServerError),
        ("garbage", 0, ClientDecodeError),
        ("cut_body", 0, TelegramNetworkError),
        ("unauthorized", 0, TelegramUnauthorizedError),
        ("rate_limit", 17, TelegramRetryAfter),
    ],
)
async def test_faults_reach_the_client_as_its_own_errors(
    telegram: FakeTelegram, bot: Bot, kind: Any, value: float, error: type[Exception]
) -> None:
    await telegram.user_says(7, "Hi")
    telegram.fault(kind, "sendMessage", value=value)
    with pytest.raises(error) as caught:
        await bot.send_message(7, "Hello")
    if isinstance(caught.value, TelegramRetryAfter):
        assert caught.value.retry_after == 17
    # Only drop_after does the work, so only then the message is there.
    done = kind in ("drop_after", "garbage", "cut_body")
    assert telegram.bot_texts(7) == (["Hello"] if done else [])
    await bot.send_message(7, "Again")
    assert telegram.bot_texts(7)[-1] == "Again"


async def test_refusals_are_the_client_s_typed_errors(telegram: FakeTelegram, bot: Bot) -> None:
    with pytest.raises(TelegramBadRequest, match="chat not found"):
        await bot.send_message(8, "Hello?")
    await telegram.block(7)
    with pytest.raises(TelegramForbiddenError, match="bot was blocked by the user"):
        await bot.send_message(7, "Hello?")
    telegram.add_group(-5, "Old", type="group")
    await telegram.migrate(-5, -1005)
    with pytest.raises(TelegramMigrateToChat) as moved:
        await bot.send_message(-5, "Hello?")
    assert moved.value.migrate_to_chat_id == -1005
    with pytest.raises(TelegramNotFound, match="method not found"):
        await bot.session.make_request(bot, _Unknown(chat_id=7, text="x"))
    assert telegram.complaints == ["sendNothing: no such method"]
    telegram.core.log.calls.pop()


class _Unknown(SendMessage):
    __api_method__ = "sendNothing"


async def test_a_second_poll_ends_the_first_with_a_conflict(
    telegram: FakeTelegram, bot: Bot
) -> None:
    first = asyncio.create_task(bot(GetUpdates(timeout=50), request_timeout=60))
    await telegram.until(lambda: telegram.polling)
    second = asyncio.create_task(bot(GetUpdates(timeout=50), request_timeout=60))
    with pytest.raises(TelegramConflictError, match="terminated by other getUpdates request"):
        await first
    await telegram.user_says(7, "Hi")
    assert len(await second) == 1
