"""Keeps a channel's ingest going: one that fails begins again, and the other channels go on."""

import logging
import time
from collections.abc import Callable
from typing import Final

from roost_channels.channel import Channel
from roost_channels.clock import Clock, SystemClock
from roost_channels.intake import Intake

logger = logging.getLogger(__name__)

AGAIN_S: Final = 1.0
AGAIN_S_MAX: Final = 60.0  # one that ran for longer begins with the short wait again
DETAIL_MAX: Final = 300


async def keep_ingesting(
    channel: Channel,
    intake: Intake,
    *,
    clock: Clock | None = None,
    steady: Callable[[], float] = time.monotonic,
) -> None:
    """Run the channel's ingest until it returns. Each failure is told as the channel's state.

    steady: seconds of a clock that nobody sets.
    """
    clock = clock or SystemClock()
    wait_s = AGAIN_S
    while True:
        began = steady()
        try:
            await channel.ingest(intake)
            return
        except Exception as error:
            logger.exception("ingest of %s %s failed", channel.name, channel.account)
            await _tell(channel, intake, f"{type(error).__name__}: {error}"[:DETAIL_MAX])
        if steady() - began > AGAIN_S_MAX:
            wait_s = AGAIN_S
        await clock.sleep(wait_s)
        wait_s = min(wait_s * 2, AGAIN_S_MAX)


async def _tell(channel: Channel, intake: Intake, why: str) -> None:
    try:
        await intake.channel_state(channel.name, channel.account, "degraded", why)
    except Exception:
        logger.exception("the channel's state could not be recorded")
