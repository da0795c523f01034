"""Shortening a conversation that no longer fits the model: the oldest turns are left out."""

import math
from collections.abc import Sequence
from typing import Final

from roost_workflows.ports import TranscriptMessage

SHORTER_MAX: Final = 3  # half, a quarter, an eighth of the turns; then the model is too small
GRID_TURNS: Final = 4
LEFT_OUT: Final = "Earlier messages of this conversation are left out here."


def window(messages: Sequence[TranscriptMessage], shorter: int) -> Sequence[TranscriptMessage]:
    """The newest turns: all of them at 0, half as many at each level more, at least the last one.

    A turn begins at a user message that follows an assistant's; cutting there keeps calls and
    results together. The cut moves in steps of GRID_TURNS turns, so that the next turns of the
    conversation begin with the same messages and find them cached.
    """
    if shorter == 0:
        return messages
    starts = [
        index
        for index, message in enumerate(messages)
        if message.role == "user" and (index == 0 or messages[index - 1].role == "assistant")
    ]
    if len(starts) < 2:
        return messages
    dropped = math.ceil(len(starts) * (1 - 0.5**shorter) / GRID_TURNS) * GRID_TURNS
    first = starts[min(dropped, len(starts) - 1)]
    return [TranscriptMessage("system", LEFT_OUT), *messages[first:]]
