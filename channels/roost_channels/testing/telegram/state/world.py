"""The users, chats and files around one bot, and how the server describes them."""

from typing import Any

from roost_channels.testing.telegram.errors import BotApiError, bad_request, forbidden
from roost_channels.testing.telegram.state.records import GENERAL_TOPIC, Chat, File, Message, User


class World:
    """All users, chats and files of one bot, by their ids."""

    def __init__(self, bot: User, first_message_id: int = 1) -> None:
        self.bot = bot
        self.users: dict[int, User] = {}
        self.chats: dict[int, Chat] = {}
        self.files: dict[str, File] = {}
        self.last_file_number = 0
        # Private chats and basic groups share one numbering of messages.
        self.mailbox_message_id = first_message_id - 1

    def user(self, user_id: int, first_name: str = "", username: str = "") -> User:
        """The user with that id, created when not known; given names replace the old ones."""
        known = self.users.get(user_id)
        if known is None:
            known = User(user_id, first_name or f"User {user_id}", username)
            self.users[user_id] = known
        known.first_name = first_name or known.first_name
        known.username = username or known.username
        return known

    def private_chat(self, user: User) -> Chat:
        """The private chat with a user, created when not there yet."""
        if user.id not in self.chats:
            self.chats[user.id] = Chat(user.id, "private", user.first_name, user.username)
        return self.chats[user.id]

    def next_message_id(self, chat: Chat) -> int:
        """The id of the chat's next message."""
        if chat.type == "supergroup":
            chat.last_message_id += 1
            return chat.last_message_id
        self.mailbox_message_id += 1
        return self.mailbox_message_id

    def find_chat(self, chat_id: str) -> Chat:
        """The chat that a call names by id or @username; BotApiError 400 when there is none."""
        if not chat_id:
            raise bad_request("chat_id is empty")
        if chat_id.startswith("@"):
            for chat in self.chats.values():
                if chat.username and f"@{chat.username}".lower() == chat_id.lower():
                    return chat
            raise bad_request("chat not found")
        try:
            return self.chats[int(chat_id)]
        except (KeyError, ValueError):
            raise bad_request("chat not found") from None

    def writable_chat(self, chat_id: str) -> Chat:
        """The chat, if the bot may write there; BotApiError otherwise."""
        chat = self.find_chat(chat_id)
        if chat.is_private:
            user = self.users.get(chat.id)
            if user is not None and user.deactivated:
                raise forbidden("user is deactivated")
        elif chat.migrated_to is not None:
            raise BotApiError(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                {"migrate_to_chat_id": chat.migrated_to},
            )
        elif chat.kicked:
            raise forbidden(f"bot was kicked from the {chat.type} chat")
        return chat

    def thread(self, chat: Chat, thread: int) -> int:
        """The topic a call names, 0 in chats without topics; BotApiError 400 for a closed one."""
        if thread == 0 or chat.type == "group":
            if chat.is_forum and chat.general.closed and not chat.bot_is_admin:
                raise bad_request("TOPIC_CLOSED")
            return 0
        if chat.is_forum and thread == GENERAL_TOPIC:
            raise bad_request("message thread not found")
        if not chat.is_forum and not chat.is_private:
            return 0
        if thread not in chat.topics:
            raise bad_request("message thread not found")
        if chat.topics[thread].closed and not chat.bot_is_admin:
            raise bad_request("TOPIC_CLOSED")
        return thread

    def message_json(self, message: Message, *, with_reply: bool = True) -> dict[str, Any]:
        """The Message object; a reply in it has no reply of its own."""
        chat = self.chats[message.chat_id]
        body: dict[str, Any] = {
            "message_id": message.message_id,
            "from": message.sender.to_json(),
            "chat": chat.to_json(),
            "date": int(message.date),
        }
        if message.thread:
            body["message_thread_id"] = message.thread
            body["is_topic_message"] = True
        elif chat.type == "supergroup" and not chat.is_forum and message.reply_to:
            # Outside forums the id is that of the first message in the chain of replies.
            body["message_thread_id"] = self._chain_root(chat, message)
        if message.edited_at is not None:
            body["edit_date"] = int(message.edited_at)
        if with_reply:
            reply = message.reply_snapshot or self._topic_root(chat, message)
            if reply is not None:
                body["reply_to_message"] = reply
            for name in ("external_reply", "quote"):
                value = getattr(message, name)
                if value is not None:
                    body[name] = value
        text_name, entities_name = (
            ("caption", "caption_entities") if message.media else ("text", "entities")
        )
        if message.forward_origin is not None:
            body["forward_origin"] = message.forward_origin
        if message.formatted.text:
            body[text_name] = message.formatted.text
        if message.formatted.entities:
            body[entities_name] = list(message.formatted.entities)
        body.update(message.media)
        if message.keyboard:
            body["reply_markup"] = {"inline_keyboard": message.keyboard}
        return body

    def _chain_root(self, chat: Chat, message: Message) -> int:
        at: Message | None = message
        root = message.message_id
        while at is not None and at.reply_to is not None:
            root = at.reply_to
            at = chat.messages.get(root)
        return root

    def _topic_root(self, chat: Chat, message: Message) -> dict[str, Any] | None:
        """The message that opened the topic; the server shows it in place of a missing reply."""
        if not message.thread or message.message_id == message.thread or not chat.is_forum:
            return None
        topic = chat.topics.get(message.thread)
        if topic is None:
            return None
        return {
            "message_id": message.thread,
            "from": message.sender.to_json(),
            "chat": chat.to_json(),
            "date": int(message.date),
            "message_thread_id": message.thread,
            "is_topic_message": True,
            "forum_topic_created": topic.to_json(),
        }
