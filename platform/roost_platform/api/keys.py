"""The API routes of the gateway's keys: make, list, revoke, rotate."""

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from roost_platform.api.auth import admin
from roost_platform.api.routes import UsesApi, client_ip
from roost_platform.api.schemas import Body
from roost_platform.db.gateway.key_admin import (
    AMOUNT_MAX,
    GRACE_S_MAX,
    RATE_MAX,
    KeyAdmin,
    KeyRow,
    NewKey,
    clean_key_name,
)
from roost_platform.identity.roles import Principal
from roost_platform.views.gateway.money import MICRO

router = APIRouter(prefix="/keys", tags=["keys"])
Admin = Annotated[Principal, Depends(admin)]
Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]
Skip = Annotated[int, Query(ge=0, le=1_000_000)]
Rate = Annotated[int, Field(ge=1, le=RATE_MAX)]


class KeyItem(BaseModel):
    """A key without its secret. Money is in US dollars; times are seconds since the epoch.

    state: active, expired or revoked. spent: in this period; held: by calls that run.
    """

    id: str
    name: str
    hint: str
    state: str
    models: list[str]
    compress: bool
    budget: Decimal | None
    budget_tokens: int | None
    per: str
    period_ends: float | None
    spent: Decimal
    spent_tokens: int
    held: Decimal
    held_tokens: int
    rpm: int | None
    tpm: int | None
    parallel: int | None
    in_flight: int
    created_at: float
    created_by: str
    used_at: float | None
    expires_at: float | None
    revoked_at: float | None


class KeyList(BaseModel):
    """The keys, the newest first."""

    keys: list[KeyItem]


class WantedKey(Body):
    """A key to make; what is left out is no bound."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    models: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default_factory=list, max_length=100
    )
    budget: Annotated[Decimal, Field(gt=0, le=10**9, decimal_places=6)] | None = None
    budget_tokens: Amount | None = None
    per: Literal["", "day", "month"] = ""
    rpm: Rate | None = None
    tpm: Rate | None = None
    parallel: Rate | None = None
    expires_at: float | None = Field(default=None, ge=0, le=10**11)
    compress: bool = False


class Rotation(Body):
    """How long the old secret is still good, in seconds."""

    grace_s: Annotated[float, Field(ge=0, le=GRACE_S_MAX)] = 0.0


class MadeKey(BaseModel):
    """A key with its secret, which is told this once."""

    id: str
    name: str
    key: str


@router.get("")
async def keys(api: UsesApi, _: Admin, skip: Skip = 0) -> KeyList:
    """The keys without their secrets, the newest first, 500 at once; `skip` leads on."""
    rows = await KeyAdmin(api.stores.database).rows(skip)
    return KeyList(keys=[key_item(row) for row in rows])


@router.post("", status_code=201)
async def create(request: Request, api: UsesApi, me: Admin, body: WantedKey) -> MadeKey:
    """Make a key; its secret is told this once."""
    wanted = NewKey(
        name=body.name,
        models=tuple(body.models),
        budget_microusd=None if body.budget is None else int(body.budget * MICRO),
        budget_tokens=body.budget_tokens,
        period=body.per,
        requests_per_minute=body.rpm,
        tokens_per_minute=body.tpm,
        parallel=body.parallel,
        expires_at=body.expires_at,
        compress=body.compress,
    )
    id, secret = await KeyAdmin(api.stores.database).create(wanted, me.name, client_ip(request))
    return MadeKey(id=id, name=clean_key_name(body.name), key=secret)


@router.post("/{id}/revoke")
async def revoke(request: Request, api: UsesApi, me: Admin, id: str) -> KeyItem:
    """Refuse the key, by its id or name, from now on."""
    row = await KeyAdmin(api.stores.database).revoke(id, me.name, client_ip(request))
    return key_item(row)


@router.post("/{id}/rotate")
async def rotate(
    request: Request, api: UsesApi, me: Admin, id: str, body: Rotation | None = None
) -> MadeKey:
    """Give the key, by its id or name, another secret; the old one is refused from now on, or
    after the grace.
    """
    grace_s = body.grace_s if body is not None else 0.0
    admin_of = KeyAdmin(api.stores.database)
    row, secret = await admin_of.rotate(id, me.name, client_ip(request), grace_s)
    return MadeKey(id=row.id, name=row.name, key=secret)


def key_item(row: KeyRow) -> KeyItem:
    """The key as the API tells it."""
    return KeyItem(
        id=row.id,
        name=row.name,
        hint=row.hint,
        state=row.state,
        models=list(row.models),
        compress=row.compress,
        budget=None if row.budget_microusd is None else Decimal(row.budget_microusd) / MICRO,
        budget_tokens=row.budget_tokens,
        per=row.period,
        period_ends=row.period_ends,
        spent=Decimal(row.spent_microusd) / MICRO,
        spent_tokens=row.spent_tokens,
        held=Decimal(row.held_microusd) / MICRO,
        held_tokens=row.held_tokens,
        rpm=row.requests_per_minute,
        tpm=row.tokens_per_minute,
        parallel=row.parallel,
        in_flight=row.in_flight,
        created_at=row.created_at,
        created_by=row.created_by,
        used_at=row.used_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
