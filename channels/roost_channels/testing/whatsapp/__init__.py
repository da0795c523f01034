"""The parts of WhatsApp that FakeTwilio and FakeCloud share."""

from roost_channels.testing.whatsapp.screen import SeenText
from roost_channels.testing.whatsapp.state import PairLimit, StatusPlan

__all__ = ["PairLimit", "SeenText", "StatusPlan"]
