"""FakeTelegram: the Bot API as a server on loopback."""

from roost_channels.testing.telegram.flood import FloodLimits, Window
from roost_channels.testing.telegram.screen import SeenButton, SeenMessage, SeenReply
from roost_channels.testing.telegram.server import FakeTelegram

__all__ = ["FakeTelegram", "FloodLimits", "SeenButton", "SeenMessage", "SeenReply", "Window"]
