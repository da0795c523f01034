"""What a key's periods and rates do at their boundaries, and when clocks jump."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.db.gateway.periods import period_end
from roost_platform.gateway.errors import BudgetExhausted, KeyRevoked, RateLimited
from roost_platform.gateway.keys.ports import Reservation, Spent

MIDNIGHT = datetime(2027, 1, 31, tzinfo=UTC).timestamp()
DAY_S = 86_400.0


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = MIDNIGHT + 3600

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(database_url: str, clock: Clock) -> AsyncIterator[Database]:
    opened = Database(database_url, clock=clock)
    yield opened
    await opened.close()


class Holder:
    """Uses one key."""

    def __init__(self, database: Database, key: str) -> None:
        self.database, self.key = database, key
        self.keys = GatewayKeys(database)
        self.count = 0

    async def reserve(self, tokens: int = 1, *, keys: GatewayKeys | None = None) -> str:
        """Begin a call; its id."""
        self.count += 1
        id = f"call-{self.count}"
        await (keys or self.keys).reserve(Reservation(id, self.key, "chat", "m", tokens, tokens))
        return id

    async def use(self, tokens: int, *, keys: GatewayKeys | None = None) -> None:
        """A call that uses all that it holds."""
        id = await self.reserve(tokens, keys=keys)
        await self.settle(id, tokens)

    async def settle(self, id: str, tokens: int) -> None:
        """End a call."""
        await self.keys.settle(Spent(id, "ok", 200, input_tokens=tokens, cost_microusd=tokens))

    async def row(self) -> models.GatewayKeyRow:
        """The key's row."""
        async with self.database.read() as session:
            return await session.get_one(models.GatewayKeyRow, self.key)


async def holder(database: Database, **bounds: object) -> Holder:
    id, _ = await KeyAdmin(database).create(NewKey("k", **bounds), "tester")  # type: ignore[arg-type]
    return Holder(database, id)


async def refusal(call: object) -> float | None:
    """How long to wait, as the refusal says."""
    with pytest.raises((RateLimited, BudgetExhausted)) as caught:
        await call  # type: ignore[misc]
    return caught.value.retry_after_s


def test_periods_end_at_midnight_and_at_the_first_of_a_month_in_utc() -> None:
    assert period_end("day", MIDNIGHT - 0.001) == MIDNIGHT
    assert period_end("day", MIDNIGHT) == MIDNIGHT + DAY_S
    first = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
    assert period_end("month", MIDNIGHT) == first
    assert period_end("month", first) == datetime(2027, 3, 1, tzinfo=UTC).timestamp()
    leap = datetime(2028, 2, 29, 23, tzinfo=UTC).timestamp()
    assert period_end("month", leap) == datetime(2028, 3, 1, tzinfo=UTC).timestamp()
    assert period_end("", MIDNIGHT) is None


@pytest.mark.parametrize("period", ["day", "month"])
async def test_a_budget_begins_again_at_the_moment_its_period_ends(
    database: Database, clock: Clock, period: str
) -> None:
    one = await holder(database, budget_tokens=10, period=period)
    await one.use(10)
    ends = period_end(period, clock.now)
    assert ends is not None
    clock.now = ends - 0.5
    assert await refusal(one.reserve(1)) == 1.0
    clock.now = ends
    await one.use(10)
    assert await refusal(one.reserve(1)) == pytest.approx((period_end(period, ends) or 0) - ends)


async def test_a_call_over_midnight_is_billed_to_the_new_day_and_holds_in_both(
    database: Database, clock: Clock
) -> None:
    one = await holder(database, budget_tokens=10, period="day")
    clock.now = MIDNIGHT + DAY_S - 1
    await one.use(4)
    long = await one.reserve(6)
    clock.now += 2
    # Another process, which has never looked at this key, settles and reserves.
    other = GatewayKeys(database)
    assert await refusal(one.reserve(5, keys=other)) is not None
    await other.settle(Spent(long, "ok", 200, input_tokens=6, cost_microusd=6))
    row = await one.row()
    assert (row.spent_tokens, row.held_tokens) == (6, 0)
    assert row.period_ends == MIDNIGHT + 2 * DAY_S
    await one.use(4, keys=other)
    assert await refusal(one.reserve(1)) is not None


async def test_a_clock_put_back_gives_no_second_budget(database: Database, clock: Clock) -> None:
    one = await holder(database, budget_tokens=10, period="day")
    clock.now = MIDNIGHT + DAY_S + 60
    await one.use(10)
    clock.now -= 120  # before that midnight
    assert await refusal(one.reserve(1)) is not None
    clock.now += 180  # after it once more
    assert await refusal(one.reserve(1)) is not None


async def test_a_clock_that_was_far_ahead_does_not_lock_a_budget_for_a_year(
    database: Database, clock: Clock
) -> None:
    one = await holder(database, budget_tokens=10, period="day")
    now = clock.now
    clock.now += 365 * DAY_S
    await one.use(4)
    clock.now = now
    await one.use(6)  # what was spent under the wrong clock counts
    assert (await one.row()).period_ends == MIDNIGHT + DAY_S
    assert await refusal(one.reserve(1)) is not None
    clock.now += DAY_S
    await one.use(10)


async def test_requests_a_minute_are_exact_over_processes(database: Database, clock: Clock) -> None:
    one = await holder(database, requests_per_minute=6)
    processes = [GatewayKeys(database) for _ in range(3)]
    results = await asyncio.gather(
        *(one.reserve(keys=processes[number % 3]) for number in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, str) for result in results) == 6
    assert await refusal(one.reserve()) == 10
    clock.now += 9.9
    assert await refusal(one.reserve()) == 1
    clock.now += 0.1
    await one.reserve()
    await refusal(one.reserve())
    clock.now += 3600  # no more than a minute's worth is saved
    for _ in range(6):
        await one.reserve()
    await refusal(one.reserve())


async def test_waiting_as_long_as_told_is_enough(database: Database, clock: Clock) -> None:
    one = await holder(database, requests_per_minute=7)
    for _ in range(7):
        await one.reserve()
    for _ in range(20):
        wait_s = await refusal(one.reserve())
        assert wait_s is not None
        clock.now += wait_s
        await one.reserve()


async def test_tokens_a_minute_are_held_and_given_back(database: Database, clock: Clock) -> None:
    one = await holder(database, tokens_per_minute=100)
    results = await asyncio.gather(*(one.reserve(30) for _ in range(5)), return_exceptions=True)
    admitted = [result for result in results if isinstance(result, str)]
    assert len(admitted) == 3
    assert await refusal(one.reserve(30)) == 12  # 20 tokens are missing
    await one.settle(admitted[0], 10)  # 20 come back
    await one.reserve(30)
    assert await refusal(one.reserve(30)) == 18


async def test_a_call_larger_than_the_bucket_waits_for_a_full_one_and_leaves_a_debt(
    database: Database, clock: Clock
) -> None:
    one = await holder(database, tokens_per_minute=100)
    large = await one.reserve(5000)
    await one.settle(large, 150)
    assert await refusal(one.reserve(10)) == 36  # 50 of debt and 10
    clock.now += 36
    await one.reserve(10)


async def test_rates_survive_clocks_that_differ_and_jump(database: Database, clock: Clock) -> None:
    one = await holder(database, requests_per_minute=60)
    for number in range(60):  # two processes whose clocks differ by five seconds take turns
        clock.now += 5 if number % 2 else -5
        await one.reserve()
    assert await refusal(one.reserve()) is not None
    clock.now -= 86_400
    assert await refusal(one.reserve()) is not None
    clock.now += 1.0
    await one.reserve()  # and it fills again from there
    assert await refusal(one.reserve()) is not None


async def test_parallel_calls_are_counted_over_processes(database: Database) -> None:
    one = await holder(database, parallel=3)
    processes = [GatewayKeys(database) for _ in range(3)]
    results = await asyncio.gather(
        *(one.reserve(keys=processes[number % 3]) for number in range(12)), return_exceptions=True
    )
    admitted = [result for result in results if isinstance(result, str)]
    assert len(admitted) == 3
    assert await refusal(one.reserve()) == 1.0
    await one.settle(admitted[0], 1)
    await one.reserve()


async def test_a_budget_lowered_under_running_calls_lets_them_end_and_nothing_new_begin(
    database: Database,
) -> None:
    one = await holder(database, budget_tokens=100)
    running = [await one.reserve(20) for _ in range(4)]
    async with database.write() as session:
        await session.execute(update(models.GatewayKeyRow).values(budget_tokens=50))
    assert await refusal(one.reserve(1)) is None  # no time is known: it is for the key's life
    for id in running:
        await one.settle(id, 5)
    await one.use(30)
    assert await refusal(one.reserve(1)) is None


async def test_a_key_revoked_while_its_call_runs_pays_for_it_and_begins_no_other(
    database: Database,
) -> None:
    one = await holder(database, budget_tokens=100)
    running = await one.reserve(20)
    await KeyAdmin(database).revoke("k", "tester")
    with pytest.raises(KeyRevoked):
        await one.reserve(1)
    await one.settle(running, 15)
    row = await one.row()
    assert (row.spent_tokens, row.held_tokens, row.in_flight) == (15, 0, 0)
