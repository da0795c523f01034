"""The beat that all processes share: what is done from time to time is done at the same moments."""

import time
from typing import Final

BEAT_S: Final = 5.0


def until_beat(period_s: float = BEAT_S, now: float | None = None) -> float:
    """Seconds until the next whole multiple of `period_s`, half a period at least.

    Waking costs more than what is then done, so things that wait for nobody wake together. Timers
    end a little early or late; the half keeps one moment from being taken twice.
    """
    wait_s = period_s - (time.time() if now is None else now) % period_s
    return wait_s if wait_s > period_s / 2 else wait_s + period_s
