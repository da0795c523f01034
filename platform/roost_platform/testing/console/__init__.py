"""For tests and screenshots: a console on loopback over a database with a plausible day in it."""

from roost_platform.testing.console.day import seed
from roost_platform.testing.console.engine import CalmEngine, an_hour_of, engine_session
from roost_platform.testing.console.server import (
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
