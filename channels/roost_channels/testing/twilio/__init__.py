"""FakeTwilio: Twilio's WhatsApp APIs as a server on loopback."""

from roost_channels.testing.twilio.server import FakeTwilio

__all__ = ["FakeTwilio"]
