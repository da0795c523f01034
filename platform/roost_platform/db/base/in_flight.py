"""How many transactions run, and waiting for their end."""

import asyncio
import contextlib

LOOK_S = 0.005


class InFlight:
    """Counts the blocks `with in_flight:` that are open."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_error: object) -> None:
        self.count -= 1

    async def ended(self, within_s: float) -> None:
        """Wait until none is open, at most this long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.count:
                    await asyncio.sleep(LOOK_S)
