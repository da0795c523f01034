"""The official aiogram Bot works with topics, files, albums and reactions of FakeTelegram."""

from io import BytesIO
from typing import Any

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramEntityTooLarge, TelegramForbiddenError
from aiogram.types import (
    BufferedInputFile,
    InputMediaDocument,
    InputMediaPhoto,
    InputRichMessage,
    Message,
    Update,
)

from roost_channels.testing import FakeTelegram
from roost_channels.testing.telegram.schema import unknown_fields

FORUM = -1001


async def the_message(bot: Bot) -> Message:
    """The newest message among the bot's updates."""
    updates = await bot.get_updates()
    message = updates[-1].message
    assert message is not None and list(unknown_fields(updates)) == []
    return message


async def test_topics_are_opened_used_closed_and_deleted(telegram: FakeTelegram, bot: Bot) -> None:
    telegram.add_group(FORUM, "Team", topics={})
    topic = await bot.create_forum_topic(FORUM, "Ideas", icon_color=9367192)
    thread = topic.message_thread_id
    sent = await bot.send_message(FORUM, "First", message_thread_id=thread)
    assert (sent.message_thread_id, sent.is_topic_message) == (thread, True)
    assert sent.reply_to_message is not None
    assert sent.reply_to_message.forum_topic_created is not None
    assert await bot.edit_forum_topic(FORUM, thread, name="Better ideas")
    with pytest.raises(TelegramBadRequest, match="TOPIC_NOT_MODIFIED"):
        await bot.edit_forum_topic(FORUM, thread, name="Better ideas")
    assert await bot.close_forum_topic(FORUM, thread)
    await bot.send_message(FORUM, "An administrator may", message_thread_id=thread)
    telegram.promote(FORUM, False)
    with pytest.raises(TelegramBadRequest, match="TOPIC_CLOSED"):
        await bot.send_message(FORUM, "A member may not", message_thread_id=thread)
    with pytest.raises(TelegramBadRequest, match="not enough rights to create a topic"):
        await bot.create_forum_topic(FORUM, "More")
    telegram.promote(FORUM)
    assert await bot.reopen_forum_topic(FORUM, thread)
    assert await bot.delete_forum_topic(FORUM, thread)
    with pytest.raises(TelegramBadRequest, match="message thread not found"):
        await bot.send_message(FORUM, "Gone", message_thread_id=thread)
    assert telegram.visible(FORUM, thread) == []


async def test_general_is_a_topic_for_typing_alone(telegram: FakeTelegram, bot: Bot) -> None:
    telegram.add_group(FORUM, topics={})
    assert await bot.send_chat_action(FORUM, "typing", message_thread_id=1)
    assert telegram.typing(FORUM)
    with pytest.raises(TelegramBadRequest, match="message thread not found"):
        await bot.send_message(FORUM, "x", message_thread_id=1)
    sent = await bot.send_message(FORUM, "x")
    assert (sent.message_thread_id, sent.is_topic_message) == (None, None)
    assert not telegram.typing(FORUM)


async def test_users_open_topics_in_forums_and_in_private_chats(bot: Bot) -> None:
    async with FakeTelegram(private_topics=True) as telegram:
        thread = await telegram.user_opens_topic(7, "Holiday")
        await telegram.user_says(7, "Where to?", thread=thread)
        await telegram.user_closes_topic(7, thread)
        kinds = [update.payload for update in telegram.core.updates.pending]
        read = [Message.model_validate(payload) for payload in kinds]
        assert read[0].forum_topic_created is not None
        assert read[0].forum_topic_created.name == "Holiday"
        assert [message.message_thread_id for message in read] == [thread] * 3
        assert list(unknown_fields(read)) == []


async def test_outside_forums_a_thread_is_a_chain_of_replies(
    telegram: FakeTelegram, bot: Bot
) -> None:
    telegram.add_group(-1002)
    first = await telegram.user_says(-1002, "One")
    second = await telegram.user_says(-1002, "Two", reply_to=first)
    await telegram.user_says(-1002, "Three", reply_to=second)
    message = await the_message(bot)
    assert (message.message_thread_id, message.is_topic_message) == (first, None)


@pytest.mark.parametrize("kind", ["photo", "voice", "document", "video", "audio", "animation"])
async def test_files_come_in_and_go_out(telegram: FakeTelegram, bot: Bot, kind: str) -> None:
    await telegram.user_sends(7, kind, b"bytes", caption="Look", duration=3)
    message = await the_message(bot)
    media: Any = getattr(message, kind)
    file = media[-1] if kind == "photo" else media
    assert (message.caption, file.file_size) == ("Look", 5)
    target = BytesIO()
    await bot.download(file, destination=target)
    assert target.getvalue() == b"bytes"
    send: Any = getattr(bot, f"send_{kind}")
    sent = await send(7, BufferedInputFile(b"answer", "a.bin"), caption="Here")
    assert list(unknown_fields(sent)) == []
    again = await send(7, file.file_id)  # a file is known by its id
    assert getattr(again, kind)
    assert telegram.visible(7)[-2].text == "Here"
    edited = await bot.edit_message_caption(chat_id=7, message_id=sent.message_id, caption="New")
    assert isinstance(edited, Message) and edited.caption == "New"


async def test_albums_share_a_group_and_are_not_mixed(telegram: FakeTelegram, bot: Bot) -> None:
    await telegram.user_sends_album(7, [("photo", b"1"), ("video", b"2")], caption="Trip")
    updates = await bot.get_updates()
    came = [update.message for update in updates if update.message]
    assert len({message.media_group_id for message in came}) == 1
    assert [message.caption for message in came] == ["Trip", None]
    photos: list[Any] = [
        InputMediaPhoto(media=BufferedInputFile(b"1", "1.jpg"), caption="One"),
        InputMediaPhoto(media=BufferedInputFile(b"2", "2.jpg")),
    ]
    sent = await bot.send_media_group(7, photos)
    assert len({message.media_group_id for message in sent}) == 1
    assert [seen.text for seen in telegram.visible(7)[-2:]] == ["One", ""]
    document = InputMediaDocument(media=BufferedInputFile(b"3", "3.txt"))
    with pytest.raises(TelegramBadRequest, match="document can't be mixed"):
        await bot.send_media_group(7, [*photos, document])
    with pytest.raises(TelegramBadRequest, match="too many messages to send as an album"):
        await bot.send_media_group(7, photos * 6)
    await bot.edit_message_media(document, chat_id=7, message_id=sent[0].message_id)
    assert "document" in telegram.visible(7)[-2].media


async def test_file_limits_are_those_of_the_hosted_server(telegram: FakeTelegram, bot: Bot) -> None:
    await telegram.user_sends(7, "document", b"", size=21 << 20)
    message = await the_message(bot)
    assert message.document is not None
    with pytest.raises(TelegramBadRequest, match="file is too big"):
        await bot.get_file(message.document.file_id)
    with pytest.raises(TelegramEntityTooLarge):
        await bot.send_photo(7, BufferedInputFile(bytes((10 << 20) + 1), "p.jpg"))
    with pytest.raises(TelegramBadRequest, match="file must be non-empty"):
        await bot.send_document(7, BufferedInputFile(b"", "empty.txt"))
    small = telegram.add_file(b"x")
    small.gone = True
    with pytest.raises(TelegramBadRequest, match="temporarily unavailable"):
        await bot.get_file(small.file_id)


async def test_reactions_of_users_are_updates_when_allowed(
    telegram: FakeTelegram, bot: Bot
) -> None:
    await telegram.user_says(7, "Hi")
    sent = await bot.send_message(7, "Hello")
    await telegram.user_reacts(7, sent.message_id, "👍")  # not among the default updates
    (first,) = await bot.get_updates(allowed_updates=["message", "message_reaction"])
    await telegram.user_reacts(7, sent.message_id, "🔥")
    (update,) = await bot.get_updates(offset=first.update_id + 1)
    assert update.message_reaction is not None and list(unknown_fields(update)) == []
    assert [one.model_dump()["emoji"] for one in update.message_reaction.old_reaction] == ["👍"]
    assert [one.model_dump()["emoji"] for one in update.message_reaction.new_reaction] == ["🔥"]
    assert telegram.visible(7)[-1].reactions == ("🔥",)


async def test_the_bot_gets_updates_about_its_membership(telegram: FakeTelegram, bot: Bot) -> None:
    telegram.add_group(-5, type="group")
    await telegram.block(7)
    telegram.promote(-5, False)
    telegram.kick(-5)
    changes = [update.my_chat_member for update in await bot.get_updates()]
    members = [
        (c.chat.id, c.old_chat_member.status, c.new_chat_member.status) for c in changes if c
    ]
    assert members == [
        (7, "member", "kicked"),
        (-5, "administrator", "member"),
        (-5, "member", "kicked"),
    ]
    with pytest.raises(TelegramForbiddenError, match="bot was kicked from the group chat"):
        await bot.send_message(-5, "x")
    telegram.kick(-5, False)
    member = await bot.get_chat_member(-5, bot.id)
    assert member.status == "member"
    assert await bot.get_chat_administrators(-5) == []
    assert await bot.leave_chat(-5)


async def test_edits_and_forwards_of_users_arrive(telegram: FakeTelegram, bot: Bot) -> None:
    message_id = await telegram.user_sends(7, "photo", b"p", caption="Befor")
    await telegram.user_edits(7, message_id, "Before")
    await telegram.user_says(7, "News", forwarded_from="Grace")
    updates: list[Update] = await bot.get_updates()
    assert updates[1].edited_message is not None
    assert (updates[1].edited_message.caption, bool(updates[1].edited_message.photo)) == (
        "Before",
        True,
    )
    forwarded = updates[2].message
    assert forwarded is not None and forwarded.forward_origin is not None
    assert forwarded.forward_origin.type == "hidden_user"
    assert list(unknown_fields(updates)) == []


async def test_many_messages_are_deleted_at_once(telegram: FakeTelegram, bot: Bot) -> None:
    await telegram.user_says(7, "Hi")
    sent = [(await bot.send_message(7, str(number))).message_id for number in range(3)]
    assert await bot.delete_messages(7, [*sent, 999])
    assert telegram.bot_texts(7) == []


async def test_rich_messages_have_one_source_and_their_limits(
    telegram: FakeTelegram, bot: Bot
) -> None:
    await telegram.user_says(7, "Hi")
    thinking = InputRichMessage(html="<tg-thinking>Hm</tg-thinking>")
    assert await bot.send_rich_message_draft(chat_id=7, draft_id=1, rich_message=thinking)
    assert telegram.draft(7) == "Hm"
    with pytest.raises(TelegramBadRequest, match="THINKING"):
        await bot.send_rich_message(7, thinking)
    sent = await bot.send_rich_message(7, InputRichMessage(markdown="One\n\nTwo"))
    assert sent.rich_message is not None and len(sent.rich_message.blocks) == 2
    assert (telegram.draft(7), telegram.bot_texts(7)) == (None, ["One\n\nTwo"])
    await bot.edit_message_text(
        chat_id=7, message_id=sent.message_id, rich_message=InputRichMessage(html="<p>Three</p>")
    )
    assert telegram.bot_texts(7) == ["Three"]
    for wrong in (
        InputRichMessage(html="a", markdown="b"),
        InputRichMessage(markdown="a" * 32_769),
    ):
        with pytest.raises(TelegramBadRequest):
            await bot.send_rich_message(7, wrong)
