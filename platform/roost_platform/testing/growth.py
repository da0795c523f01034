"""How the processor time of code grows with its input, whatever else the machine does meanwhile."""

import gc
import time
from collections.abc import Callable

Work = Callable[[], object]

LOOKS = 8
FACTOR, GROWTH_MAX = 4, 6.0  # for four times the size; the square of it would cost sixteen
LEAST_S = 0.03  # what takes less says nothing about growth: the code is linear or fast enough


def processor_seconds(work: Work) -> float:
    """Processor time without the collector of garbage, which walks what others made."""
    collects = gc.isenabled()
    gc.disable()
    try:
        began = time.thread_time()
        work()
        return time.thread_time() - began
    finally:
        if collects:
            gc.enable()


def grows_in_proportion(
    prepare: Callable[[int], Work], size: int, factor: int = FACTOR, growth_max: float = GROWTH_MAX
) -> bool:
    """Whether `factor` times the size takes less than `growth_max` times as long.

    `prepare` makes the work on an input of a size; its own time does not count. Large and small are
    measured one after the other, for a machine that others share is faster at one moment than at
    another. Code fails that is too slow in each of `LOOKS` looks.
    """
    for _ in range(LOOKS):
        large = processor_seconds(prepare(factor * size))
        if large < LEAST_S:
            return True
        # The better of two: a moment that is slow for the small input must excuse no code.
        small = min(processor_seconds(prepare(size)) for _ in range(2))
        if large < growth_max * small:
            return True
    return False
