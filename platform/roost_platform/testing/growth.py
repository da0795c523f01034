"""How the processor time of code grows with its input, whatever else the machine does meanwhile."""

import gc
import time
from collections.abc import Callable
from math import inf

Work = Callable[[], object]

ROUNDS = 8
FACTOR = 4
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
    prepare: Callable[[int], Work], size: int, factor: int = FACTOR, growth_max: float | None = None
) -> bool:
    """Whether `factor` times the size takes little more than `factor` times as long.

    `prepare` makes the work on an input of a size; its own time does not count. `growth_max` is the
    most that counts as proportional. Without it the line lies between proportion and the square:
    8 for four times the size, which costs 4 in proportion and 16 as the square. Every look is
    measured anew and the best of all looks counts, for what else runs on this machine only adds:
    code fails that is too slow in each of `ROUNDS` looks.
    """
    least, most = inf, inf
    for _ in range(ROUNDS):
        most = min(most, processor_seconds(prepare(factor * size)))
        if most < LEAST_S:
            return True
        least = min(least, processor_seconds(prepare(size)))
        if most < (growth_max or factor**1.5) * least:
            return True
    return False
