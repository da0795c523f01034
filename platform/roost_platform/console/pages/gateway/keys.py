"""Keys: who may use which model, how much, and until when; admins make, rotate and revoke them."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Annotated

from starlette.datastructures import FormData
from starlette.responses import Response

from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.db.gateway.key_admin import (
    AMOUNT_MAX,
    LISTED_MAX,
    NAME_CHARACTERS_MAX,
    KeyAdmin,
    NewKey,
)
from roost_platform.errors import NotAllowed, Refused
from roost_platform.identity.roles import Role
from roost_platform.views.gateway.keys import KeyView, key_view
from roost_platform.views.gateway.money import microusd

MODEL_NAMES_LENGTH_MAX = 2000
NUMBER_LENGTH_MAX = 20


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key whose secret is told this once."""

    name: str
    secret: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class KeysContext:
    """The Keys page; `made` is shown once, right after a secret was made."""

    rows: Annotated[tuple[KeyView, ...], "Keys, newest first"]
    is_cut: Annotated[bool, "Whether there may be more keys than are shown"]
    models: Annotated[tuple[str, ...], "Names of models, for the form"]
    made: Annotated[MadeKey | None, "A key with its new secret"] = None


async def load(visit: Visit) -> KeysContext:
    """Every key, newest first, and the models that a key may name."""
    rows = await KeyAdmin(visit.deps.stores.database).rows()
    gateway = visit.deps.gateway
    names = tuple(one.name for one in gateway.models()) if gateway else ()
    return KeysContext(tuple(key_view(row) for row in rows), len(rows) >= LISTED_MAX, names)


def live(data: KeysContext) -> LivePage:
    """The list."""
    return LivePage((Fragment("key-list", "gateway/key_list.html", data.rows),))


async def add(visit: Visit) -> Response:
    """Make a key. Its secret stands on the answer itself: it is stored nowhere."""
    wanted = _wanted(await visit.form(), visit.now)
    admin = KeyAdmin(visit.deps.stores.database)
    try:
        _, secret = await admin.create(wanted, visit.me.name, visit.ip)
    except NotAllowed as error:  # the name is taken
        raise Refused(str(error)) from None
    return await _told(visit, MadeKey(" ".join(wanted.name.split()), secret, is_new=True))


async def rotate(visit: Visit) -> Response:
    """Give a key another secret, which stands on the answer itself."""
    admin = KeyAdmin(visit.deps.stores.database)
    try:
        row, secret = await admin.rotate(visit.param("id"), visit.me.name, visit.ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    return await _told(visit, MadeKey(row.name, secret, is_new=False))


async def revoke(visit: Visit) -> Response:
    """Refuse a key from now on."""
    admin = KeyAdmin(visit.deps.stores.database)
    row = await admin.revoke(visit.param("id"), visit.me.name, visit.ip)
    return visit.done(f"“{row.name}” is revoked.", "/keys")


async def _told(visit: Visit, made: MadeKey) -> Response:
    response = visit.page(PAGE.template, replace(await load(visit), made=made))
    response.headers["cache-control"] = "no-store"
    return response


def _wanted(form: FormData, now: float) -> NewKey:
    """The key that the form describes. Raises Refused."""
    names = text_field(form, "models", required=False, length_max=MODEL_NAMES_LENGTH_MAX)
    budget = _short(form, "budget")
    return NewKey(
        name=text_field(form, "name", length_max=NAME_CHARACTERS_MAX),
        models=tuple(dict.fromkeys(one.strip() for one in names.split(",") if one.strip())),
        budget_microusd=microusd(budget) if budget else None,
        budget_tokens=_number(form, "budget_tokens", "The budget of tokens"),
        period=_short(form, "period"),
        requests_per_minute=_number(form, "rpm", "The number of requests a minute"),
        tokens_per_minute=_number(form, "tpm", "The number of tokens a minute"),
        parallel=_number(form, "parallel", "The number of calls at once"),
        expires_at=_day(_short(form, "expires"), now),
        compress=form.get("compress") == "yes",
    )


def _short(form: FormData, name: str) -> str:
    return text_field(form, name, required=False, length_max=NUMBER_LENGTH_MAX).strip()


def _number(form: FormData, name: str, what: str) -> int | None:
    text = _short(form, name)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) <= AMOUNT_MAX:
        raise Refused(f"{what} is a whole number above 0.")
    return int(text)


def _day(text: str, now: float) -> float | None:
    """When a day in UTC begins; None for no day. Raises Refused."""
    if not text:
        return None
    try:
        at = datetime.combine(date.fromisoformat(text), time(), UTC).timestamp()
    except ValueError:
        raise Refused("A key expires on a day, such as 2027-01-31.") from None
    if at <= now:
        raise Refused("The day on which the key expires is not in the future.")
    return at


PAGE = Page(
    path="/keys",
    template="gateway/keys.html",
    load=load,
    live=live,
    role=Role.operator,
    has_json=True,
    nav=NavLink("/keys", "Keys", "key-round", "Gateway", Role.operator),
)
ACTIONS = (
    ConsoleRoute("POST", "/keys", Role.admin, add, PAGE),
    ConsoleRoute("POST", "/keys/{id}/rotate", Role.admin, rotate, PAGE),
    ConsoleRoute("POST", "/keys/{id}/revoke", Role.admin, revoke, PAGE),
)
