"""For tests and screenshots: a console on loopback over a database with a plausible day in it."""

from roost_platform.console.testing.day import seed
from roost_platform.console.testing.engine import CalmEngine, an_hour_of, engine_session
from roost_platform.console.testing.server import (
    ADMIN,
    PASSWORD,
    ConsoleServer,
    QuietDoorbell,
)

__all__ = [
    "ADMIN",
    "PASSWORD",
    "CalmEngine",
    "ConsoleServer",
    "QuietDoorbell",
    "an_hour_of",
    "engine_session",
    "seed",
]
