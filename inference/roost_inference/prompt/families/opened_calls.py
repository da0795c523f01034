"""Parses answers in which a fixed text opens the calls, whatever form they have."""

from collections.abc import Callable, Iterator
from typing import Protocol

from roost_inference.prompt.call_markup import ParsedCall
from roost_inference.prompt.families.json_text import BrokenMarkup


class CallReader(Protocol):
    """Reads the calls behind one opening; has state, so there is a new one for each."""

    def take(self, text: str) -> tuple[ParsedCall | None, int] | None:
        """A call and where it ends in the text, which begins where the last one ended. Without a
        call: where all calls end. None while more text is needed. Raises BrokenMarkup."""
        ...

    @property
    def may_end(self) -> bool:
        """Whether the calls may end here without a closing text."""
        ...


class OpenedCallParser:
    """A CallParser. Markup that turns out to be no call comes out as the text that it is; white
    space around calls does not."""

    def __init__(self, opening: str, reader: Callable[[], CallReader]) -> None:
        self.truncated = False
        self._opening = opening
        self._new_reader = reader
        self._reader: CallReader | None = None
        self._held = ""
        self._raw = ""  # of the calls that are being read, should they be none
        self._after_call = False
        self._skip = 0  # openings at the beginning of `_held` that are none

    def feed(self, text: str) -> Iterator[str | ParsedCall]:
        """See CallParser."""
        self._held += text
        while True:
            if self._reader is None:
                if ready := self._take_text():
                    yield ready
                if self._reader is None:
                    return
            try:
                taken = self._reader.take(self._held)
            except BrokenMarkup:
                self._give_up()
                continue
            if taken is None:
                return
            call, end = taken
            self._held = self._held[end:]
            self._raw = ""
            if call is None:
                self._reader = None
            else:
                self._after_call = True
                yield call

    def finish(self, *, cut_off: bool) -> list[str | ParsedCall]:
        """See CallParser."""
        rest, reader = self._held, self._reader
        self._held, self._reader = "", None
        if reader is not None:
            if reader.may_end and not rest.strip():
                return []
            if cut_off:
                self.truncated = True
                return []
            rest = self._raw + rest
        elif cut_off and (begun := begun_length(rest, self._opening)):
            self.truncated = True
            rest = rest[:-begun]
        return [] if not rest or (self._after_call and not rest.strip()) else [rest]

    def _give_up(self) -> None:
        """What looked like calls is text, with its opening."""
        self._held = self._raw + self._held
        self._skip = len(self._raw)
        self._raw, self._reader = "", None

    def _take_text(self) -> str:
        """Text that is certain; begins to read calls if they open."""
        if self._after_call and not self._skip:
            self._held = self._held.lstrip()
        start = self._held.find(self._opening, self._skip)
        if start >= 0:
            ready = self._held[:start].rstrip()
            self._held = self._held[start + len(self._opening) :]
            self._raw, self._reader, self._skip = self._opening, self._new_reader(), 0
            return ready
        begun = begun_length(self._held[self._skip :], self._opening)
        certain = max(len(self._held[: len(self._held) - begun].rstrip()), self._skip)
        ready, self._held, self._skip = self._held[:certain], self._held[certain:], 0
        if ready:
            self._after_call = False
        return ready


def begun_length(text: str, opening: str) -> int:
    """Length of the longest end of `text` that begins `opening`."""
    for length in range(min(len(opening) - 1, len(text)), 0, -1):
        if opening.startswith(text[-length:]):
            return length
    return 0
