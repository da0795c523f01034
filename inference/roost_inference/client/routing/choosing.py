"""Chooses the engine that answers a request, from what is known of each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# An engine with more than this many times the load of the least loaded one, and this many requests
# more, is left even by the sessions whose KV it has.
FAR_TIMES: Final = 2
FAR_MORE: Final = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that may answer. load: requests that it has. known_tokens: of the prompt, those
    whose KV it has as far as is known."""

    name: str
    load: int = 0
    known_tokens: int = 0


def choose(candidates: Sequence[Candidate], *, home: str | None = None, key: str = "") -> str:
    """The name of the engine: the session's home, else the longest known prefix, else the least
    load, else one that only the key decides, so that the same session finds it again.

    An engine that is far more loaded than another one is passed over. Raises ValueError for none.
    """
    least = min(one.load for one in candidates)
    near = [one for one in candidates if one.load <= FAR_TIMES * least + FAR_MORE]
    if any(one.name == home for one in near):
        return str(home)
    longest = max(one.known_tokens for one in near)
    best = [one for one in near if one.known_tokens == longest]
    lightest = min(one.load for one in best)
    equal = [one for one in best if one.load == lightest]
    return max(equal, key=lambda one: _rank(key, one.name)).name


def _rank(key: str, name: str) -> bytes:
    """Rendezvous hashing: an engine that comes or goes moves no session between the others."""
    return hashlib.blake2b(f"{key}\0{name}".encode(), digest_size=8).digest()
