"""Where tiers lie, and which of them a request may load from: by name, or by medium as in vLLM."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from roost_inference.kv.tiers.tier import Tier

Medium = Literal["CPU", "STORAGE"]
Locality = Literal["LOCAL", "REMOTE"]


@dataclass(frozen=True, slots=True)
class TierPlacement:
    """A tier's name, and where it lies in vLLM's words. Shared tiers are REMOTE."""

    name: str
    medium: Medium
    locality: Locality


@dataclass(frozen=True, slots=True)
class Place:
    """A medium and, unless any will do, a locality."""

    medium: Medium
    locality: Locality | None = None


def placement_of(tier: Tier) -> TierPlacement:
    """Where a lower tier lies, by its traits."""
    return TierPlacement(tier.name, "STORAGE", "REMOTE" if tier.is_shared else "LOCAL")


RAM_PLACEMENT = TierPlacement("ram", "CPU", "LOCAL")
# The tiers that settings turn on and off. One that is off holds nothing, and may be named.
STANDARD_PLACEMENTS = (
    RAM_PLACEMENT,
    TierPlacement("disk", "STORAGE", "LOCAL"),
    TierPlacement("object", "STORAGE", "REMOTE"),
)


def select_tiers(
    wanted: Sequence[str | Place], existing: Iterable[TierPlacement]
) -> frozenset[str]:
    """Names of the wanted tiers, of those that exist and the standard ones; no wish allows none.
    Blocks of lower tiers come through RAM, which needs no permission of its own.

    Raises ValueError for a name that no tier has.
    """
    tiers = {tier.name: tier for tier in (*STANDARD_PLACEMENTS, *existing)}
    names: set[str] = set()
    for place in wanted:
        if isinstance(place, str):
            if place not in tiers:
                raise ValueError(
                    f"there is no tier {place!r}; a tier is {', '.join(tiers)}, or an object with "
                    "a medium"
                )
            names.add(place)
            continue
        names |= {
            tier.name
            for tier in tiers.values()
            if tier.medium == place.medium and place.locality in (None, tier.locality)
        }
    return frozenset(names)
