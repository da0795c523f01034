"""How many drafted tokens to verify: as many as give the most tokens a millisecond."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Drafts must promise to be this much faster: the chances are uncertain.
GAIN_MIN = 1.1


@dataclass(frozen=True, slots=True)
class Choice:
    """Depths by sequence, and the expected tokens per millisecond with them."""

    depths: tuple[int, ...]
    rate: float


def choose_depths(
    survivals: Sequence[Sequence[float]], cost_ms: Callable[[int], float], drafts_max: int
) -> Choice:
    """The depth for each sequence, `drafts_max` in all.

    survivals: by sequence, the falling chances that its first, second, … drafted token is
    accepted; empty where it has no draft. cost_ms: the cost of the step by the number of drafted
    tokens. The likeliest tokens of all sequences come first, and the step takes as many as pay
    best together.
    """
    count = len(survivals)
    plain = best_rate = count / cost_ms(0)
    best_rate *= GAIN_MIN
    order: list[int] = []
    best = 0
    tokens = float(count)
    heap = [(-chances[0], at, 0) for at, chances in enumerate(survivals) if chances]
    heapq.heapify(heap)
    while heap and len(order) < drafts_max:
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


def choose_even_depth(
    survivals: Sequence[Sequence[float]], cost_ms: Callable[[int], float], drafts_max: int
) -> Choice:
    """The same where every sequence takes as many rows as the one with the deepest draft: one depth
    for all, or less where a draft is shorter."""
    count = len(survivals)
    best, rate = 0, count / cost_ms(0)
    tokens, best_rate = float(count), GAIN_MIN * count / cost_ms(0)
    for depth in range(1, min(drafts_max // count, max(map(len, survivals))) + 1):
        tokens += sum(chances[depth - 1] for chances in survivals if len(chances) >= depth)
        if tokens / cost_ms(count * depth) > best_rate:
            best, best_rate = depth, tokens / cost_ms(count * depth)
            rate = best_rate
    return Choice(tuple(min(best, len(chances)) for chances in survivals), rate)


def fill_tile(
    depths: tuple[int, ...],
    available: Sequence[int],
    cost_ms: Callable[[int], float],
    drafts_max: int,
) -> tuple[int, ...]:
    """The depths with one raised, so that they sum to `drafts_max`, if the larger step costs less:
    a full tile of rows can be cheaper than a part of one.

    available: how many drafted tokens each sequence has, however unlikely they are.
    """
    drafted = sum(depths)
    missing = drafts_max - drafted
    if not drafted or not missing or cost_ms(drafts_max) >= cost_ms(drafted):
        return depths
    for at, depth in enumerate(depths):
        if depth and available[at] - depth >= missing:
            return (*depths[:at], depth + missing, *depths[at + 1 :])
    return depths
