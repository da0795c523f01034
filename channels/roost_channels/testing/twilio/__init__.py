"""FakeTwilio: Twilio's WhatsApp APIs as a server on loopback."""

from roost_channels.testing.twilio.screen import SeenText
from roost_channels.testing.twilio.server import FakeTwilio
from roost_channels.testing.twilio.state import PairLimit, StatusPlan

__all__ = ["FakeTwilio", "PairLimit", "SeenText", "StatusPlan"]
