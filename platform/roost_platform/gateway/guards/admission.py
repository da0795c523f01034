"""The places of calls that run, and the bytes of their bodies, so that no key takes all of them.

Nothing waits here: a call that finds no place is refused, and its client may try again. The bound
of a key that an operator sets, `parallel`, is counted in the database.
"""

from collections import Counter
from collections.abc import Callable
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

    def place(self, key_id: str) -> "Place":
        """A place for a call of this key, which is taken by `with` and raises Overloaded or
        RateLimited then.
        """
        return Place(self, key_id)

    def take(self, key_id: str) -> None:
        """Count a call of this key. Raises Overloaded, RateLimited."""
        if self.calls >= self.calls_max:
            raise Overloaded(f"{self.calls_max} calls run already")
        if self._calls_of[key_id] >= self.calls_of_key_max:
            raise RateLimited(f"This key has {self.calls_of_key_max} calls in progress already")
        self.calls += 1
        self._calls_of[key_id] += 1

    def hold(self, key_id: str, size: int) -> None:
        """Count more bytes of a body. Raises Overloaded, RateLimited."""
        if self.bytes + size > self.bytes_max:
            raise Overloaded("Too many large requests are in progress")
        if self._bytes_of[key_id] + size > self.bytes_max // 2:
            raise RateLimited("This key has too many large requests in progress")
        self.bytes += size
        self._bytes_of[key_id] += size

    def leave(self, key_id: str, size: int) -> None:
        """A call of this key is over, and this many bytes of its body are free."""
        self.calls -= 1
        self.bytes -= size
        _subtract(self._calls_of, key_id, 1)
        _subtract(self._bytes_of, key_id, size)

    @property
    def calls_of_key_max(self) -> int:
        """Calls of one key at once."""
        return self.calls_max - self.calls_max // LEFT_TO_OTHERS

    @property
    def bytes_max(self) -> int:
        """Bytes of all bodies at once."""
        return BODIES * self.body_bytes_max


class Place:
    """`with place as grow:` holds a place; `grow` takes more bytes for the body of the call. Both
    raise Overloaded and RateLimited.
    """

    __slots__ = ("_admission", "_key_id", "_size")

    def __init__(self, admission: Admission, key_id: str) -> None:
        self._admission = admission
        self._key_id = key_id
        self._size = 0

    def __enter__(self) -> Grow:
        self._admission.take(self._key_id)
        return self._grow

    def __exit__(self, *_error: object) -> None:
        self._admission.leave(self._key_id, self._size)

    def _grow(self, size: int) -> None:
        self._admission.hold(self._key_id, size)
        self._size += size


def _subtract(counts: Counter[str], name: str, size: int) -> None:
    counts[name] -= size
    if counts[name] <= 0:
        del counts[name]
