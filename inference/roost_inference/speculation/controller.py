"""How many drafted tokens to verify: as many as raise the expected tokens a second."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Less than this is not worth the uncertainty.
GAIN_MIN = 1.1


@dataclass(frozen=True, slots=True)
class Choice:
    """Depths by sequence, and the expected tokens per millisecond with them."""

    depths: tuple[int, ...]
    rate: float


def choose_depths(
    survivals: Sequence[Sequence[float]], cost_ms: Callable[[int], float], room: int
) -> Choice:
    """The depth for each sequence.

    survivals: per sequence, the falling chances that its first, second, … draft is accepted;
    empty where it has none. cost_ms(rows) of the step with so many drafts in all. The likeliest
    drafts of all sequences come first, and the step takes those that pay best together.
    """
    count = len(survivals)
    plain = best_rate = count / cost_ms(0)
    best_rate *= GAIN_MIN
    order: list[int] = []
    best = 0
    tokens = float(count)
    heap = [(-chances[0], at, 0) for at, chances in enumerate(survivals) if chances]
    heapq.heapify(heap)
    while heap and len(order) < room:
        chance, at, depth = heapq.heappop(heap)
        tokens -= chance
        order.append(at)
        rate = tokens / cost_ms(len(order))
        if rate > best_rate:
            best, best_rate = len(order), rate
        if depth + 1 < len(survivals[at]):
            heapq.heappush(heap, (-survivals[at][depth + 1], at, depth + 1))
    depths = [0] * count
    for at in order[:best]:
        depths[at] += 1
    return Choice(tuple(depths), best_rate if best else plain)


def fill_tile(
    depths: tuple[int, ...], there: Sequence[int], cost_ms: Callable[[int], float], room: int
) -> tuple[int, ...]:
    """The depths, `room` tokens in all where so many cost less than not quite so many: with what
    is there to verify by sequence, however unlikely."""
    drafted = sum(depths)
    missing = room - drafted
    if not drafted or not missing or cost_ms(room) >= cost_ms(drafted):
        return depths
    for at, depth in enumerate(depths):
        if depth and there[at] - depth >= missing:
            return (*depths[:at], depth + missing, *depths[at + 1 :])
    return depths
