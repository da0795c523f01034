"""The places of calls that run, and the bytes of their bodies, so that no key takes all of them.

Nothing waits here: a call that finds no place is refused, and its client may try again. The bound
of a key that an operator sets, `parallel`, is counted in the database.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from roost_platform.gateway.errors import Overloaded, RateLimited

BODIES: Final = 32  # of the largest size that may be held at once, of all keys
LEFT_TO_OTHERS: Final = 16  # one place in so many is never taken by the key that has all others

Grow = Callable[[int], None]


@dataclass(slots=True)
class Admission:
    """calls_max: calls at once; body_bytes_max: the largest body."""

    calls_max: int
    body_bytes_max: int
    calls: int = 0
    bytes: int = 0
    _calls_of: Counter[str] = field(default_factory=Counter)
    _bytes_of: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def place(self, key_id: str) -> Iterator[Grow]:
        """A place for a call of this key. What it yields takes more bytes for the call's body.

        Raises Overloaded and RateLimited, and so does what it yields.
        """
        if self.calls >= self.calls_max:
            raise Overloaded(f"{self.calls_max} calls run already")
        if self._calls_of[key_id] >= self.calls_of_key_max:
            raise RateLimited(f"This key has {self.calls_of_key_max} calls in progress already")
        taken = 0

        def grow(size: int) -> None:
            nonlocal taken
            if self.bytes + size > self.bytes_max:
                raise Overloaded("Too many large requests are in progress")
            if self._bytes_of[key_id] + size > self.bytes_max // 2:
                raise RateLimited("This key has too many large requests in progress")
            taken += size
            self.bytes += size
            self._bytes_of[key_id] += size

        self.calls += 1
        self._calls_of[key_id] += 1
        try:
            yield grow
        finally:
            self.calls -= 1
            self.bytes -= taken
            _subtract(self._calls_of, key_id, 1)
            _subtract(self._bytes_of, key_id, taken)

    @property
    def calls_of_key_max(self) -> int:
        """Calls of one key at once."""
        return self.calls_max - self.calls_max // LEFT_TO_OTHERS

    @property
    def bytes_max(self) -> int:
        """Bytes of all bodies at once."""
        return BODIES * self.body_bytes_max


def _subtract(counts: Counter[str], name: str, size: int) -> None:
    counts[name] -= size
    if counts[name] <= 0:
        del counts[name]
