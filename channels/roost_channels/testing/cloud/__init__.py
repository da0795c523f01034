"""FakeCloud: Meta's WhatsApp Cloud API as a server on loopback."""

from roost_channels.testing.cloud.screen import SeenNote
from roost_channels.testing.cloud.server import FakeCloud
from roost_channels.testing.cloud.state import CloudPlan

__all__ = ["CloudPlan", "FakeCloud", "SeenNote"]
