"""Kill -9 of real processes under `roost up` while twenty people write through the fakes."""

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from sqlalchemy.exc import DBAPIError

from roost_channels.testing.loopback import Call
from roost_platform.chaos.agents import EFFECTS
from roost_platform.chaos.answers import DOES, Question
from roost_platform.chaos.invariants import check
from roost_platform.chaos.outside.engine_process import EngineProcess
from roost_platform.chaos.outside.people import StormPeople
from roost_platform.chaos.outside.postgres import running_postgres
from roost_platform.chaos.reading import Sources, read, sent_parts, unfinished
from roost_platform.chaos.record import Record
from roost_platform.chaos.storm_report import StormConfig, StormReport
from roost_platform.chaos.waits.looking import waiting, wrong_now
from roost_platform.db.base.engine import Database
from roost_platform.testing import (
    Phones,
    Stack,
    start_phones,
)

PARTS = ("worker", "courier", "web", "engine", "temporal")
TALKS_TELEGRAM = 10
TALKS_WHATSAPP = 10
STUCK_S = 300.0  # work is stuck if it is unfinished and nothing was delivered for so long
REST_S_MAX = 1800.0  # networks take a long answer slowly: WhatsApp a part in six seconds
LOOK_S = 1.0
START_S = 300.0
DATABASE_EVERY_S = 45.0
FAULT_RATE = 0.04
# What messages want done: half of them nothing. What comes again and again would not end, and the
# result of a job reads as an answer to what was asked meanwhile.
DOING = ("",) * len(DOES) + tuple(one for one in DOES if one not in ("every", "job"))


def storm(config: StormConfig, folder: Path) -> StormReport:
    """Run a storm on a new data folder below `folder`."""
    with running_stack(config, folder) as world:
        return world.run()


@contextmanager
def running_stack(config: StormConfig, folder: Path) -> Iterator["Storm"]:
    """The stack, the phones and the engine; everything ends with the block."""
    with running_postgres(config.database) as postgres:
        settings: dict[str, str] = {}
        engine = None if config.real_engine else EngineProcess()
        if engine is not None:
            engine.start()
            settings |= engine.settings
        if postgres is not None:
            settings["ROOST_DATABASE__URL"] = postgres.url
        settings |= {
            "ROOST_AGENTS": "roost_platform.chaos.agents:AGENTS",
            "ROOST_APPROVALS__EXPIRE_S": "60",
            "ROOST_APPROVALS__ASKS_A_DAY": "1000",
            EFFECTS: str(folder / "effects"),
        }
        stack = Stack(folder / "stack", settings)
        process, phones = start_phones(stack.url)
        stack.env |= phones.settings | {"ROOST_TWILIO__RECONCILE_S": "10"}
        try:
            stack.start(START_S)
            yield Storm(config, stack, phones, engine, postgres)
        finally:
            stack.stop()
            process.stop()
            if engine is not None:
                engine.stop()
            phones.telegram.http.close()
            phones.whatsapp.http.close()
            phones.cloud.http.close()


class Storm:
    """One run: people write and processes die until the time is up; then all work must end."""

    def __init__(
        self,
        config: StormConfig,
        stack: Stack,
        phones: Phones,
        engine: EngineProcess | None,
        postgres: Any,
    ) -> None:
        self.stack = stack
        self.phones = phones
        self._config = config
        self._engine = engine
        self._postgres = postgres
        self._report = StormReport(config)
        self._rng = random.Random(config.seed)
        self._telegram = [str(9001 + n) for n in range(TALKS_TELEGRAM)]
        self._whatsapp = [f"whatsapp:+49155500200{n:02d}" for n in range(TALKS_WHATSAPP)]
        self._people = StormPeople(phones, self._telegram, self._whatsapp, config.seed + 2)
        self._wrong: dict[str, None] = {}
        self._word = 0
        self._url = settings_url(stack)

    def run(self) -> StormReport:
        """Write, kill, wait until everything is at rest, and check the record."""
        began = time.monotonic()
        until = began + self._config.minutes * 60
        self._faults(self._config.seed)
        killer = threading.Thread(target=self._kill_until, args=(until,), daemon=True)
        killer.start()
        tapper = threading.Thread(target=self._tap_until, args=(until,), daemon=True)
        tapper.start()
        self._write_until(until)
        killer.join()
        tapper.join()
        self._calm()
        calm = time.monotonic()
        left = asyncio.run(self._until_quiet())
        report = self._report
        report.settled_s = time.monotonic() - calm
        report.record = asyncio.run(self._read())
        report.record.stuck += left
        report.record.waits.wrong += self._wrong
        report.presses = self._people.presses
        report.violations = check(report.record)
        report.wall_s = time.monotonic() - began
        return report

    def _faults(self, seed: int) -> None:
        """Both providers misbehave at random."""
        body = {"seed": seed, "rate": FAULT_RATE, "delay_s": 3.0, "retry_after_s": 4.0}
        for http in (self.phones.telegram.http, self.phones.whatsapp.http):
            http.post("/sim/faults", json=body).raise_for_status()

    def _calm(self) -> None:
        for http in (self.phones.telegram.http, self.phones.whatsapp.http):
            for kind, count in http.get("/sim/faults").json()["struck"].items():
                self._report.struck[kind] = self._report.struck.get(kind, 0) + int(count)
            http.delete("/sim/faults").raise_for_status()

    def _kill_until(self, until: float) -> None:
        rng = random.Random(self._config.seed + 1)
        database_at = time.monotonic() + DATABASE_EVERY_S
        while (now := time.monotonic()) < until:
            time.sleep(min(rng.expovariate(1 / self._config.kill_every_s), max(until - now, 0)))
            if time.monotonic() >= until:
                return
            if self._postgres is not None and time.monotonic() > database_at:
                database_at = time.monotonic() + DATABASE_EVERY_S
                self._crash_database()
            self._kill(rng.choice(PARTS))

    def _crash_database(self) -> None:
        with contextlib.suppress(psycopg.OperationalError):  # it is still recovering
            self._report.kills.append((time.time(), "postgres", self._postgres.crash()))

    def _kill(self, part: str) -> None:
        """kill -9 of one process of ours; one that is down or just starting is left alone."""
        if part == "engine" and self._engine is not None:
            self._report.kills.append((time.time(), part, self._engine.kill()))
            return
        try:
            pid = self.stack.part(part)
            os.kill(pid, signal.SIGKILL)
        except (AssertionError, ProcessLookupError):
            return  # it is down already
        self._report.kills.append((time.time(), part, pid))

    def _write_until(self, until: float) -> None:
        chats = self._telegram + self._whatsapp
        gap = self._config.write_every_s / len(chats)
        while time.monotonic() < until:
            self._write(self._rng.choice(chats))
            time.sleep(min(self._rng.expovariate(1 / gap), gap * 5))

    def _tap_until(self, until: float) -> None:
        while time.monotonic() < until:
            self._people.look()
            time.sleep(LOOK_S)

    def _write(self, chat: str) -> None:
        self._word += 1
        word = f"w{self._word}"
        fill = self._rng.choice((0, 0, 0, 0, 700))
        think_s = self._rng.choice((0.0, 0.5, 2.0, 5.0))
        text = str(Question(word, think_s, fill, self._rng.choice(DOING)))
        self._report.written.append((chat, word))
        self._report.fills[word] = fill
        if chat in self._telegram:
            self.phones.telegram.say(int(chat), text)
        else:
            self.phones.whatsapp.say(chat, text)

    async def _until_quiet(self) -> list[str]:
        """Wait until nothing is left to do; returns what is stuck, in words."""
        database = Database(self._url)
        began = moved = time.monotonic()
        quiet, left, sent = 0, ["nothing was looked at"], 0
        try:
            while time.monotonic() < min(moved + STUCK_S, began + REST_S_MAX):
                try:
                    left = await unfinished(database, self._report.written)
                    before, sent = sent, await sent_parts(database)
                    moved = time.monotonic() if sent > before else moved
                    left += await waiting(database)
                    self._wrong |= dict.fromkeys(await wrong_now(database))
                    self._people.look()
                except DBAPIError as error:
                    left = [f"the database does not answer: {str(error).splitlines()[0]}"]
                left += self._under_way()
                quiet = 0 if left else quiet + 1
                if quiet >= 3:
                    return []
                await asyncio.sleep(LOOK_S)
        finally:
            await database.close()
        return left

    def _under_way(self) -> list[str]:
        unsettled = []
        for user in self._whatsapp:
            screen = self.phones.whatsapp.http.get(f"/sim/users/{user}").json()
            unsettled += [
                f"{message['sid']} is only {message['status']}"
                for message in screen["messages"]
                if message["from"] == "bot" and message["status"] in ("queued", "accepted", "sent")
            ]
        return unsettled

    def _effects(self) -> list[str]:
        """Keys of calls that took effect, as the tools noted them."""
        path = Path(self.stack.env[EFFECTS])
        return path.read_text().splitlines() if path.exists() else []

    async def _read(self) -> Record:
        telegram, whatsapp = self.phones.telegram, self.phones.whatsapp
        sources = Sources(
            written=self._report.written,
            fills=self._report.fills,
            telegram={chat: telegram.screen(int(chat)) for chat in self._telegram},
            whatsapp={
                user: whatsapp.http.get(f"/sim/users/{user}").json() for user in self._whatsapp
            },
            telegram_calls=calls_of(telegram.http),
            twilio_calls=calls_of(whatsapp.http),
            effects=self._effects(),
            deaths=[at for at, part, _ in self._report.kills if part in ("courier", "postgres")],
        )
        self._report.telegram_calls = len(sources.telegram_calls)
        self._report.twilio_calls = len(sources.twilio_calls)
        database = Database(self._url)
        try:
            return await read(database, sources)
        finally:
            await database.close()


def calls_of(http: httpx2.Client) -> list[Call]:
    """Every call that a fake saw, without the polls, which are most of them."""
    listed = http.get("/sim/calls", timeout=60).json()["calls"]
    return [Call(**call) for call in listed if call["method"].lower() != "getupdates"]


def settings_url(stack: Stack) -> str:
    """The database of a stack."""
    return stack.env.get("ROOST_DATABASE__URL") or f"sqlite:///{stack.data / 'roost.db'}"
