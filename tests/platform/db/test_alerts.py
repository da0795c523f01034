"""Alerts: each rule, told once, told again when it is over, without what people wrote."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import func, select, update

from roost_platform.alerts.book import KEPT_MAX, NOTICES_MAX
from roost_platform.alerts.book import update as update_book
from roost_platform.alerts.conditions import Condition
from roost_platform.alerts.rules import (
    LASTS_S,
    MEANINGS,
    RECENT_S,
    RESTARTS,
    RULES,
    STUCK_S,
    sentence,
)
from roost_platform.alerts.watch import TRIES_MAX, AlertWatch
from roost_platform.db import models
from roost_platform.settings.watching import AlertRule, AlertsConfig
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.console.rows import delivered
from roost_platform.testing.waiting import BOOKING, booking

SECRET = "my secret words"
COOL_S = 3600.0


class Hook:
    """A webhook on loopback that keeps what it got."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.got.append(json.loads(body))
                self.send_response(hook.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Stay quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alert"


@pytest.fixture
def hook() -> Iterator[Hook]:
    opened = Hook()
    thread = threading.Thread(target=opened.server.serve_forever, daemon=True)
    thread.start()
    yield opened
    opened.server.shutdown()
    opened.server.server_close()
    thread.join()


def watch(ada: Person, folder: Path, hook: Hook | None = None, **options: Any) -> AlertWatch:
    values: dict[str, Any] = {"chats": (ada.address.key,), "disk_free_mib": 0, **options}
    url = SecretStr(hook.url if hook else "")
    return AlertWatch(ada.stores, AlertsConfig(webhook=url, **values), folder)


async def told(watching: AlertWatch) -> list[str]:
    return [notice.text for notice in await watching.look()]


async def failed_turn(ada: Person, reason: str = "internal") -> None:
    await ada.says(SECRET)
    turn = await ada.turn()
    await ada.stores.turns.note_error(turn.turn_id, SECRET)
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason=reason)


@pytest.mark.parametrize("rule", ["operator", "another", "requester"])
async def test_an_approval_that_waits_long_for_an_operator_is_told(
    ada: Person, tmp_path: Path, clock: HandClock, rule: Any
) -> None:
    watching = watch(ada, tmp_path, approval_wait_s=600.0)
    parked = await booking(ada, replace(BOOKING, approver=rule))
    clock.advance(599)
    assert await told(watching) == []
    clock.advance(1)
    expected = (
        [] if rule == "requester" else ["Roost alert: concierge: 1 approval waits for an operator."]
    )
    assert await told(watching) == expected
    await ada.intake.decide((await parked.approval()).id, "deny", "", "Grace", "console")
    clock.advance(LASTS_S + 1)
    assert len(await told(watching)) == len(expected), "told that it is over"


async def test_a_failed_turn_is_told_in_the_chat_and_to_the_webhook_once_then_resolved(
    ada: Person, clock: HandClock, tmp_path: Path, hook: Hook
) -> None:
    watching = watch(ada, tmp_path, hook)
    assert await told(watching) == []
    await failed_turn(ada)
    assert await told(watching) == ["Roost alert: internal: 1 turn failed."]
    for _ in range(3):
        clock.advance(15)
        assert await told(watching) == []
    clock.advance(RECENT_S + LASTS_S)
    (over,) = await told(watching)
    assert over.startswith("Roost: resolved after ") and "internal" in over
    assert await told(watching) == []
    notices = [text for kind, text in await ada.outbox() if "Roost" in text and kind == "notice"]
    assert notices == ["Roost alert: internal: 1 turn failed.", over]
    assert [one["state"] for one in hook.got] == ["open", "resolved"]
    assert hook.got[0]["rule"] == "turn_failed" and hook.got[0]["count"] == 1
    assert SECRET not in json.dumps(hook.got) + "".join(notices)


async def test_a_look_that_finds_nothing_writes_nothing(
    ada: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = watch(ada, tmp_path)
    monkeypatch.delattr(type(ada.stores.database), "write")
    assert await watching.look() == []


async def test_what_comes_and_goes_is_told_once_in_the_cool_down(
    ada: Person, clock: HandClock, tmp_path: Path
) -> None:
    watching = watch(ada, tmp_path, cool_down_s=COOL_S)
    begins = 0
    for _ in range(8):  # failures come and go: ten minutes of trouble, then quiet
        await failed_turn(ada)
        begins += len([text for text in await told(watching) if "alert" in text])
        clock.advance(RECENT_S + LASTS_S + 1)
        await told(watching)
    assert begins == 2  # of 8 beginnings in 88 minutes


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("engine_refused", "1 turn failed because of the engine"),
        ("worker_died", "worker_died: 1 turn failed"),
    ],
)
async def test_the_reason_of_a_failure_chooses_the_rule(
    ada: Person, tmp_path: Path, code: str, words: str
) -> None:
    await failed_turn(ada, code)
    (text,) = await told(watch(ada, tmp_path))
    assert words in text


async def test_stuck_turns_and_an_engine_that_does_not_answer_are_told(
    ada: Person, clock: HandClock, tmp_path: Path
) -> None:
    watching = watch(ada, tmp_path)
    await ada.says(SECRET)
    turn = await ada.turn()
    clock.advance(STUCK_S + 1)
    assert await told(watching) == ["Roost alert: turns: 1 turn makes no progress."]
    async with ada.stores.database.write() as session:
        await session.execute(
            update(models.RunProgress)
            .where(models.RunProgress.turn_id == turn.turn_id)
            .values(phase="unreachable")
        )
    (text,) = [one for one in await told(watching) if "engine" in one]
    assert text.endswith("1 turn waits because the engine does not answer.")


async def test_channels_deliveries_parts_and_the_disk_are_told(
    ada: Person, clock: HandClock, tmp_path: Path
) -> None:
    await ada.says("hello")
    watching = watch(ada, tmp_path, disk_free_mib=2**40)
    now = clock()
    async with ada.stores.database.write() as session:

        async def add(row: models.Base) -> None:
            session.add(row)
            await session.flush()

        id = await ada.stores.queries.conversation_id(ada.address.key)
        assert id is not None
        await delivered(add, id, "telegram", "42", None, "notice", SECRET, now, 1, "failed")
        sent = await delivered(add, id, "telegram", "42", None, "notice", SECRET, now, 2)
        await session.execute(
            update(models.Part).where(models.Part.outbox_id == sent).values(state="ambiguous")
        )
        trouble = {"state": "auth_error", "detail": SECRET}
        await session.execute(update(models.ChannelState).values(**trouble))
    await ada.stores.heartbeats.beat("worker")
    clock.advance(LASTS_S + 2)
    texts = await told(watching)
    assert {text.removeprefix("Roost alert: ").rstrip(".") for text in texts} >= {
        "telegram 42: 1 message could not be delivered",
        "telegram 42: 1 message may or may not have arrived",
        "telegram 42 (auth_error): the channel has trouble",
        "worker: the part gives no sign of life",
    }
    assert any("MiB are left on the disk" in text for text in texts)
    assert SECRET not in "".join(texts)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_a_sentence_for_one_and_for_several(rule: AlertRule) -> None:
    one, several = sentence(rule, 1), sentence(rule, 3)
    assert rule in MEANINGS and one != rule
    assert not re.search(r"\b[13] the\b|\b1 \w+s |[{}]", f"{one} {several}")
    assert sentence("of_another_version", 2) == "of_another_version"


async def test_a_part_that_starts_again_and_again_is_told(
    ada: Person, clock: HandClock, tmp_path: Path
) -> None:
    await ada.says("hello")
    watching = watch(ada, tmp_path)
    texts: list[str] = []
    for _ in range(RESTARTS + 1):
        await ada.stores.heartbeats.beat("worker")
        async with ada.stores.database.write() as session:
            await session.execute(update(models.ServiceHeartbeat).values(started_at=clock()))
        texts += await told(watching)
        clock.advance(5)
    assert texts == [
        f"Roost alert: worker: the part was started again {RESTARTS} times in 10 minutes."
    ]


async def test_of_a_channel_that_is_not_configured_any_more_nothing_is_told(
    ada: Person, tmp_path: Path
) -> None:
    await ada.stores.channels.set("telegram", "42", "auth_error", "the token was revoked")
    config = AlertsConfig(disk_free_mib=0)
    for accounts in (frozenset({("telegram", "43")}), frozenset({("telegram", "42")})):
        watching = AlertWatch(ada.stores, config, tmp_path, accounts=accounts)
        expected = "telegram 42 (auth_error): the channel has trouble"
        assert [expected in text for text in await told(watching)] == [True] * (
            ("telegram", "42") in accounts
        )


async def test_a_channel_that_recovers_within_a_minute_is_not_told(
    ada: Person, clock: HandClock, tmp_path: Path
) -> None:
    await ada.says("hello")
    watching = watch(ada, tmp_path)
    for state, expected in (("degraded", 0), ("up", 0), ("degraded", 0), ("degraded", 1)):
        async with ada.stores.database.write() as session:
            await session.execute(update(models.ChannelState).values(state=state))
        assert len(await told(watching)) == expected
        clock.advance(LASTS_S + 1)


async def test_a_rule_that_is_off_tells_nothing(ada: Person, tmp_path: Path) -> None:
    await failed_turn(ada)
    assert await told(watch(ada, tmp_path, rules=("disk",))) == []


async def test_a_broken_webhook_is_tried_a_few_times_and_a_strange_chat_is_said(
    ada: Person, tmp_path: Path, hook: Hook
) -> None:
    hook.status = 500
    watching = watch(ada, tmp_path, hook, chats=("telegram:42:nobody",))
    await failed_turn(ada)
    for _ in range(TRIES_MAX + 3):
        await watching.look()
    assert len(hook.got) == TRIES_MAX
    async with ada.stores.database.read() as session:
        assert await session.scalar(select(models.Alert.delivery)) == "webhook: it answers 500"
    hook.server.server_close()
    await asyncio.sleep(0)


async def test_the_book_and_what_one_look_tells_are_bounded(
    ada: Person, clock: HandClock, tmp_path: Path
) -> None:
    many = [Condition("channel", f"subject {number}", 1) for number in range(NOTICES_MAX + 5)]
    async with ada.stores.database.write() as session:
        assert len(await update_book(session, many, clock(), COOL_S)) == NOTICES_MAX
        assert len(await update_book(session, many, clock(), COOL_S)) == 5
        session.add_all(
            models.Alert(
                id=f"old{number}",
                rule="disk",
                subject="x",
                count=1,
                state="resolved",
                opened_at=float(number),
                seen_at=1.0,
            )
            for number in range(KEPT_MAX + 7)
        )
        await session.flush()
        await update_book(session, many, clock(), COOL_S)
        resolved = select(func.count()).where(models.Alert.state == "resolved")
        assert await session.scalar(resolved) == KEPT_MAX
        oldest = select(func.min(models.Alert.opened_at)).where(models.Alert.rule == "disk")
        assert await session.scalar(oldest) == 7.0


def test_a_webhook_that_is_no_address_and_an_unknown_rule_are_refused() -> None:
    with pytest.raises(ValidationError, match="whole address"):
        AlertsConfig(webhook=SecretStr("hooks.example.org"))
    with pytest.raises(ValidationError):
        AlertsConfig.model_validate({"rules": ["weather"]})
