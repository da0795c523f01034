"""For tests and screenshots: a console on loopback over a database with a plausible day in it."""

from roost_platform.console.testing.day import seed
from roost_platform.console.testing.server import (
    ADMIN,
    PASSWORD,
    CalmEngine,
    ConsoleServer,
    QuietDoorbell,
)

__all__ = ["ADMIN", "PASSWORD", "CalmEngine", "ConsoleServer", "QuietDoorbell", "seed"]
