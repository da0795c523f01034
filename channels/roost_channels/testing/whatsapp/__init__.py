"""What WhatsApp is whichever provider carries it: the ground of FakeTwilio and FakeCloud."""

from roost_channels.testing.whatsapp.screen import SeenText
from roost_channels.testing.whatsapp.state import PairLimit, StatusPlan

__all__ = ["PairLimit", "SeenText", "StatusPlan"]
