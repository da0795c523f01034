"""What an engine tells of itself to those who route requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from roost_inference.client.assembly import count_of

BLOCK_TOKENS: Final = 128  # where an engine does not tell
ROLES: Final = ("both", "prefill", "decode")


@dataclass(frozen=True, slots=True)
class EngineSummary:
    """`GET /v1/kv/summary`. compat: what must be equal for one engine to use the KV of another.

    running, waiting: requests that are computed, and that wait. ms_per_token: of reading a prompt,
    None where it was not measured; fetch_ms_per_token: of fetching its KV, likewise. leases:
    hand-overs that the engine keeps KV for.
    """

    engine_id: str
    role: str
    compat: str
    block_tokens: int = BLOCK_TOKENS
    bytes_per_token: int = 0
    running: int = 0
    waiting: int = 0
    ms_per_token: float | None = None
    fetch_ms_per_token: float | None = None
    leases: int = 0

    @classmethod
    def of(cls, value: Any) -> "EngineSummary | None":
        """The summary in a JSON answer, None if it is none."""
        if not isinstance(value, dict) or not isinstance(value.get("engine_id"), str):
            return None
        role = value.get("role")
        return cls(
            engine_id=value["engine_id"],
            role=role if role in ROLES else "both",
            compat=str(value.get("compat") or ""),
            block_tokens=count_of(value.get("block_tokens")) or BLOCK_TOKENS,
            bytes_per_token=count_of(value.get("kv_bytes_per_token")),
            running=count_of(value.get("running")),
            waiting=count_of(value.get("waiting")),
            ms_per_token=_positive(value.get("prefill_ms_per_token")),
            fetch_ms_per_token=_positive(value.get("fetch_ms_per_token")),
            leases=count_of(value.get("leases")),
        )


@dataclass(frozen=True, slots=True)
class CachedTokens:
    """`POST /v1/kv/lookup`: how many tokens of a prompt an engine need not compute."""

    cached: int
    total: int

    @classmethod
    def of(cls, value: Any) -> "CachedTokens | None":
        """The counts in a JSON answer, None if it has none."""
        if not isinstance(value, dict):
            return None
        total = count_of(value.get("prompt_tokens"))
        return cls(min(count_of(value.get("cached_tokens")), total), total) if total else None


@dataclass(frozen=True, slots=True)
class Handover:
    """A prefill engine's offer of KV, in vLLM's fields: `params` go to the decode engine as they
    are. The engine keeps the KV for `lease_s`, longer if it is asked to, and not after a release.
    """

    request_id: str
    lease_s: float
    tokens: int
    params: Mapping[str, Any]

    @classmethod
    def of(cls, value: Any) -> "Handover | None":
        """The offer in the answer of a prefill engine, None if it makes none."""
        params = value.get("kv_transfer_params") if isinstance(value, dict) else None
        if not isinstance(params, dict) or params.get("do_remote_prefill") is not True:
            return None
        request_id, lease_s = params.get("remote_request_id"), _positive(params.get("lease_s"))
        if not isinstance(request_id, str) or not request_id or lease_s is None:
            return None
        return cls(request_id, lease_s, count_of(params.get("remote_num_tokens")), params)


def _positive(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < 1e9 else None
