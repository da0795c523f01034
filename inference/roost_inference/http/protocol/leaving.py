"""Tells an app at once that its client has gone: a task that waits for it costs more."""

from collections.abc import Callable
from typing import Final

# The extension of an ASGI scope: a function that is given what to call once the client has gone,
# and None for nothing any more.
LEAVING: Final = "roost.leaving"


class Leaving:
    """The end of one connection. read_on: lets an end be seen behind what waits to be read."""

    def __init__(self, read_on: Callable[[], None]) -> None:
        self._read_on = read_on
        self._tell: Callable[[], None] | None = None
        self._has_left = False

    def watch(self, tell: Callable[[], None] | None) -> None:
        """Call this when the client has gone; at once where it has."""
        self._tell = tell
        if tell is None:
            return
        if self._has_left:
            tell()
        else:
            self._read_on()

    def left(self) -> None:
        """The client has gone."""
        self._has_left = True
        if self._tell is not None:
            self._tell()
