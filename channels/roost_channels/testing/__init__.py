"""Fakes of what lies across the internet, as real HTTP servers on loopback."""

from roost_channels.testing.clock import Clock, SystemClock, VirtualClock
from roost_channels.testing.telegram import FakeTelegram, FloodLimits

__all__ = ["Clock", "FakeTelegram", "FloodLimits", "SystemClock", "VirtualClock"]
