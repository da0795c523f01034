"""FakeTelegram: a Bot API server on loopback with people in it."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from roost_channels.testing.clock import Clock, SystemClock
from roost_channels.testing.fake import Fake
from roost_channels.testing.loopback import LoopbackServer
from roost_channels.testing.telegram.core import Core
from roost_channels.testing.telegram.dispatch import Dispatcher
from roost_channels.testing.telegram.flood import FloodControl, FloodLimits
from roost_channels.testing.telegram.person import People
from roost_channels.testing.telegram.screen import Screen, SeenMessage
from roost_channels.testing.telegram.sim import SimApi
from roost_channels.testing.telegram.text import Formatted
from roost_channels.testing.telegram.updates import UpdateQueue
from roost_channels.testing.telegram.webhook import WebhookSender
from roost_channels.testing.telegram.world import Chat, ChatType, File, User, World

DEFAULT_TOKEN = "42:TEST-TOKEN"


class FakeTelegram(Fake):
    """`async with FakeTelegram() as telegram:` serves one bot at `telegram.base_url`.

    People act through `user_says`, `press`, `user_edits`, `block`; `visible` answers what a person
    sees now. Positive chat ids are private chats and appear when first used; groups are made with
    `add_group`. With `privacy` the bot sees of a group's messages only those meant for it.
    """

    def __init__(
        self,
        token: str = DEFAULT_TOKEN,
        *,
        clock: Clock | None = None,
        port: int = 0,
        username: str = "roost_test_bot",
        flood: FloodLimits | None = None,
        stretch_empty_polls: bool = True,
        first_update_id: int = 1000,
        first_message_id: int = 1,
        privacy: bool = False,
    ) -> None:
        self.token = token
        self.clock = clock or SystemClock()
        self._bot = User(int(token.partition(":")[0]), "Roost", username, is_bot=True)
        self._flood_limits = flood or FloodLimits()
        self._stretch = stretch_empty_polls
        self._first_update_id = first_update_id
        self._first_message_id = first_message_id
        self._privacy = privacy
        self._server = LoopbackServer(self._handle, port)
        self._build()

    def _build(self) -> None:
        self.core: Core = Core(
            World(self._bot, self._first_message_id),
            self.clock,
            UpdateQueue(self.clock, self._first_update_id, self._stretch),
            FloodControl(self._flood_limits),
            privacy=self._privacy,
        )
        self._people = People(self.core)
        self._screen = Screen(self.core)
        self._dispatcher = Dispatcher(self.core, self.token)
        self._sim = SimApi(self)
        self._webhook = WebhookSender(self.core, self._dispatcher.execute)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/sim"):
            return await self._sim.handle(request)
        return await self._dispatcher.handle(request)

    async def _start_parts(self) -> None:
        self._webhook.start()

    async def _stop_parts(self) -> None:
        await self._webhook.stop()

    @property
    def bot_id(self) -> int:
        return self._bot.id

    # What people do

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
    ) -> int:
        """A person writes; returns the message id.

        media: Bot API fields such as photo; the text is then the caption.
        quote: a passage of the message `reply_to`; beside an `external_reply` it is taken as given.
        """
        user = self._user(chat_id, user_id, first_name, username)
        message = self._people.say(
            self._people.chat(chat_id, user),
            user,
            Formatted(text, list(entities)),
            reply_to=reply_to,
            quote=quote,
            quote_position=quote_position,
            external_reply=external_reply,
            thread=thread,
            media=media,
        )
        return message.message_id

    def _user(self, chat_id: int, user_id: int | None, first_name: str, username: str) -> User:
        if user_id is None:
            user_id = chat_id if chat_id > 0 else 7
        return self.core.world.user(user_id, first_name, username)

    async def user_edits(self, chat_id: int, message_id: int, text: str) -> None:
        self._people.edit(self._screen.chat(chat_id).messages[message_id], text)

    async def press(
        self, chat_id: int, message_id: int, data: str, *, user_id: int | None = None
    ) -> str:
        """Press a button that is shown; returns the callback query's id."""
        user = self._user(chat_id, user_id, "", "")
        return self._people.press(self._screen.chat(chat_id), user, message_id, data).id

    def press_answer(self, callback_id: str) -> dict[str, Any] | None:
        """What the bot answered (`text`, `show_alert`), None while the button still turns."""
        return self.core.presses[callback_id].answer

    async def stop_draft(self, chat_id: int) -> None:
        self._people.stop_draft(self._screen.chat(chat_id))

    async def block(self, chat_id: int, blocked: bool = True) -> None:
        user = self._user(chat_id, None, "", "")
        self._people.block(self._people.chat(chat_id, user), user, blocked)

    def deactivate(self, user_id: int) -> None:
        """The person deletes their account."""
        self.core.world.user(user_id).deactivated = True

    def user_deletes(self, chat_id: int, message_id: int) -> None:
        """A message goes without a word to the bot, as Telegram does it."""
        self._screen.chat(chat_id).messages[message_id].deleted_at = self.core.now()

    def add_group(
        self,
        chat_id: int,
        title: str = "Group",
        *,
        type: ChatType = "supergroup",
        topics: dict[int, str] | None = None,
        username: str = "",
    ) -> Chat:
        """A group the bot is in; with `topics` a forum."""
        chat = Chat(
            chat_id,
            type,
            title,
            username,
            is_forum=topics is not None,
            topics=dict(topics or {}),
            last_message_id=max(topics or {0: ""}),
        )
        self.core.world.chats[chat_id] = chat
        return chat

    async def migrate(self, group_id: int, supergroup_id: int) -> None:
        """A basic group becomes a supergroup; both chats get the service message."""
        old = self._screen.chat(group_id)
        new = self.add_group(supergroup_id, old.title)
        user = self._user(group_id, None, "", "")
        nothing = Formatted("")
        self._people.say(old, user, nothing, media={"migrate_to_chat_id": supergroup_id})
        self._people.say(new, user, nothing, media={"migrate_from_chat_id": group_id})
        old.migrated_to = supergroup_id

    def kick(self, chat_id: int) -> None:
        self._screen.chat(chat_id).kicked = True

    def add_file(
        self,
        data: bytes,
        name: str = "file.bin",
        content_type: str = "application/octet-stream",
        *,
        size: int | None = None,
    ) -> File:
        """A file the bot can fetch by its file_id; `size` may claim more than `data` holds."""
        return self._people.store_file(data, name, content_type, size)

    # What can be asked

    def visible(self, chat_id: int, thread: int | None = None) -> list[SeenMessage]:
        """What the person sees now: oldest first, edits applied, deleted messages gone."""
        return self._screen.messages(chat_id, thread)

    def bot_texts(self, chat_id: int) -> list[str]:
        return [m.text for m in self._screen.messages(chat_id) if m.sender == "bot"]

    def typing(self, chat_id: int) -> bool:
        return self._screen.typing(chat_id)

    def draft(self, chat_id: int) -> str | None:
        return self._screen.draft(chat_id)

    def notifications(self, chat_id: int) -> int:
        return self._screen.notifications(chat_id)

    def highest_edit_rate(self, chat_id: int, window_s: float = 1.0) -> float:
        return self._screen.highest_edit_rate(chat_id, window_s)

    def shortest_edit_interval(self, chat_id: int) -> float | None:
        return self._screen.shortest_edit_interval(chat_id)

    @property
    def polling(self) -> bool:
        """A getUpdates waits for an update now."""
        return self.core.updates.polling

    def screen_json(self, chat_id: int) -> dict[str, Any]:
        return self._screen.to_json(chat_id)
