"""What a prompt finds: on the device, and in blocks that can follow."""

from dataclasses import dataclass

import numpy as np

from roost_inference.batch import Tokens
from roost_inference.kv.index import Found
from roost_inference.request import EngineSession, KvPolicy


@dataclass(frozen=True, slots=True)
class Resident:
    """A finished sequence whose KV holds exactly `tokens`."""

    sequence_id: int
    tokens: Tokens
    session: EngineSession
    policy: KvPolicy


@dataclass(frozen=True, slots=True)
class Match:
    """Where the first `length` tokens of a prompt are: `held` of them in `source`, which the
    request goes on in (`take_over`) or copies from, the rest in `loads`, blocks in RAM that follow
    without a hole. Held 0 has no source."""

    length: int = 0
    source: int | None = None
    take_over: bool = False
    held: int = 0
    loads: tuple[Found, ...] = ()


NO_MATCH = Match()


def common_prefix(held: Tokens, wanted: Tokens) -> int:
    """How many leading tokens the two have in common."""
    size = min(len(held), len(wanted))
    if size == 0 or held[0] != wanted[0]:
        return 0
    differs = np.flatnonzero(held[:size] != wanted[:size])
    return int(differs[0]) if differs.size else size
