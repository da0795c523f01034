"""FakeTelegram: a Bot API server on loopback with people in it."""

from typing import Any

from aiohttp import web

from roost_channels.testing.clock import Clock, SystemClock
from roost_channels.testing.fake import Fake
from roost_channels.testing.loopback import LoopbackServer
from roost_channels.testing.telegram.dispatch import BotDispatcher
from roost_channels.testing.telegram.schema import complaints
from roost_channels.testing.telegram.sim import SimApi
from roost_channels.testing.telegram.state.core import Core
from roost_channels.testing.telegram.state.flood import FloodControl, FloodLimits
from roost_channels.testing.telegram.state.records import User
from roost_channels.testing.telegram.state.updates import UpdateQueue
from roost_channels.testing.telegram.state.world import World
from roost_channels.testing.telegram.users.actions import Acts
from roost_channels.testing.telegram.users.events import People
from roost_channels.testing.telegram.users.screen import Screen, SeenMessage
from roost_channels.testing.telegram.webhook import WebhookSender

DEFAULT_TOKEN = "42:TEST-TOKEN"


class FakeTelegram(Acts, Fake):
    """`async with FakeTelegram() as telegram:` serves one bot at `telegram.base_url`.

    People act through `user_says`, `user_sends`, `press`, `user_edits`, `user_reacts`, `block` and
    so on; `visible` answers what a person sees now. Positive chat ids are private chats and appear
    when first used; groups are made with `add_group`. With `privacy` the bot sees of a group's
    messages only those meant for it; with `private_topics` private chats have topics.
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
        private_topics: bool = False,
    ) -> None:
        self.token = token
        self.clock = clock or SystemClock()
        self._bot = User(int(token.partition(":")[0]), "Roost", username, is_bot=True)
        self._flood_limits = flood or FloodLimits()
        self._stretch = stretch_empty_polls
        self._first_update_id = first_update_id
        self._first_message_id = first_message_id
        self._privacy = privacy
        self._private_topics = private_topics
        self._server = LoopbackServer(self._handle, port)
        self._build()

    def _build(self) -> None:
        self.core: Core = Core(
            World(self._bot, self._first_message_id),
            self.clock,
            UpdateQueue(self.clock, self._first_update_id, self._stretch),
            FloodControl(self._flood_limits),
            privacy=self._privacy,
            private_topics=self._private_topics,
        )
        self._people = People(self.core)
        self._screen = Screen(self.core)
        self._dispatcher = BotDispatcher(self.core, self.token)
        self._sim = SimApi(self)
        self._webhook = WebhookSender(self.core, self._dispatcher.execute)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/sim"):
            return await self._sim.handle(request)
        return await self._dispatcher.handle(request)

    async def _start_parts(self) -> None:
        self._webhook.start()

    async def _stop_parts(self) -> None:
        self.core.updates.stop()
        await self._webhook.stop()

    @property
    def bot_id(self) -> int:
        return self._bot.id

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

    @property
    def complaints(self) -> list[str]:
        """What the Bot API's schema says against the calls so far; the real server says nothing."""
        return [text for call in self.core.log.calls for text in complaints(call)]

    def screen_json(self, chat_id: int) -> dict[str, Any]:
        return self._screen.to_json(chat_id)
