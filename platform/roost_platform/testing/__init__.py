"""For tests: a whole Roost as a person starts it, three phones, and the means to kill any part."""

from roost_platform.testing.phones import AUTH_TOKEN, BOT, SENDER, Phones, start_phones
from roost_platform.testing.processes import SOURCES, Process, descendants, eventually, free_port
from roost_platform.testing.stack import Stack
from roost_platform.testing.world import World, run_world

__all__ = [
    "AUTH_TOKEN",
    "BOT",
    "SENDER",
    "SOURCES",
    "Phones",
    "Process",
    "Stack",
    "World",
    "descendants",
    "eventually",
    "free_port",
    "run_world",
    "start_phones",
]
