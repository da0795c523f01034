"""The keys of the gateway in storage; see KeyStore."""

import asyncio
import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import func, select

from roost_inference.errors import EngineError
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.plain import PlainConnection, read_plain, write_at_once, write_plain
from roost_platform.db.base.text import clean
from roost_platform.db.gateway import reserving
from roost_platform.db.gateway.owners import new_owner
from roost_platform.db.gateway.periods import period_bounds
from roost_platform.db.gateway.refusals import Refusals
from roost_platform.gateway.errors import (
    BudgetExhausted,
    KeyExpired,
    KeyRevoked,
    RateLimited,
    Unauthorized,
)
from roost_platform.gateway.keys.ports import GatewayKey, Reservation, Spent

FRESH_S: Final = 1.0  # how long a key that was read is believed; `reserve` asks again in any case
KNOWN_MAX: Final = 10_000
UNSETTLED_MAX: Final = 1000  # what the database did not take; beyond it calls count as lost
NAME_CHARACTERS_MAX: Final = 256  # of what a client names: models, sessions, people
_NEW_NAMES: Final = tuple((f"new_{name}", name) for name in (*reserving.CLOSED, *reserving.COUNTS))


def secret_hash(secret: str) -> str:
    """The hash that is stored. Secrets have 256 random bits, so one round is enough."""
    return sha256(secret.encode(errors="replace")).hexdigest()


@dataclass(slots=True)
class GatewayKeys:
    """Keys over one database. owner: names this process in the rows of its calls.

    running: the calls of this process. unsettled: what the database did not take yet. doubt: set
    when a row may be open whose call has ended; the sweep looks at once then.
    """

    database: Database
    owner: str = field(default_factory=new_owner)
    running: set[str] = field(default_factory=set)
    unsettled: deque[Spent] = field(default_factory=deque)
    doubt: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: Refusals = field(init=False)
    _known: dict[str, tuple[float, GatewayKey]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.refusals = Refusals(self._note)

    async def find(self, secret: str) -> GatewayKey:
        """The key of this secret; see KeyStore."""
        if not secret:
            raise Unauthorized("Send a key of this gateway as `Authorization: Bearer KEY`")
        hashed = secret_hash(secret)
        now = self.database.now()
        if (known := self._known.get(hashed)) and 0 <= now - known[0] < FRESH_S:
            return known[1]
        wanted = {"secret": hashed, "now": now}
        row = await read_plain(
            self.database, lambda connection: reserving.FIND.run(connection, wanted).one_or_none()
        )
        if row is None:
            self._known.pop(hashed, None)
            raise Unauthorized("This key is not known here")
        _refuse_dead(row, now)
        key = GatewayKey(
            id=row.id,
            name=row.name,
            models=tuple(json.loads(row.models) if isinstance(row.models, str) else row.models),
            salt=row.salt,
            compress=bool(row.compress),
            has_budget=row.budget_microusd is not None or row.budget_tokens is not None,
            budget_microusd=row.budget_microusd,
            budget_tokens=row.budget_tokens,
            secret_hash=hashed,
        )
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[hashed] = now, key
        return key

    async def reserve(self, wanted: Reservation) -> None:
        """Hold what a call may use; see KeyStore."""
        now = self.database.now()
        values = {**self._opened(wanted), "now": now, **period_bounds(now)}

        def hold(connection: PlainConnection) -> bool:
            if reserving.RESERVE.run(connection, values).rowcount == 0:
                return False
            reserving.OPEN.run(connection, values)
            return True

        self.running.add(wanted.call_id)
        is_held = False
        try:
            is_held = await write_plain(self.database, hold)
        except BaseException:
            self.doubt.set()  # whether it was committed is not known
            raise
        finally:
            if not is_held:
                self.running.discard(wanted.call_id)
        if not is_held:
            try:
                await self._refuse(values)
            except EngineError as error:
                await self.refusals.add(wanted, error)
                raise

    async def refuse(self, wanted: Reservation, error: EngineError) -> None:
        """Count a call that was refused before it reserved anything; see KeyStore."""
        await self.refusals.add(wanted, error)

    async def record(self, wanted: Reservation, spent: Spent) -> None:
        """Keep the row of a call without a key; see CallLog."""
        await self._note(wanted, spent, 1)

    async def _note(self, wanted: Reservation, spent: Spent, calls: int) -> None:
        """Write the row of a call that has ended, or of equal ones, and had nothing reserved."""
        now = self.database.now()
        began = now - spent.duration_ms / 1000
        values = {**self._opened(wanted), "now": began, "calls": calls}

        def write(connection: PlainConnection) -> None:
            reserving.OPEN.run(connection, values)
            reserving.CLOSE.run(connection, _closed(spent, now)).close()

        self.running.add(wanted.call_id)  # the row is open for a moment of this transaction
        try:
            await write_plain(self.database, write)
        finally:
            self.running.discard(wanted.call_id)

    async def settle(self, spent: Spent) -> None:
        """Replace what is held by what was used; see KeyStore."""
        try:
            await write_plain(self.database, self._closing(spent))
        except BaseException:
            self._keep(spent)
            raise
        self.running.discard(spent.call_id)

    def settle_at_once(self, spent: Spent) -> bool:
        """The same without any wait; see KeyStore."""
        try:
            is_settled = write_at_once(self.database, self._closing(spent))
        except Exception:
            return False  # `settle` fails in the same way, and says so
        if is_settled:
            self.running.discard(spent.call_id)
        return is_settled

    def _closing(self, spent: Spent) -> Callable[[PlainConnection], None]:
        now = self.database.now()

        def close(connection: PlainConnection) -> None:
            values = _closed(spent, now)
            held = {"held_microusd": 0, "held_tokens": 0, "ended": 0}
            call = reserving.CLOSE.run(connection, values).one_or_none()
            if call is not None:
                held = {
                    "held_microusd": call.held_microusd,
                    "held_tokens": call.held_tokens,
                    "ended": 1,
                }
            else:
                call = reserving.AMEND.run(connection, values).one_or_none()
            if call is not None and call.key_id:
                used = {
                    "key": call.key_id,
                    "now": now,
                    **period_bounds(now),
                    **held,
                    "cost": spent.cost_microusd,
                    "tokens": spent.input_tokens + spent.output_tokens,
                }
                reserving.SETTLE.run(connection, used)

        return close

    def _keep(self, spent: Spent) -> None:
        """Remember what could not be written, for the sweep to try again."""
        if len(self.unsettled) < UNSETTLED_MAX:
            self.unsettled.append(spent)
        else:
            self.running.discard(spent.call_id)
        self.doubt.set()

    def _opened(self, wanted: Reservation) -> dict[str, Any]:
        return {
            "call": wanted.call_id,
            "key": wanted.key_id,
            "secret": wanted.secret_hash,
            "owner": self.owner,
            "family": wanted.family,
            "model": _named(wanted.model),
            "agent": _named(wanted.agent),
            "session_name": _named(wanted.session),
            "person": _named(wanted.person),
            "cost": wanted.cost_microusd,
            "tokens": wanted.tokens,
            "calls": 1,
        }

    async def _refuse(self, bounds: Mapping[str, Any]) -> None:
        """Raise the error of the bound that does not hold."""
        row = models.GatewayKeyRow
        asked = select(
            row,
            reserving.IS_ITS_SECRET.label("is_its_secret"),
            reserving.MONEY.label("money"),
            reserving.TOKENS.label("tokens"),
            reserving.PARALLEL.label("parallel"),
            func.coalesce(reserving.request_level, 1.0).label("requests_left"),
            func.coalesce(reserving.token_level, 0.0).label("tokens_left"),
        ).where(row.id == bounds["key"])
        async with self.database.read() as session:
            held = (await session.execute(asked, bounds)).one_or_none()
        if held is None or not held.is_its_secret:
            raise Unauthorized("This key is not known here")
        key: models.GatewayKeyRow = held[0]
        now = bounds["now"]
        _refuse_dead(key, now)
        if key.levels_at >= now + reserving.CLOCKS_DIFFER_S:
            restart = {"key": key.id, "now": now}
            await write_plain(
                self.database,
                lambda connection: reserving.RESTART_BUCKETS.run(connection, restart).close(),
            )
        if not held.money or not held.tokens:
            ends = key.period_ends
            wait_s = None if ends is None else max(1.0, ends - now)
            what = "money" if not held.money else "tokens"
            raise BudgetExhausted(
                f"The budget of this key does not cover the {what} of this call",
                retry_after_s=wait_s,
            )
        if not held.parallel:
            raise RateLimited(f"This key has {key.parallel} calls in progress already")
        too_many = held.requests_left < 1 - reserving.ROUNDING
        if key.requests_per_minute is not None and too_many:
            wait_s = (1 - held.requests_left) * 60 / key.requests_per_minute
            raise RateLimited(
                f"This key may make {key.requests_per_minute} requests a minute",
                retry_after_s=math.ceil(wait_s),
            )
        most = key.tokens_per_minute
        if most is None:  # the bound that refused has been lifted meanwhile
            raise RateLimited("This key is busy")
        wait_s = max(1.0, (min(bounds["tokens"], most) - held.tokens_left) * 60 / most)
        raise RateLimited(
            f"This key may use {most} tokens a minute", retry_after_s=math.ceil(wait_s)
        )


def _refuse_dead(row: Any, now: float) -> None:
    if row.revoked_at is not None:
        raise KeyRevoked(f"The key {row.name!r} has been revoked", key_id=row.id)
    if row.expires_at is not None and row.expires_at <= now:
        raise KeyExpired(f"The key {row.name!r} has expired", key_id=row.id)


def _named(text: str) -> str:
    """A client's name of something, as every database takes it."""
    return str(clean(text[:NAME_CHARACTERS_MAX]))


def _closed(spent: Spent, now: float) -> dict[str, Any]:
    values = {new: getattr(spent, name) for new, name in _NEW_NAMES}
    for name in ("new_target", "new_error_code"):  # clients and providers choose these texts
        values[name] = _named(values[name])
    tries = json.dumps(spent.tries) if spent.tries else "[]"
    return {"call": spent.call_id, "now": now, "new_tries": tries, **values}
