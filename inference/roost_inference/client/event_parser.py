"""Reads server-sent events out of pieces of text, as many at a time as have come."""

from collections.abc import Iterator
from typing import Final

from roost_inference.errors import EngineUnavailable

EVENT_CHARACTERS_MAX: Final = 2**20
DATA: Final = "data:"


class EventParser:
    """The events of one stream that have data; ids and times of reconnection are passed over. See
    https://html.spec.whatwg.org/multipage/server-sent-events.html.
    """

    def __init__(self) -> None:
        self._begun: list[str] = []  # the pieces of a line that has not ended
        self._begun_size = 0
        self._ends_in_return = False  # a line feed that follows belongs to it
        self._name = ""
        self._data: list[str] = []
        self._size = 0  # characters of the lines of an event that has not ended

    @property
    def is_between_events(self) -> bool:
        """Whether the next text begins a new line of a new event."""
        return not (self._begun or self._size or self._data or self._ends_in_return)

    def feed(self, text: str) -> Iterator[tuple[str, str]]:
        """The name, empty for none, and the data of each event that this text completes, without
        blanks around it.

        Raises EngineUnavailable for an event that is too long.
        """
        if self.is_between_events and "\r" not in text:
            # Most events have one line of data and nothing else.
            at = 0
            while text.startswith(DATA, at) and (stop := text.find("\n\n", at)) > 0:
                data = text[at + len(DATA) : stop]
                if "\n" in data or len(data) > EVENT_CHARACTERS_MAX - len(DATA):
                    break
                at = stop + 2
                if data := data.strip():
                    yield "", data
            text = text[at:]
        for line in self._lines(text):
            if not line:
                name, data = self._name, "\n".join(self._data).strip()
                self._name, self._data, self._size = "", [], 0
                if data:
                    yield name, data
                continue
            field, _, value = line.partition(":")
            if field == "data":
                self._data.append(value.removeprefix(" "))
            elif field == "event":
                self._name = value.removeprefix(" ")
            else:
                continue
            self._size += len(line)
            self._check_size()
        self._check_size()

    def _lines(self, text: str) -> list[str]:
        """The lines that this text completes, without their ends."""
        if self._ends_in_return and text:
            self._ends_in_return = False
            text = text.removeprefix("\n")
        if "\r" in text:
            self._ends_in_return = text.endswith("\r")
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        rest = lines.pop()
        if lines and self._begun:
            lines[0] = "".join([*self._begun, lines[0]])
            self._begun, self._begun_size = [], 0
        if rest:
            self._begun.append(rest)
            self._begun_size += len(rest)
        return lines

    def _check_size(self) -> None:
        if self._size + self._begun_size > EVENT_CHARACTERS_MAX:
            raise EngineUnavailable(
                f"An event of the engine is longer than {EVENT_CHARACTERS_MAX} characters"
            )
