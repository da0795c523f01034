"""FakeTelegram: the Bot API on loopback, with users and their phones."""

from aiohttp import web

from roost_channels.testing.clock import Clock, SystemClock
from roost_channels.testing.loopback import LoopbackServer
from roost_channels.testing.telegram.dispatch import BotDispatcher
from roost_channels.testing.telegram.sim import TelegramSim
from roost_channels.testing.telegram.state import kept
from roost_channels.testing.telegram.state.core import TelegramCore
from roost_channels.testing.telegram.state.flood import FloodControl, FloodLimits
from roost_channels.testing.telegram.state.records import User
from roost_channels.testing.telegram.state.updates import UpdateQueue
from roost_channels.testing.telegram.state.world import World
from roost_channels.testing.telegram.users.events import TelegramUserEvents
from roost_channels.testing.telegram.users.phones import TelegramPhones
from roost_channels.testing.telegram.users.screen import TelegramScreen
from roost_channels.testing.telegram.webhook import WebhookSender

DEFAULT_TOKEN = "42:TEST-TOKEN"


class FakeTelegram(TelegramPhones):
    """`async with FakeTelegram() as telegram:` serves one bot at `telegram.base_url`.

    `user_says`, `user_sends`, `press`, `user_edits`, `user_reacts`, `block` and so on act for a
    user; `visible` returns what the user sees. A positive chat id is a private chat, created when
    first used; `add_group` creates groups.

    privacy: the bot gets only the group messages that are meant for it.
    private_topics: private chats have topics.
    stretch_empty_polls: answer repeated empty polls slowly, as the real server does.
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
        self.core: TelegramCore = TelegramCore(
            self.clock,
            World(self._bot, self._first_message_id),
            UpdateQueue(self.clock, self._first_update_id, self._stretch),
            FloodControl(self._flood_limits),
            privacy=self._privacy,
            private_topics=self._private_topics,
        )
        self._events = TelegramUserEvents(self.core)
        self._screen = TelegramScreen(self.core)
        self._dispatcher = BotDispatcher(self.core, self.token)
        self._sim = TelegramSim(self)
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

    def dump(self) -> bytes:
        """See `Lasting.dump`."""
        return kept.dump(self.core)

    def load(self, kept_state: bytes) -> None:
        """See `Lasting.load`."""
        kept.load(self.core, kept_state)

    @property
    def bot_id(self) -> int:
        """The bot's user id: the number before the token's colon."""
        return self._bot.id
