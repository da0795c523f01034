"""A laid-out text cut into slices that fit a channel, each at the best place near its end."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

import regex  # type: ignore[import-untyped]

from roost_channels.rendering.budget import Budget
from roost_channels.rendering.layout import Layout

_GRAPHEMES = regex.compile(r"\X")
# A cut is taken at the best kind of place that leaves at least this share of a full part.
_CUT_SHARES = {"block": 0.5, "line": 0.4, "word": 0.3}
# Cuts tried one after the other, the next lower one each time, before the slice is halved.
NEAR_CUTS_MAX = 16

# What a slice [start, end) of the text costs, in the channel's unit.
Cost = Callable[[int, int], int]


def cuts(
    document: Layout, limit: int, reserve: int, cost: Cost, budget: Budget | None
) -> Iterator[tuple[int, int]]:
    """Slices [start, end) that tile the text, each of at most `limit`, the first less `reserve`.

    Near-linear: each slice is looked for within one part's length. Raises OverBudget.
    """
    text = document.text
    start = 0
    while start < len(text):
        if budget is not None:
            budget.check()
        cut = _cut(document, start, limit if start else limit - reserve, cost)
        yield start, cut
        start = cut


def _cut(document: Layout, start: int, room: int, cost: Cost) -> int:
    """The end of the slice from `start` that fits the room."""
    length = len(document.text)
    end = _furthest(cost, start, length, room)
    if end == length and cost(start, end) <= room:
        return end
    places = _places(document.text, start, end)
    tries = 0
    while True:
        cut = end if end == length else _best_cut(document, places, start, end)
        if cost(start, cut) <= room or cut <= start + 1:
            return cut
        # With its marks the slice is too long: look for a cut before this one. Where many cuts
        # fail, the slice is halved, so that the search ends.
        tries += 1
        end = cut - 1 if tries < NEAR_CUTS_MAX else start + (cut - start) // 2


def _furthest(cost: Cost, start: int, length: int, room: int) -> int:
    """The largest end (more than start) whose slice costs no more than `room`."""
    low, high = start + 1, min(length, start + max(room, 1))
    if cost(start, high) <= room:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        if cost(start, middle) <= room:
            low = middle
        else:
            high = middle
    return low


def shortened(text: str, chars_max: int) -> str:
    """The beginning of a text, at most `chars_max` long; no emoji or letter is cut in two."""
    if len(text) <= chars_max:
        return text
    places = _places(text, 0, chars_max)
    return text[: places[-1] if places else chars_max]


def _places(text: str, start: int, end: int) -> list[int]:
    """Where graphemes of [start, end) end, in ascending order."""
    window = text[start : end + 1]
    ends = (start + match.end() for match in _GRAPHEMES.finditer(window))
    return [place for place in ends if place <= end]


def _best_cut(document: Layout, places: list[int], start: int, end: int) -> int:
    """The best place to end a part that may reach to `end`: block, line, word, else a grapheme."""
    text = document.text
    count = bisect_right(places, end)
    if not count:
        return end  # one grapheme longer than a part: no better place exists
    least = {kind: start + (end - start) * share for kind, share in _CUT_SHARES.items()}
    for index in range(bisect_right(document.breaks, end) - 1, -1, -1):
        place = document.breaks[index]
        if place <= start or place < least["block"]:
            break
        at = bisect_left(places, place)
        if at < count and places[at] == place:
            return place
    for kind, is_place in (("line", _ends_line), ("word", _ends_word)):
        for index in range(count - 1, -1, -1):
            if places[index] < least[kind]:
                break
            if is_place(text, places[index]):
                return places[index]
    return places[count - 1]


def _ends_line(text: str, place: int) -> bool:
    return text[place - 1] == "\n"


def _ends_word(text: str, place: int) -> bool:
    return text[place - 1].isspace()
