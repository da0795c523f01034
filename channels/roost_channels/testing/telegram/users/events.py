"""Turns what users do on their phones into updates for the bot."""

import itertools
from typing import Any

from roost_channels.testing.telegram.methods.members import bot_member
from roost_channels.testing.telegram.replies import quote_json
from roost_channels.testing.telegram.state.core import CallbackQuery, TelegramCore
from roost_channels.testing.telegram.state.media import KINDS
from roost_channels.testing.telegram.state.records import Chat, Message, Topic, User
from roost_channels.testing.telegram.text.detected_entities import detect_entities
from roost_channels.testing.telegram.text.formatted import Formatted
from roost_channels.testing.telegram.text.utf16 import utf16_find


class TelegramUserEvents:
    """Changes the world for a user's action and queues the update about it."""

    def __init__(self, core: TelegramCore) -> None:
        self._core = core
        self._press_ids = itertools.count(1)

    def chat(self, chat_id: int, user: User) -> Chat:
        """The chat with that id; ValueError for a group that was not added."""
        chats = self._core.world.chats
        if chat_id > 0:
            return self._core.world.private_chat(self._core.world.user(chat_id, user.first_name))
        if chat_id not in chats:
            raise ValueError(f"no chat {chat_id}; make it with add_group first")
        return chats[chat_id]

    def say(
        self,
        chat: Chat,
        user: User,
        formatted: Formatted,
        *,
        reply_to: int | None = None,
        quote: str = "",
        quote_position: int | None = None,
        external_reply: dict[str, Any] | None = None,
        thread: int = 0,
        media: dict[str, Any] | None = None,
        forward_origin: dict[str, Any] | None = None,
    ) -> Message:
        """Add a user's message; ValueError for a reply, quote or topic that does not exist."""
        core = self._core
        message = Message(
            core.world.next_message_id(chat),
            chat.id,
            core.now(),
            user,
            Formatted(formatted.text, formatted.entities or detect_entities(formatted.text)),
            thread=thread,
            external_reply=external_reply,
            media=media or {},
            forward_origin=forward_origin,
        )
        if thread and thread not in chat.topics:
            raise ValueError(f"no topic {thread} in chat {chat.id}")
        if reply_to is not None:
            target = chat.messages.get(reply_to)
            if target is None or not target.exists:
                raise ValueError(f"no message {reply_to} in chat {chat.id} to reply to")
            message.reply_to = reply_to
            message.reply_snapshot = core.world.message_json(target, with_reply=False)
            if quote:
                first = utf16_find(target.formatted.text, quote)
                if first is None:
                    raise ValueError(f"{quote!r} is not in the message it quotes")
                at = first if quote_position is None else quote_position
                message.quote = quote_json(Formatted(quote), at, is_manual=True)
        elif quote:
            message.quote = quote_json(Formatted(quote), quote_position or 0, is_manual=True)
        chat.blocked = False
        chat.messages[message.message_id] = message
        if self._bot_sees(chat, message):
            self._emit("message", core.world.message_json(message), chat)
        return message

    def _bot_sees(self, chat: Chat, message: Message) -> bool:
        """Whether the bot gets the message.

        Under privacy mode it gets a group's commands, mentions of it, replies to it and service
        messages.
        """
        is_service = message.media and not any(kind in message.media for kind in KINDS)
        if chat.is_private or not self._core.privacy or is_service:
            return True
        target = chat.messages.get(message.reply_to or 0)
        text = message.formatted.text
        return (
            text.startswith("/")
            or f"@{self._core.world.bot.username}".lower() in text.lower()
            or (target is not None and target.sender.is_bot)
        )

    def edit(self, message: Message, text: str) -> None:
        """Change the text of a user's message."""
        message.formatted = Formatted(text, detect_entities(text))
        message.edited_at = self._core.now()
        chat = self._core.world.chats[message.chat_id]
        self._emit("edited_message", self._core.world.message_json(message), chat)

    def press(
        self, chat: Chat, user: User, message_id: int, data: str, *, is_old: bool = False
    ) -> CallbackQuery:
        """Press a button; ValueError when the screen does not show it, nor, with `is_old`, did."""
        core = self._core
        message = chat.messages.get(message_id)
        buttons = [b for row in (message.keyboard if message else []) for b in row]
        if (
            message is None
            or not message.exists
            or (not is_old and all(b.get("callback_data") != data for b in buttons))
        ):
            raise ValueError(f"message {message_id} shows no button with data {data!r}")
        query = CallbackQuery(self._press_id(), chat.id, message_id, data, core.now())
        core.callback_queries[query.id] = query
        payload = {
            "id": query.id,
            "from": user.to_json(),
            "message": core.world.message_json(message),
            "chat_instance": str(chat.id),
            "data": data,
        }
        self._emit("callback_query", payload, chat)
        return query

    def _press_id(self) -> str:
        return f"{int(self._core.now())}{next(self._press_ids):06d}"

    def stop_draft(self, chat: Chat) -> None:
        """Press the Stop button of a draft; ValueError when there is none."""
        draft = chat.draft
        if draft is None or draft.until < self._core.now() or not draft.can_stop:
            raise ValueError(f"chat {chat.id} shows no draft that can be stopped")
        if not draft.keep_on_stop:
            chat.draft = None
        payload: dict[str, Any] = {"chat": chat.to_json(), "draft_id": draft.draft_id}
        if draft.thread:
            payload["message_thread_id"] = draft.thread
        self._emit("stopped_message_generation", payload, chat)

    def set_membership(self, chat: Chat, user: User, **changes: bool) -> None:
        """Change `blocked`, `kicked` or `bot_is_admin`; the bot gets a my_chat_member update."""
        before = bot_member(self._core, chat)
        for name, value in changes.items():
            setattr(chat, name, value)
        payload = {
            "chat": chat.to_json(),
            "from": user.to_json(),
            "date": int(self._core.now()),
            "old_chat_member": before,
            "new_chat_member": bot_member(self._core, chat),
        }
        self._emit("my_chat_member", payload, chat)

    def album(
        self, chat: Chat, user: User, items: list[dict[str, Any]], caption: str, thread: int
    ) -> list[Message]:
        """Add several media as one album; the caption is with the first."""
        group = {"media_group_id": str(int(self._core.now())) + f"{next(self._press_ids):06d}"}
        return [
            self.say(
                chat,
                user,
                Formatted("" if index else caption),
                thread=thread,
                media={**media, **group},
            )
            for index, media in enumerate(items)
        ]

    def open_topic(self, chat: Chat, user: User, name: str) -> int:
        """Open a topic with its service message; returns its id."""
        if not chat.is_forum and not (chat.is_private and self._core.private_topics):
            raise ValueError(f"chat {chat.id} has no topics")
        topic = Topic(name)
        message = Message(
            self._core.world.next_message_id(chat),
            chat.id,
            self._core.now(),
            user,
            Formatted(""),
            media={"forum_topic_created": topic.to_json()},
        )
        message.thread = message.message_id
        chat.topics[message.thread] = topic
        chat.messages[message.message_id] = message
        self._emit("message", self._core.world.message_json(message), chat)
        return message.thread

    def close_topic(self, chat: Chat, user: User, thread: int, closed: bool) -> None:
        """Close or reopen a topic with its service message."""
        field = "forum_topic_closed" if closed else "forum_topic_reopened"
        self.say(chat, user, Formatted(""), thread=thread, media={field: {}})
        chat.topics[thread].closed = closed

    def react(self, chat: Chat, user: User, message_id: int, emoji: tuple[str, ...]) -> None:
        """Set a user's reactions; in a group only an administrator bot gets the update."""
        message = chat.messages[message_id]
        before = message.user_reactions.get(user.id, [])
        after = [{"type": "emoji", "emoji": one} for one in emoji]
        message.user_reactions[user.id] = after
        payload = {
            "chat": chat.to_json(),
            "message_id": message_id,
            "user": user.to_json(),
            "date": int(self._core.now()),
            "old_reaction": before,
            "new_reaction": after,
        }
        if chat.is_private or chat.bot_is_admin:
            self._emit("message_reaction", payload, chat)
        else:
            self._core.changed()

    def _emit(self, kind: str, payload: dict[str, Any], chat: Chat) -> None:
        fault = self._core.faults.take(kind, ("duplicate_update", "out_of_order"))
        self._core.updates.add(kind, payload, str(chat.id), fault.kind if fault else "")
        self._core.changed()
