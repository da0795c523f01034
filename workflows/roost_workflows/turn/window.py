"""Shortening a conversation that no longer fits the model: the oldest turns are left out."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from roost_workflows.ports import TranscriptMessage

FILE_SHARE: Final = 4  # of a file's text, a quarter is shown at each level
SHORTER_MAX: Final = 3  # half, a quarter, an eighth of the turns; then the model is too small
GRID_TURNS: Final = 4
LEFT_OUT: Final = "Earlier messages of this conversation are left out here."


def window(messages: Sequence[TranscriptMessage], shorter: int) -> Sequence[TranscriptMessage]:
    """The newest turns: all of them at 0, half as many at each level more, at least the last one.

    A turn begins at a user message that follows an assistant's; cutting there keeps calls and
    results together. The cut moves in steps of GRID_TURNS turns, so that the next turns of the
    conversation begin with the same messages and find them cached. Of files, a quarter is shown at
    each level more.
    """
    if shorter == 0:
        return messages
    messages = [_with_less_of_files(message, shorter) for message in messages]
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


def _with_less_of_files(message: TranscriptMessage, shorter: int) -> TranscriptMessage:
    """The message with shorter texts of its files: the last one must fit, too."""
    if not any(file.text for file in message.files):
        return message
    share = FILE_SHARE**shorter
    files = (replace(file, text=file.text[: len(file.text) // share]) for file in message.files)
    return replace(message, files=tuple(files))
