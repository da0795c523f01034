"""Alerts of the gateway: a target that does not answer, a budget that is nearly spent."""

import json
from pathlib import Path
from typing import Any

import pytest

from roost_platform.alerts.gateway import FAILURES, LASTS_S, RECENT_S, gateway_conditions
from roost_platform.alerts.watch import AlertWatch
from roost_platform.db import models
from roost_platform.db.base.plain import read_plain
from roost_platform.settings.watching import AlertsConfig
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.console.gateway import key_row

FAILED = [["openai/gpt", "engine_unavailable"]]


async def store(ada: Person, *rows: models.Base) -> None:
    async with ada.stores.database.write() as session:
        session.add_all(rows)


def call(number: int, at: float, **values: Any) -> models.GatewayCall:
    given: dict[str, Any] = {"outcome": "failed", "target": "", "tries": FAILED, **values}
    given["tries"] = json.dumps(given["tries"])
    shown = {"owner": "me", "family": "chat", "model": "fast", "started_at": at}
    return models.GatewayCall(id=f"call-{number}", **shown, **given)


async def found(ada: Person) -> list[tuple[str, str, int]]:
    database = ada.stores.database
    now = database.now()
    conditions = await read_plain(database, lambda one: gateway_conditions(one, now))
    return [(one.rule, one.subject, one.count) for one in conditions]


async def test_a_target_that_answers_nothing_for_long_is_told_until_it_answers(
    ada: Person, clock: HandClock, tmp_path: Path
) -> None:
    config = AlertsConfig(chats=(), disk_free_mib=0, rules=("target_failing",))
    watch = AlertWatch(ada.stores, config, tmp_path)
    await store(ada, *(call(n, clock() - 1 + n / 100) for n in range(FAILURES)))
    assert await watch.look() == []  # three in one second may be one hiccup
    clock.advance(LASTS_S)
    await store(ada, call(9, clock(), tries=[["openai/gpt", "cooling"]]))
    [notice] = await watch.look()
    assert notice.text == "Roost alert: openai/gpt: the target did not answer 4 calls in a row."
    clock.advance(LASTS_S)
    await store(ada, call(10, clock(), outcome="ok", target="openai/gpt", tries=[]))
    [over] = await watch.look()
    assert over.is_resolved


@pytest.mark.parametrize(
    ("name", "values", "is_told"),
    [
        ("it is full, which is no fault", {"tries": [["openai/gpt", "busy"]]}, False),
        ("another target answered", {"outcome": "ok", "target": "roost/small"}, True),
        ("it broke off in the middle", {"target": "openai/gpt"}, True),
        ("it answered at another try", {"outcome": "ok", "target": "openai/gpt"}, False),
        ("the calls are lost", {"outcome": "lost"}, False),
        ("the calls run", {"outcome": ""}, False),
    ],
)
async def test_what_counts_as_no_answer(
    ada: Person, clock: HandClock, name: str, values: dict[str, Any], is_told: bool
) -> None:
    for number in range(FAILURES + 1):
        await store(ada, call(number, clock() - number * LASTS_S, **values))
    assert bool(await found(ada)) is is_told, name


async def test_an_answer_ends_the_row_of_failures_before_it_and_old_ones_count_no_more(
    ada: Person, clock: HandClock
) -> None:
    at = clock() - 5 * LASTS_S
    await store(ada, *(call(n, at + n * LASTS_S / 2) for n in range(4)))
    assert await found(ada) == [("target_failing", "openai/gpt", 4)]
    await store(
        ada, call(8, at + LASTS_S * 2.2, outcome="cancelled", target="openai/gpt", tries=[])
    )
    assert await found(ada) == []
    await store(ada, *(call(10 + n, at + LASTS_S * (3 + n)) for n in range(3)))
    assert await found(ada) == [("target_failing", "openai/gpt", 3)]
    clock.advance(RECENT_S)
    assert await found(ada) == []


@pytest.mark.parametrize(
    ("values", "percent"),
    [
        ({"budget_microusd": 1000, "spent_microusd": 900}, 90),
        ({"budget_microusd": 1000, "spent_microusd": 899}, None),
        ({"budget_tokens": 100, "spent_tokens": 120}, 120),
        (
            {"budget_microusd": 1000, "spent_microusd": 1, "budget_tokens": 9, "spent_tokens": 9},
            100,
        ),
        ({"spent_microusd": 10**9}, None),
        ({"budget_microusd": 10**15, "spent_microusd": 10**15 - 1}, 99),
        ({"budget_tokens": 100, "spent_tokens": 99, "revoked_at": 5.0}, None),
        ({"budget_tokens": 100, "spent_tokens": 99, "expires_at": 5.0}, None),
        ({"budget_tokens": 100, "spent_tokens": 99, "period": "day", "period_ends": 5.0}, None),
    ],
)
async def test_a_key_whose_budget_is_nearly_spent_is_told(
    ada: Person, clock: HandClock, values: dict[str, Any], percent: int | None
) -> None:
    await store(ada, key_row(1, "laptop", clock(), **values))
    expected = [] if percent is None else [("key_budget", "key laptop", percent)]
    assert await found(ada) == expected
