"""Seeded days of the scheduler on a fake backend and a fake clock, every invariant after each step.

What is proved, for requests of at most COST tokens and RUNNING places:

* two tenants of a class that both always want to be served never differ by more than
  QUANTUM + (RUNNING + 1) * COST tokens (`test_tenants_...`);
* a class that waits is admitted at the latest when those before it have been promised
  (TURN + COST) / FLOOR + RUNNING * COST tokens more (`test_a_lower_class_...`);
* no step is empty while there is work, every request comes to its end, and after random cancels
  no cell, sequence id, account or reservation is left (`test_a_random_day_...`).
"""

import random

import pytest

from roost_inference.batch import Batch
from roost_inference.engine import Engine
from roost_inference.request import ServiceClass
from roost_inference.scheduling.fairness import FLOOR, QUANTUM_TOKENS, TURN_TOKENS
from roost_inference.testing.harness import Collector, FakeClock, request, toy_engine, toy_store
from roost_inference.testing.toy import ToyBackend

RUNNING = 3
PROMPT, ANSWER = 60, 20
COST = PROMPT + ANSWER
SEEDS = range(12)
STEPS = 120


def engine_of(
    clock: FakeClock, *, paged: bool = True, cells: int = 400, background_cells: int = 0
) -> Engine:
    def pass_time(batch: Batch) -> None:
        clock.advance((5.0 + batch.size) / 1000)

    backend = ToyBackend(
        cells=cells, sequences=8, on_decode=pass_time, background_cells=background_cells
    )
    store = toy_store(blocks=100, clock=clock) if paged else None
    return toy_engine(backend, max_running=RUNNING, batch_tokens=48, clock=clock, store=store)


class Day:
    """An engine, and requests of random length whose prompts share nothing."""

    def __init__(self, seed: int, **fields: object) -> None:
        self.rng, self.clock = random.Random(seed), FakeClock()
        self.engine = engine_of(self.clock, **fields)  # type: ignore[arg-type]
        self.heard: dict[str, Collector] = {}

    def ask(self, tenant: str, service: ServiceClass) -> str:
        length, count = self.rng.randint(1, PROMPT), self.rng.randint(1, ANSWER)
        prompt = bytes(self.rng.choices(range(97, 123), k=length))
        wanted = request(
            tuple(prompt), count, ignore_eos=True, cache_salt=tenant, priority=int(service)
        )
        self.heard[wanted.id] = Collector()
        self.engine.submit(wanted, self.heard[wanted.id])
        return wanted.id

    def waiting(self, tenant: str, service: ServiceClass) -> int:
        line = self.engine._scheduler.waiting
        return sum(s.fairness_key == tenant and s.service is service for s in line)

    def served(self, service: ServiceClass) -> dict[str, float]:
        accounts = self.engine._scheduler.waiting.accounts(service)
        return {account.fairness_key: account.served for account in accounts}

    def step(self) -> bool:
        done = self.engine.step()
        self.engine.check()
        return done


@pytest.mark.parametrize("seed", SEEDS)
def test_tenants_that_always_want_more_get_the_same_within_the_bound(seed: int) -> None:
    day, service = Day(seed), ServiceClass.INTERACTIVE
    for _ in range(STEPS):
        for tenant, backlog in (("a", 6), ("b", 1), ("c", 2)):
            while day.waiting(tenant, service) < backlog:
                day.ask(tenant, service)
                assert day.step(), "an empty step while there is work"
        day.step()
        served = day.served(service).values()
        assert max(served) - min(served) <= QUANTUM_TOKENS + (RUNNING + 1) * COST
    assert min(day.served(service).values()) > 4 * COST


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lower_class_is_admitted_within_the_bound(seed: int) -> None:
    day, low = Day(seed), random.Random(seed).choice(list(ServiceClass)[1:])
    started, before, longest = 0, 0.0, 0.0
    for _ in range(STEPS):
        while day.waiting("person", ServiceClass.INTERACTIVE) < 2:
            day.ask("person", ServiceClass.INTERACTIVE)
            assert day.step(), "an empty step while there is work"
        while day.waiting("batch", low) < 2:
            day.ask("batch", low)
            assert day.step(), "an empty step while there is work"
        day.step()
        now = day.served(ServiceClass.INTERACTIVE)["person"]
        begun = sum(s.service is low for s in day.engine._scheduler.running)
        if begun:
            started, before = started + begun, now
        longest = max(longest, now - before)
    assert started > 0
    assert longest <= (TURN_TOKENS + COST) / FLOOR + RUNNING * COST


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_day_ends_with_nothing_left_over(seed: int) -> None:
    day = Day(seed, paged=bool(seed % 2), cells=150, background_cells=100 if seed % 3 else 0)
    for _ in range(STEPS):
        if day.rng.random() < 0.25:
            day.ask(day.rng.choice("abc"), day.rng.choice(list(ServiceClass)))
        if day.heard and day.rng.random() < 0.06:
            day.engine.abort(day.rng.choice(list(day.heard)))
        day.step()
    for _ in range(20_000):
        if not day.step() and not day.engine.has_work:
            break
    scheduler = day.engine._scheduler
    assert all(heard.finish.reason in ("length", "abort") for heard in day.heard.values())
    assert not scheduler.has_work and len(day.heard) > 15
    assert all(
        a.reserved == a.prefilling == 0 for s in ServiceClass for a in scheduler.waiting.accounts(s)
    )
    day.engine._cache.evict_all()
    day.engine.check()
    assert day.engine._cache.ledger.used == 0
