"""The state of one bot that all parts of FakeTelegram share, and the table of methods."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from roost_channels.testing.state import FakeState
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.flood import FloodControl
from roost_channels.testing.telegram.state.updates import UpdateQueue
from roost_channels.testing.telegram.state.world import World


@dataclass(slots=True)
class CallbackQuery:
    """A pressed button, which the bot may answer once within 150 s. at: when it was pressed."""

    id: str
    chat_id: int
    message_id: int
    data: str
    at: float
    answer: dict[str, Any] | None = None


@dataclass(slots=True)
class WebhookSettings:
    """What setWebhook stored, and the last failure of a delivery."""

    url: str = ""
    secret: str = ""
    max_connections: int = 40
    last_error: str = ""
    last_error_at: float = 0.0
    set_at: float = float("-inf")


@dataclass(slots=True)
class TelegramCore(FakeState):
    """The server-side state of one bot."""

    world: World
    updates: UpdateQueue
    flood: FloodControl
    privacy: bool = False
    private_topics: bool = False
    webhook: WebhookSettings = field(default_factory=WebhookSettings)
    callback_queries: dict[str, CallbackQuery] = field(default_factory=dict)
    commands: dict[tuple[str, str], list[dict[str, str]]] = field(default_factory=dict)


Method = Callable[[TelegramCore, Parameters], Awaitable[Any]]
METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Register a Bot API method; its name is compared without regard to case."""

    def register(function: Method) -> Method:
        METHODS[name.lower()] = function
        return function

    return register
