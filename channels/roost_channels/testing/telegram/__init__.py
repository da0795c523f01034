"""FakeTelegram: the Bot API as a server on loopback."""

from roost_channels.testing.telegram.server import FakeTelegram
from roost_channels.testing.telegram.state.flood import FloodLimits, Window
from roost_channels.testing.telegram.users.screen import SeenButton, SeenMessage, SeenReply

__all__ = ["FakeTelegram", "FloodLimits", "SeenButton", "SeenMessage", "SeenReply", "Window"]
