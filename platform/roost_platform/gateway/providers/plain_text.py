"""Reads chunks that add text and nothing else, of which an answer mostly consists, in few steps."""

from collections.abc import Callable
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final

from roost_inference.client.event_parser import EventParser
from roost_inference.client.events import json_value
from roost_platform.gateway.request import TextSink

CHOICES_MAX: Final = 128
LEARNT_MAX: Final = 4  # forms of one answer; where each chunk has its own, none is of use
_BEGIN: Final = b"data: "
_END: Final = b"\n\n"
_CONTENT: Final = '"content":'
# What else a delta may have in it that counts.
_OTHERS: Final = (
    *("reasoning_content", "reasoning", "thinking"),
    *("refusal", "tool_calls", "function_call"),
)


@dataclass(slots=True)
class PlainText:
    """A chunk that says nothing but this text of one choice."""

    text: str
    choice: int


class ChunkReader:
    """The chunks of one answer, from the data of its events.

    A server writes each chunk with text in the same way, but for the text. What stands before it
    and behind it is learnt; where it comes again, the text between is all that is left to read.
    The first chunk is given whole: it names the model.
    """

    def __init__(self) -> None:
        self._before = self._after = ""
        self._choice = 0
        self._learnt = 0
        self._has_begun = False

    def known(self, data: str) -> PlainText | None:
        """The text in this data, where all around it is known."""
        before, after = self._before, self._after
        if before and data.startswith(before) and data.endswith(after):
            try:
                text, end = scanstring(data, len(before))
            except ValueError:
                return None
            if text and end - 1 == len(data) - len(after):
                return PlainText(text, self._choice)
        return None

    def read(self, data: str) -> Any:
        """The JSON of this data, or PlainText. Raises EngineUnavailable where it is none."""
        if (known := self.known(data)) is not None:
            return known
        value = json_value(data)
        if not self._has_begun:
            self._has_begun = isinstance(value, dict) and isinstance(value.get("choices"), list)
            return value
        plain = plain_text(value)
        if plain is None:
            return value
        if self._learnt < LEARNT_MAX:
            self._learn(data, plain)
        return plain

    def _learn(self, data: str, plain: PlainText) -> None:
        if data.count(_CONTENT) != 1:
            return
        start = data.index(_CONTENT) + len(_CONTENT)
        while data[start] == " ":
            start += 1
        if data[start] != '"':
            return
        text, end = scanstring(data, start + 1)
        if text != plain.text:
            return
        before, after = data[: start + 1], data[end - 1 :]
        if (before, after) != (self._before, self._after):
            self._before, self._after, self._choice = before, after, plain.choice
            self._learnt += 1


class DirectChunks:
    """Takes parts of an answer's body that are one event with text and nothing else, straight from
    the connection to the client. passes: whether a text was taken as it is by whoever reads the
    answer; else it has to be read in full.
    """

    def __init__(
        self,
        reader: ChunkReader,
        parser: EventParser,
        passes: Callable[[PlainText], bool],
        sink: TextSink,
    ) -> None:
        self._reader = reader
        self._parser = parser
        self._passes = passes
        self._sink = sink

    def take(self, part: bytes) -> bool:
        """Whether this part was taken. Nothing is lost of one that was not."""
        if not (part.startswith(_BEGIN) and part.endswith(_END)):
            return False
        if not (self._parser.is_between_events and self._sink.is_ready):
            return False
        try:
            data = part[len(_BEGIN) : -len(_END)].decode()
        except UnicodeDecodeError:
            return False
        known = self._reader.known(data)
        if known is None or not self._passes(known):
            return False
        self._sink.send(known.text, known.choice)
        return True


def plain_text(chunk: Any) -> PlainText | None:
    """The text of a chunk, if it has nothing else to tell."""
    if type(chunk) is not dict or chunk.get("error") or chunk.get("errors") or chunk.get("usage"):
        return None
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
        return None
    (choice,) = choices
    delta, index = choice.get("delta"), choice.get("index")
    if type(delta) is not dict or type(index) is not int or not 0 <= index < CHOICES_MAX:
        return None
    text = delta.get("content")
    if type(text) is not str or not text or choice.get("finish_reason") or choice.get("logprobs"):
        return None
    if len(delta) > 1 and any(delta.get(name) for name in _OTHERS):
        return None
    return PlainText(text, index)
