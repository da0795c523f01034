"""Shortening a conversation that no longer fits the model: the oldest turns are left out."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from roost_inference.errors import ContentRefused, EngineError, InvalidRequest, PromptTooLong
from roost_workflows.ports import TranscriptMessage

FILE_SHARE: Final = 4  # of a file's text, a quarter is shown at each level
# Half, a quarter, an eighth, a sixteenth of the turns, then the last one alone; if that does not
# fit, the model is too small.
SHORTER_MAX: Final = 5
SESSIONS_MAX: Final = 1000  # whose sizes are remembered; the one used longest ago is forgotten
# Of the size that should fit, by the engine's numbers: instructions and the answer need room.
ROOM: Final = 0.85
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
    starts = _starts(messages)
    if len(starts) < 2:
        return messages
    if shorter >= SHORTER_MAX:
        return [TranscriptMessage("system", LEFT_OUT), *messages[starts[-1] :]]
    dropped = math.ceil(len(starts) * (1 - 0.5**shorter) / GRID_TURNS) * GRID_TURNS
    first = starts[min(dropped, len(starts) - 1)]
    return [TranscriptMessage("system", LEFT_OUT), *messages[first:]]


def may_be_older(error: EngineError, messages: Sequence[TranscriptMessage]) -> bool:
    """Whether an engine may refuse a conversation for something before its last turn.

    In words that nobody knows it may be too long, or hold something that this engine does not take,
    such as a picture; or its provider has rules about contents. Then every later message would be
    refused, too.
    """
    return type(error) in (InvalidRequest, ContentRefused) and len(_starts(messages)) > 1


def _starts(messages: Sequence[TranscriptMessage]) -> list[int]:
    """Where the turns begin."""
    return [
        index
        for index, message in enumerate(messages)
        if message.role == "user" and (index == 0 or messages[index - 1].role == "assistant")
    ]


def _with_less_of_files(message: TranscriptMessage, shorter: int) -> TranscriptMessage:
    """The message with shorter texts of its files: the last one must fit, too."""
    if not any(file.text for file in message.files):
        return message
    share = FILE_SHARE**shorter
    files = (replace(file, text=file.text[: len(file.text) // share]) for file in message.files)
    return replace(message, files=tuple(files))


class ContextSizes:
    """How much of each conversation fits its model, learned from the engine's refusals."""

    def __init__(self) -> None:
        self._most: OrderedDict[str, float] = OrderedDict()  # characters, by session

    def learn(
        self,
        session_id: str,
        messages: Sequence[TranscriptMessage],
        shorter: int,
        refused: EngineError,
    ) -> None:
        """The window at this level was refused. Engines that give no numbers teach nothing."""
        if not isinstance(refused, PromptTooLong):
            return
        if not refused.prompt_tokens or not refused.limit_tokens:
            return
        share = ROOM * refused.limit_tokens / refused.prompt_tokens
        self._most[session_id] = share * _characters(window(messages, shorter))
        self._most.move_to_end(session_id)
        if len(self._most) > SESSIONS_MAX:
            self._most.popitem(last=False)

    def level(self, session_id: str, messages: Sequence[TranscriptMessage], least: int = 0) -> int:
        """The first level from `least` on that should fit."""
        most = self._most.get(session_id)
        if most is None:
            return least
        for level in range(least, SHORTER_MAX):
            if _characters(window(messages, level)) <= most:
                return level
        return SHORTER_MAX


def _characters(messages: Sequence[TranscriptMessage]) -> int:
    """About how long the messages are: what they are made of and not how they are rendered."""
    return sum(
        len(message.content)
        + sum(len(name) + len(arguments) for _, name, arguments in message.tool_calls)
        + sum(len(name) + len(text) for name, text in message.context or ())
        + sum(len(file.text) for file in message.files)
        for message in messages
    )
