"""What all fakes share: the clock, the faults, the bounds, and the sandbox process."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from roost_channels import testing
from roost_channels.testing import FakeTelegram, FakeTwilio, VirtualClock, tasks
from roost_channels.testing.clock import wait_for_event
from roost_channels.testing.faults import CALL_FAULTS, FAULTS_MAX, Fault, FaultBook, FaultPlan
from roost_channels.testing.loopback import CALLS_KEPT, Call, CallLog
from roost_channels.testing.telegram.state import updates
from roost_channels.testing.twilio.signature import signature
from roost_channels.testing.whatsapp import state


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    clock, woken = VirtualClock(start=0), list[tuple[str, float]]()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.time()))

    tasks = [asyncio.create_task(sleeper(n, s)) for n, s in (("late", 9), ("early", 3), ("x", 20))]
    await asyncio.sleep(0)
    await clock.advance(10)
    assert woken == [("early", 3), ("late", 9)]
    assert (clock.time(), clock.sleeping) == (10, 1)
    tasks[-1].cancel()


async def test_waiting_for_an_event_ends_with_the_clock() -> None:
    clock, event = VirtualClock(), asyncio.Event()
    waiting = asyncio.create_task(wait_for_event(event, clock, 5))
    while clock.sleeping == 0:
        await asyncio.sleep(0)
    await clock.advance(5)
    assert await waiting is False
    event.set()
    assert await wait_for_event(event, clock, 5) is True


def test_faults_skip_count_and_match_their_method() -> None:
    book = FaultBook()
    book.add(Fault("delay", "sendMessage", count=2, skip=1))
    kinds = ("delay",)
    outcomes = [book.take(name, kinds) is not None for name in ("getMe", *["SENDMESSAGE"] * 4)]
    assert outcomes == [False, False, True, True, False]
    book.add(Fault("delay", "*", count=-1))
    assert all(book.take("anything", kinds) for _ in range(10))
    with pytest.raises(ValueError, match="unknown fault"):
        book.add(Fault("flood", "*"))  # type: ignore[arg-type]


def drawn(seed: int, names: list[str], **more: Any) -> list[tuple[str, str, float] | None]:
    book = FaultBook()
    book.plan = FaultPlan(seed, 0.3, **more)
    faults = [book.take(name, CALL_FAULTS) for name in names]
    assert sum(book.plan.struck.values()) == sum(1 for fault in faults if fault)
    return [(fault.method, fault.kind, fault.value) if fault else None for fault in faults]


def test_a_seed_repeats_its_faults_whatever_comes_between() -> None:
    names = ["sendMessage", "getUpdates"] * 100
    once = drawn(1, names)
    assert once == drawn(1, names) != drawn(2, names)
    # The nth call of a method gets the same fault, however often others are called.
    assert [fault for fault in once if fault and fault[0] == "sendMessage"] == [
        fault for fault in drawn(1, ["sendMessage"] * 100) if fault
    ]
    struck = sum(1 for fault in once if fault)
    assert 30 <= struck <= 90
    assert {fault[0] for fault in drawn(1, names, spare=["getupdates"]) if fault} == {"sendMessage"}
    only = drawn(1, names, methods=["getUpdates"], kinds=["http_502"])
    assert {fault[:2] for fault in only if fault} == {("getUpdates", "http_502")}


def test_single_faults_strike_before_random_ones_and_bad_plans_are_refused() -> None:
    book = FaultBook()
    book.plan = FaultPlan(1, 1.0, kinds=["http_502"])
    book.add(Fault("garbage", "x"))
    faults = [book.take("x", CALL_FAULTS) for _ in range(2)]
    assert [fault.kind for fault in faults if fault] == ["garbage", "http_502"]
    book.clear()
    assert book.take("x", CALL_FAULTS) is None
    for wrong in ({"rate": 2.0}, {"rate": 0.1, "kinds": ["flood"]}):
        with pytest.raises(ValueError):
            FaultPlan(1, **wrong)


def test_open_faults_are_bounded() -> None:
    book = FaultBook()
    for _ in range(FAULTS_MAX):
        book.add(Fault("delay"))
    with pytest.raises(ValueError, match=f"more than {FAULTS_MAX}"):
        book.add(Fault("delay"))


async def test_waiting_updates_are_bounded(
    telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "QUEUE_MAX", 3)
    for _ in range(3):
        await telegram.user_says(7, "x")
    with pytest.raises(RuntimeError, match="more than 3 updates wait"):
        await telegram.user_says(7, "x")


def test_the_signature_of_twilios_documentation() -> None:
    parameters = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature("12345", url, parameters, "sha1") == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


async def test_until_gives_up(telegram: FakeTelegram) -> None:
    with pytest.raises(TimeoutError):
        await telegram.until(lambda: False, timeout_s=0.1)


async def test_the_sandbox_runs_all_as_a_process_and_ends_on_sigterm() -> None:
    channels = str(Path(sys.modules["roost_channels"].__path__[0]).parent)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "roost_channels.testing",
        "--token",
        "42:SANDBOX-1",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": channels},
    )
    assert process.stdout is not None
    urls = {}
    for _ in range(3):
        name, url = (await process.stdout.readline()).decode().split()
        urls[name] = url
    async with httpx2.AsyncClient(trust_env=False) as client:
        me = await client.get(f"{urls['telegram']}/bot42:SANDBOX-1/getMe")
        assert me.json()["result"]["is_bot"]
        response = await client.post(
            f"{urls['telegram']}/sim/chats/7/messages", json={"text": "Hi"}
        )
        # Ids start at the clock's time, so that a restarted sandbox never repeats one.
        assert response.json()["message_id"] > 200_000_000
        for name in ("twilio", "cloud"):
            assert (await client.get(f"{urls[name]}/sim/users")).json() == {"users": []}
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_messages_under_way_and_kept_are_bounded(
    twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MESSAGES_MAX", 2)
    for _ in range(2):
        await twilio.user_says("whatsapp:+491701234567", "x")
    with pytest.raises(RuntimeError, match="more than 2 messages"):
        await twilio.user_says("whatsapp:+491701234567", "x")
    monkeypatch.setattr(tasks, "RUNNING_MAX", 0)
    with pytest.raises(RuntimeError, match="more than 0 messages are under way"):
        twilio._statuses.accept(next(iter(twilio.messages.values())))


def test_the_record_of_calls_forgets_the_oldest() -> None:
    log = CallLog()
    for number in range(CALLS_KEPT + 5):
        log.calls.append(Call(str(number), {}, 0.0))
    assert (len(log.calls), log.calls[0].method) == (CALLS_KEPT, "5")


def test_the_fakes_share_no_code_with_the_adapters() -> None:
    root = Path(testing.__path__[0])
    ours = re.compile(r"^\s*(?:from|import) (aiogram|twilio|roost\w*)([.\w]*)", re.MULTILINE)
    # The folders hold the fakes; `memory` holds doubles of the platform's ports.
    for path in root.glob("*/**/*.py"):
        # schema.py checks recorded calls by the client's schema and answers none.
        if path.parent.name != "memory" and path.name != "schema.py":
            for package, rest in ours.findall(path.read_text()):
                assert f"{package}{rest}".startswith("roost_channels.testing"), path
