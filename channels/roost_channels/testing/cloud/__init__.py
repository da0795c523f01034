"""FakeCloud: Meta's WhatsApp Cloud API as a server on loopback."""

from roost_channels.testing.cloud.server import FakeCloud

__all__ = ["FakeCloud"]
