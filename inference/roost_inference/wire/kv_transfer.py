"""Bounds of paging for one request, in vLLM's form."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from roost_inference.wire.message import WireModel

TIERS_NAMED_MAX = 32


class TierPlace(WireModel):
    """vLLM's way to name tiers: by medium and, where given, by locality."""

    medium: Literal["CPU", "STORAGE"]
    locality: Literal["LOCAL", "REMOTE"] | None = None


def _tiers(value: Any) -> Any:
    """Check the form by hand: the error of a union names every alternative."""
    if not isinstance(value, list):
        return value
    places: list[str | TierPlace] = []
    for item in value:
        if isinstance(item, str):
            places.append(item)
        elif isinstance(item, dict):
            if item.get("medium") not in ("CPU", "STORAGE") or item.get("locality") not in (
                None,
                "LOCAL",
                "REMOTE",
            ):
                raise ValueError("medium is CPU or STORAGE, locality LOCAL or REMOTE")
            places.append(TierPlace(medium=item["medium"], locality=item.get("locality")))
        else:
            raise ValueError("a tier is a name, or an object with a medium")
    return places


LoadTiers = Annotated[list[str | TierPlace], BeforeValidator(_tiers)]


class KvTransferParams(WireModel):
    """Bounds of paging for one request, in tokens, and the tiers it may load from; an empty list
    allows none. Which names exist is known to the engine; see `kv.tiers.placement`."""

    max_offload_tokens: int | None = Field(default=None, ge=0)
    max_load_tokens: int | None = Field(default=None, ge=0)
    kv_load_tiers: LoadTiers | None = Field(default=None, max_length=TIERS_NAMED_MAX)
