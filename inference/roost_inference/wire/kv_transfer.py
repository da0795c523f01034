"""Where the KV of one request comes from and goes to, in vLLM's form."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from roost_inference.request import KvOffer
from roost_inference.wire.message import WireModel

TIERS_NAMED_MAX = 32
LEASE_ID = r"^[A-Za-z0-9_-]{1,64}$"
HOST = r"^[A-Za-z0-9._:-]{1,253}$"
LEASE_S_MAX = 3600.0
SOCKET_CHARACTERS_MAX = 108  # of a Unix socket's path


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


LeaseId = Annotated[str, Field(pattern=LEASE_ID)]


class KvTransferParams(WireModel):
    """Bounds of paging for one request, in tokens, and the tiers it may load from; an empty list
    allows none. Which names exist is known to the engine; see `kv.tiers.placement`.

    do_remote_decode: another engine will write the answer, so the prompt's KV is offered to it.
    do_remote_prefill: another engine has computed the prompt; the fields after it are its offer.
    """

    max_offload_tokens: int | None = Field(default=None, ge=0)
    max_load_tokens: int | None = Field(default=None, ge=0)
    kv_load_tiers: LoadTiers | None = Field(default=None, max_length=TIERS_NAMED_MAX)
    do_remote_decode: bool | None = None
    do_remote_prefill: bool | None = None
    remote_engine_id: LeaseId | None = None
    remote_request_id: LeaseId | None = None
    remote_host: str | None = Field(default=None, pattern=HOST)
    remote_port: int | None = Field(default=None, ge=1, le=65535)
    remote_socket: str | None = Field(default=None, max_length=SOCKET_CHARACTERS_MAX)
    remote_num_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    compat: str | None = Field(default=None, min_length=1, max_length=128)
    lease_s: float | None = Field(default=None, gt=0, le=LEASE_S_MAX)

    @property
    def missing(self) -> str | None:
        """A field that the offer lacks; None where it is whole or there is none."""
        names = (
            *("remote_engine_id", "remote_request_id", "remote_host", "remote_port"),
            *("remote_num_tokens", "compat", "lease_s"),
        )
        if not self.do_remote_prefill:
            return None
        return next((name for name in names if getattr(self, name) is None), None)

    @property
    def offer(self) -> KvOffer | None:
        """What another engine has computed of the prompt; None without a whole offer."""
        if not self.do_remote_prefill or self.missing:
            return None
        return KvOffer(
            engine_id=self.remote_engine_id or "",
            request_id=self.remote_request_id or "",
            host=self.remote_host or "",
            port=self.remote_port or 0,
            tokens=self.remote_num_tokens or 0,
            compat=self.compat or "",
            lease_s=self.lease_s or 0.0,
            socket=self.remote_socket or "",
        )


def offer_body(offer: KvOffer | str) -> dict[str, Any]:
    """`kv_transfer_params` of an answer: an offer, or the word that says why there is none."""
    if isinstance(offer, str):
        return {"do_remote_prefill": False, "reason": offer}
    return {
        "do_remote_prefill": True,
        "remote_engine_id": offer.engine_id,
        "remote_request_id": offer.request_id,
        "remote_host": offer.host,
        "remote_port": offer.port,
        "remote_socket": offer.socket or None,
        "remote_num_tokens": offer.tokens,
        "compat": offer.compat,
        "lease_s": offer.lease_s,
    }


def offer_in(body: Any) -> KvOffer | None:
    """The offer in a request that may be refused for other reasons; None without a sound one."""
    value = body.get("kv_transfer_params") if isinstance(body, dict) else None
    try:
        return KvTransferParams.model_validate(value).offer
    except ValidationError:
        return None
