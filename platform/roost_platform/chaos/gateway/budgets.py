"""Seeded runs of many calls at once against one budget, with cancels and processes that die.

Each run has a key of its own and a few processes, which are stores of this process: one that dies
leaves its calls as they are, as kill -9 does.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.db.gateway.lost_calls import Sweep
from roost_platform.db.gateway.owners import GONE_AFTER_S
from roost_platform.gateway.errors import BudgetExhausted, RateLimited
from roost_platform.gateway.ids import new_call_id
from roost_platform.gateway.keys.ports import GatewayKey, Outcome, Reservation, Spent

CALLS: Final = 50
PROCESSES: Final = 3
TURNS_MAX: Final = 12  # of the event loop, before a call begins and between two disturbances
HELD_TURNS_MAX: Final = 100  # while a call runs


@dataclass(slots=True)
class BudgetRun:
    """What one run has shown. overrun: millionths of a dollar and tokens spent beyond the budget,
    at any moment at which something was held or settled. left: what is still held or in flight.
    in_flight: admitted calls that ran when their process died, each of which has to be lost.
    """

    seed: int
    admitted: int = 0
    cancelled: int = 0
    killed: int = 0
    in_flight: int = 0
    lost: int = 0
    overrun: int = 0
    left: tuple[int, int, int] = (0, 0, 0)
    spent: int = 0
    settled: int = 0

    @property
    def holds(self) -> bool:
        """Whether the budget was kept, nothing is held any more, spent is what was settled, and
        all calls were found whose process died.
        """
        is_kept = self.overrun == 0 and self.left == (0, 0, 0) and self.spent == self.settled
        return is_kept and self.lost >= self.in_flight


@dataclass(slots=True)
class _Process:
    """A store of keys and its calls. is_dead: nothing of it is written any more."""

    keys: GatewayKeys
    calls: list[asyncio.Task[None]] = field(default_factory=list)
    settling: list[asyncio.Task[None]] = field(default_factory=list)
    running: int = 0  # of the admitted ones
    is_dead: bool = False

    def die(self, seen: BudgetRun) -> None:
        """Leave everything as it is."""
        self.is_dead = True
        seen.killed += 1
        seen.in_flight += self.running
        for call in self.calls:
            call.cancel()


async def run_budget(database: Database, seed: int) -> BudgetRun:
    """One run. All that happens follows from the seed, but for the order of PostgreSQL's locks: so
    every second run has a call in the middle of which its process dies, whoever is admitted when.
    """
    chance, seen = random.Random(seed), BudgetRun(seed)
    budget = chance.randrange(20, 400)
    wanted = NewKey(
        f"run {seed}",
        budget_microusd=budget,
        budget_tokens=10 * budget,
        parallel=chance.choice((None, None, 4, 20)),
    )
    id, secret = await KeyAdmin(database).create(wanted, "chaos")
    processes = [_Process(GatewayKeys(database)) for _ in range(PROCESSES)]
    # The first call always finds room, later ones mostly.
    dies_at = 0 if seed % 2 else 1 + 4 * (seed // 2 % 3)
    key = await processes[0].keys.find(secret)
    for number in range(CALLS):
        process = processes[number % PROCESSES]
        call = _call(process, key, random.Random(chance.random()), seen, dies_at)
        process.calls.append(asyncio.create_task(call))
    await _disturb(database, id, processes, chance, seen)
    await asyncio.gather(
        *(one for process in processes for one in process.calls), return_exceptions=True
    )
    # What was cancelled twice has left its settling behind.
    await asyncio.gather(*(one for process in processes for one in process.settling))
    seen.lost = await _clean_up(database, processes)
    row = await _row(database, id)
    seen.left = (row.held_microusd, row.held_tokens, row.in_flight)
    seen.spent = row.spent_microusd
    seen.overrun = max(seen.overrun, row.spent_microusd - budget)
    return seen


async def _call(
    process: _Process, key: GatewayKey, chance: random.Random, seen: BudgetRun, dies_at: int
) -> None:
    most = chance.randrange(5, 20)
    wanted = Reservation(
        new_call_id(), key.id, "chat", "fast", tokens=10 * most, cost_microusd=most
    )
    await _pause(chance)
    try:
        await process.keys.reserve(wanted)
    except (BudgetExhausted, RateLimited):
        return
    seen.admitted += 1
    process.running += 1
    if seen.admitted == dies_at and not process.is_dead and seen.killed < PROCESSES - 1:
        process.die(seen)
    used, outcome = chance.randrange(most + 1), "ok"
    try:
        await _pause(chance, HELD_TURNS_MAX)
    except asyncio.CancelledError:
        used, outcome = used // 2, "cancelled"
        raise
    finally:
        if not process.is_dead:
            process.running -= 1
            seen.settled += used
            settling = _settled(process.keys, wanted.call_id, used, outcome)
            process.settling.append(asyncio.create_task(settling))
            await asyncio.shield(process.settling[-1])


async def _settled(keys: GatewayKeys, call_id: str, used: int, outcome: str) -> None:
    ended: Outcome = "ok" if outcome == "ok" else "cancelled"
    spent = Spent(call_id, ended, 200, input_tokens=10 * used, cost_microusd=used)
    await keys.settle(spent)
    await keys.settle(spent)  # a second settling changes nothing


async def _disturb(
    database: Database,
    id: str,
    processes: Sequence[_Process],
    chance: random.Random,
    seen: BudgetRun,
) -> None:
    """Cancel calls and kill processes while the calls run, and look at the key again and again."""
    for _ in range(chance.randrange(4, 12)):
        await _pause(chance)
        happening = chance.random()
        process = chance.choice(processes)
        if happening < 0.5:
            seen.cancelled += process.calls[chance.randrange(len(process.calls))].cancel()
        elif happening < 0.6 and seen.killed < PROCESSES - 1 and not process.is_dead:
            process.die(seen)
        row = await _row(database, id)
        taken = row.spent_microusd + row.held_microusd - (row.budget_microusd or 0)
        tokens = row.spent_tokens + row.held_tokens - (row.budget_tokens or 0)
        seen.overrun = max(seen.overrun, taken, tokens)


async def _clean_up(database: Database, processes: Sequence[_Process]) -> int:
    """Sweep as the processes that live do, and once more when the dead ones are known to be."""
    living = [process for process in processes if not process.is_dead]
    lost = 0
    for process in living:
        clock = _Clock()
        sweep = Sweep(process.keys)
        sweep.owners.clock = clock
        lost += await sweep.sweep()
        clock.now = GONE_AFTER_S
        for other in living:  # they beat meanwhile
            if other is not process:
                await Sweep(other.keys).owners.beat()
        lost += await sweep.sweep()
    return lost


class _Clock:
    """Monotonic seconds that a run sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def _pause(chance: random.Random, most: int = TURNS_MAX) -> None:
    for _ in range(chance.randrange(most)):
        await asyncio.sleep(0)


async def _row(database: Database, id: str) -> models.GatewayKeyRow:
    async with database.read() as session:
        return await session.get_one(models.GatewayKeyRow, id)
