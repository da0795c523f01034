"""Fakes of the channels' providers, as real HTTP servers on loopback."""

from roost_channels.testing.clock import Clock, SystemClock, VirtualClock
from roost_channels.testing.cloud import FakeCloud
from roost_channels.testing.telegram import FakeTelegram, FloodLimits, SeenMessage
from roost_channels.testing.twilio import FakeTwilio
from roost_channels.testing.whatsapp import PairLimit, SeenText, StatusPlan

__all__ = [
    "Clock",
    "FakeCloud",
    "FakeTelegram",
    "FakeTwilio",
    "FloodLimits",
    "PairLimit",
    "SeenMessage",
    "SeenText",
    "StatusPlan",
    "SystemClock",
    "VirtualClock",
]
