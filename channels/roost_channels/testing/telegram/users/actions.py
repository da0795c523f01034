"""The methods of FakeTelegram with which a test acts for a user."""

from collections.abc import Sequence
from typing import Any

from roost_channels.testing.fake import Fake
from roost_channels.testing.telegram.state.core import TelegramCore
from roost_channels.testing.telegram.state.media import KINDS, media_fields, store
from roost_channels.testing.telegram.state.records import (
    GENERAL_TOPIC,
    Chat,
    ChatType,
    File,
    Topic,
    User,
)
from roost_channels.testing.telegram.text.formatted import Formatted
from roost_channels.testing.telegram.users.events import TelegramUserEvents


class UserActions(Fake):
    """Actions of users, by chat id; `user_id` names the user in a group."""

    core: TelegramCore
    _events: TelegramUserEvents

    async def user_says(
        self,
        chat_id: int,
        text: str,
        *,
        user_id: int | None = None,
        first_name: str = "Ada",
        username: str = "",
        reply_to: int | None = None,
        quote: str = "",
        quote_position: int | None = None,
        external_reply: dict[str, Any] | None = None,
        thread: int = 0,
        entities: Sequence[dict[str, Any]] = (),
        media: dict[str, Any] | None = None,
        forwarded_from: str = "",
    ) -> int:
        """The user writes; returns the message id.

        media: fields of the Message such as `sticker`, with `text` as the caption; use `user_sends`
            for files.
        forwarded_from: the hidden name of the first author.
        quote: a passage of the message `reply_to`; with an `external_reply` it is not checked.
        """
        user = self._user(chat_id, user_id, first_name, username)
        message = self._events.say(
            self._events.chat(chat_id, user),
            user,
            Formatted(text, list(entities)),
            reply_to=reply_to,
            quote=quote,
            quote_position=quote_position,
            external_reply=external_reply,
            thread=thread,
            media=media,
            forward_origin=self._origin(forwarded_from),
        )
        return message.message_id

    def _origin(self, name: str) -> dict[str, Any] | None:
        origin = {"type": "hidden_user", "sender_user_name": name, "date": int(self.core.now())}
        return origin if name else None

    async def user_sends(
        self,
        chat_id: int,
        kind: str,
        data: bytes,
        *,
        caption: str = "",
        name: str = "",
        content_type: str = "",
        size: int | None = None,
        duration: int = 0,
        user_id: int | None = None,
        reply_to: int | None = None,
        quote: str = "",
        thread: int = 0,
    ) -> int:
        """The user sends a file; returns the message id.

        kind: photo, voice, document, video, audio, animation or video_note.
        size: the bytes that the file claims to have. duration: seconds.
        """
        return await self.user_says(
            chat_id,
            caption,
            user_id=user_id,
            reply_to=reply_to,
            quote=quote,
            thread=thread,
            media=self._media(kind, data, name, content_type, size, duration),
        )

    def _media(
        self,
        kind: str,
        data: bytes,
        name: str = "",
        content_type: str = "",
        size: int | None = None,
        duration: int = 0,
    ) -> dict[str, Any]:
        if kind not in KINDS:
            raise ValueError(f"unknown media {kind!r}; known: {', '.join(KINDS)}")
        file = store(self.core.world, kind, data, name, content_type, size)
        return media_fields(self.core.world, kind, file, {"duration": duration})

    async def user_sends_album(
        self,
        chat_id: int,
        items: Sequence[tuple[str, bytes]],
        *,
        caption: str = "",
        user_id: int | None = None,
        thread: int = 0,
    ) -> list[int]:
        """The user sends media (kind, data) as an album; returns the message ids."""
        user = self._user(chat_id, user_id, "", "")
        media = [self._media(kind, data) for kind, data in items]
        chat = self._events.chat(chat_id, user)
        sent = self._events.album(chat, user, media, caption, thread)
        return [message.message_id for message in sent]

    async def user_reacts(
        self, chat_id: int, message_id: int, *emoji: str, user_id: int | None = None
    ) -> None:
        """Set the user's reactions to a message; without emoji, remove them."""
        user = self._user(chat_id, user_id, "", "")
        self._events.react(self.core.world.chats[chat_id], user, message_id, emoji)

    async def user_opens_topic(self, chat_id: int, name: str, *, user_id: int | None = None) -> int:
        """The user opens a topic in a forum or private chat; returns its id."""
        user = self._user(chat_id, user_id, "", "")
        return self._events.open_topic(self._events.chat(chat_id, user), user, name)

    async def user_closes_topic(self, chat_id: int, thread: int, closed: bool = True) -> None:
        """The user closes a topic, or opens it again with `closed` False."""
        user = self._user(chat_id, None, "", "")
        self._events.close_topic(self.core.world.chats[chat_id], user, thread, closed)

    def _user(self, chat_id: int, user_id: int | None, first_name: str, username: str) -> User:
        if user_id is None:
            user_id = chat_id if chat_id > 0 else 7
        return self.core.world.user(user_id, first_name, username)

    async def user_edits(self, chat_id: int, message_id: int, text: str) -> None:
        """The user edits a message."""
        self._events.edit(self.core.world.chats[chat_id].messages[message_id], text)

    async def press(
        self,
        chat_id: int,
        message_id: int,
        data: str,
        *,
        user_id: int | None = None,
        is_old: bool = False,
    ) -> str:
        """The user presses a button on the screen; returns the callback query's id.

        is_old: also one that an edit took away, on a phone that has not seen the edit.
        """
        user, chat = self._user(chat_id, user_id, "", ""), self.core.world.chats[chat_id]
        return self._events.press(chat, user, message_id, data, is_old=is_old).id

    def press_answer(self, callback_id: str) -> dict[str, Any] | None:
        """The bot's answer (`text`, `show_alert`), None before it answered."""
        return self.core.callback_queries[callback_id].answer

    async def stop_draft(self, chat_id: int) -> None:
        """The user presses the Stop button of a draft."""
        self._events.stop_draft(self.core.world.chats[chat_id])

    async def block(self, chat_id: int, blocked: bool = True) -> None:
        """The user blocks the bot, or unblocks it with `blocked` False."""
        user = self._user(chat_id, None, "", "")
        self._events.set_membership(self._events.chat(chat_id, user), user, blocked=blocked)

    def deactivate(self, user_id: int) -> None:
        """The user deletes their account."""
        self.core.world.user(user_id).deactivated = True

    def user_deletes(self, chat_id: int, message_id: int) -> None:
        """The user deletes a message; as on Telegram, the bot gets no update."""
        self.core.world.chats[chat_id].messages[message_id].deleted_at = self.core.now()

    def add_group(
        self,
        chat_id: int,
        title: str = "Group",
        *,
        type: ChatType = "supergroup",
        topics: dict[int, str] | None = None,
        username: str = "",
    ) -> Chat:
        """Add a group with the bot in it; with `topics`, names by their ids, it is a forum."""
        chat = Chat(
            chat_id,
            type,
            title,
            username,
            is_forum=topics is not None,
            topics={thread: Topic(name) for thread, name in (topics or {}).items()},
            # The General topic has the first id of a forum.
            last_message_id=0 if topics is None else max([GENERAL_TOPIC, *topics]),
        )
        self.core.world.chats[chat_id] = chat
        return chat

    async def migrate(self, group_id: int, supergroup_id: int) -> None:
        """Turn a basic group into a supergroup; both chats get the service message."""
        old = self.core.world.chats[group_id]
        new = self.add_group(supergroup_id, old.title)
        user = self._user(group_id, None, "", "")
        no_text = Formatted("")
        self._events.say(old, user, no_text, media={"migrate_to_chat_id": supergroup_id})
        self._events.say(new, user, no_text, media={"migrate_from_chat_id": group_id})
        old.migrated_to = supergroup_id

    def kick(self, chat_id: int, kicked: bool = True) -> None:
        """Remove the bot from a group, or take it back with `kicked` False."""
        user = self._user(chat_id, None, "", "")
        self._events.set_membership(self.core.world.chats[chat_id], user, kicked=kicked)

    def promote(self, chat_id: int, admin: bool = True) -> None:
        """Make the bot an administrator of a group (the default), or a plain member."""
        user = self._user(chat_id, None, "", "")
        self._events.set_membership(self.core.world.chats[chat_id], user, bot_is_admin=admin)

    def add_file(
        self,
        data: bytes,
        name: str = "file.bin",
        content_type: str = "application/octet-stream",
        *,
        size: int | None = None,
    ) -> File:
        """Add a file that the bot can fetch by its id; `size` may exceed its data."""
        return store(self.core.world, "document", data, name, content_type, size)
