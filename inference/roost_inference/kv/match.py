"""The KV that a prompt can reuse: on the device, and in blocks that can follow."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from roost_inference.batch import TILE_ROWS, Tokens
from roost_inference.kv.index import MatchedBlock
from roost_inference.request import EngineSession, KvPolicy
from roost_inference.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Resident:
    """A finished sequence whose KV holds exactly `tokens`."""

    sequence_id: int
    tokens: Tokens
    session: EngineSession
    policy: KvPolicy


@dataclass(frozen=True, slots=True)
class PrefixMatch:
    """Where the first `length` tokens of a prompt are: `held` of them in `source`, which the
    request goes on in (`take_over`) or copies from, the rest in `loads`, blocks in RAM that follow
    without a hole. Held 0 has no source."""

    length: int = 0
    source: int | None = None
    take_over: bool = False
    held: int = 0
    loads: tuple[MatchedBlock, ...] = ()


NO_MATCH = PrefixMatch()


def common_prefix(held: Tokens, wanted: Tokens) -> int:
    """How many leading tokens the two have in common."""
    size = min(len(held), len(wanted))
    if size == 0 or held[0] != wanted[0]:
        return 0
    differs = np.flatnonzero(held[:size] != wanted[:size])
    return int(differs[0]) if differs.size else size


def reusable(sequence: Sequence) -> Tokens:
    """The tokens of its prompt that may come from the KV: all but the last, whose logits have to
    be computed. One that is to repeat exactly has a whole tile and more computed after whole tiles,
    as the end of a prompt that is read from its beginning is: so its numbers are the same to the
    last bit."""
    tokens = sequence.tokens.view[:-1]
    unit = reuse_unit(sequence)
    return tokens if unit == 1 else tokens[: max(len(tokens) // unit - 1, 0) * unit]


def reuse_unit(sequence: Sequence) -> int:
    """Tokens of which a whole number is reused. What runs beside others, or has begun to write,
    does not repeat exactly anyway."""
    is_exact = sequence.repeats_exactly and sequence.was_alone and not sequence.generated
    return TILE_ROWS if is_exact else 1


def whole_units(parts: list[MatchedBlock], unit: int) -> list[MatchedBlock]:
    """The blocks, the last one cut so that a whole number of units of it is used."""
    if not parts or not parts[-1].used % unit:
        return parts
    *whole, last = parts
    used = last.used // unit * unit
    return [*whole, replace(last, used=used)] if used else whole


def match_on_device(
    sequence: Sequence,
    residents: Iterable[Resident],
    running: Iterable[Sequence],
    truncates: bool,
) -> PrefixMatch:
    """The longest prefix that a sequence of the same salt holds; of equally long ones the first
    resident that can be taken over. truncates: whether part of a sequence can be removed."""
    session, wanted = sequence.request.session, reusable(sequence)
    best, unit = NO_MATCH, reuse_unit(sequence)
    for resident in residents:
        if resident.session.cache_salt != session.cache_salt:
            continue
        length = common_prefix(resident.tokens, wanted) // unit * unit
        own = session.session_id is not None and resident.session == session
        lost = len(resident.tokens) - length
        take_over = lost == 0 or (own and lost <= length)
        if not truncates and lost:
            continue
        if length > best.length or (length == best.length and take_over and not best.take_over):
            best = PrefixMatch(length, resident.sequence_id, take_over, length)
    for other in running if truncates else ():
        if other.request.session.cache_salt != session.cache_salt:
            continue
        length = common_prefix(other.tokens.view[: other.computed], wanted) // unit * unit
        if length > best.length:
            best = PrefixMatch(length, other.sequence_id, False, length)
    return best if best.length else NO_MATCH
