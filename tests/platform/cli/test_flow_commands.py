"""`roost flow` and `roost retry` against the web app over a database, as people call them."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from roost import Agent, FlowContext, flow, tool
from roost_channels.message import Address
from roost_platform.data_folder import running_stack
from roost_platform.db.stores import Stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.api_server import ApiServer, api_server
from roost_platform.testing.chats import DoorbellLog, HandClock, Person
from roost_platform.testing.command_line import roost
from roost_platform.testing.flow_world import FlowWorld
from roost_workflows.agents import AgentRegistry

DOWN: list[bool] = []


@tool(effect="pure")
async def look(city: str) -> str:
    """Look, where the shop is open."""
    if DOWN:
        raise ConnectionError("shut")
    return f"{city} is fine"


@flow
async def report(ctx: FlowContext, city: str, days: int = 2) -> str:
    """Report on a city."""
    return f"{await ctx.call(look, city=city)} for {days}: {await ctx.ask('Which day?')}"


concierge = Agent("concierge", "Answer.")


@dataclass
class Terminal:
    """A command line beside a stack, and the worker of that stack."""

    world: FlowWorld
    data: Path

    async def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(roost, *arguments, data=self.data)

    async def json(self, *arguments: str) -> Any:
        done = await self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    async def works(self, session: str) -> None:
        """Let the worker run this session."""
        self.world.ada.address = Address("console", "local", session)
        await self.world.goes_on()


def announce(api: ApiServer, data: Path) -> None:
    """Write down the web app as the stack that runs on the data folder."""
    port = urlsplit(api.url).port
    stack = {"pid": os.getpid(), "web": port, "engine": 0, "temporal": 0, "started_at": 0.0}
    running_stack.write_private(
        data / running_stack.RUN_FILE, json.dumps({**stack, "url": api.url})
    )
    running_stack.write_private(data / running_stack.TOKEN_FILE, api.tokens["operator"])


@pytest.fixture
async def terminal(sqlite_stores: Stores, tmp_path: Path) -> AsyncIterator[Terminal]:
    DOWN.clear()
    bell = DoorbellLog()
    person = Person(sqlite_stores, PlatformIntake(sqlite_stores, bell), bell)
    world = FlowWorld(person, HandClock(time.time()))  # the stores have the real time
    world.installs(report, concierge)
    registry = AgentRegistry.of(concierge, report)
    async with api_server(sqlite_stores, tmp_path, registry=registry) as api:
        announce(api, tmp_path)
        yield Terminal(world, tmp_path)


async def test_a_flow_is_started_listed_and_shown(terminal: Terminal) -> None:
    started = await terminal("flow", "start", "report", "--input", '{"city": "Roma ☀"}')
    id = started.stdout.strip()
    assert started.returncode == 0 and len(id) == 36, started.stderr
    assert (await terminal.json("flow", "show", id))["state"] == "queued"
    begun = await terminal.json(
        *("flow", "start", "report", "--input", '{"city": "Oslo", "days": 3}'),
        *("--session", "weekly"),
    )
    assert (begun["key"], begun["duplicate"]) == ("console:local:weekly", False)
    await terminal.works("weekly")
    shown = await terminal.json("flow", "show", begun["id"])
    assert (shown["state"], shown["waits_for"]) == ("waiting", ["question"])
    assert json.loads(shown["input"]) == {"city": "Oslo", "days": 3}
    assert [step["op"] for step in shown["journal"]] == ["call", "ask"]
    words = (await terminal("flow", "show", begun["id"])).stdout
    for part in ("report waiting", "console:local:weekly", "Oslo is fine", "waiting: question"):
        assert part in words
    (listed,) = await terminal.json("flow", "list", "--state", "waiting")
    assert (listed["id"], listed["name"]) == (shown["id"], "report")
    assert shown["id"] in (await terminal("flow", "list")).stdout
    assert await terminal.json("flow", "list", "--state", "done") == []
    assert "no flows yet" in (await terminal("flow", "list", "--page", "9")).stdout


WRONG: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (("start", "nosuch"), 1, "There is no flow 'nosuch'. Flows: report"),
    (("start", "concierge"), 1, "There is no flow 'concierge'"),
    (("start", "report", "--input", "{city: Rome}"), 2, "--input is not JSON"),
    (("start", "report", "--input", '["Rome"]'), 2, "a JSON object"),
    (("start", "report", "--input", "[" * 50_000), 2, "--input is not JSON"),
    (("start", "report", "--input", '{"city": "Rome", "days": NaN}'), 1, "can't be sent"),
    (("start", "report", "--input", '{"city": "\\udcff"}'), 1, "can't be sent"),
    (("start", "report"), 1, "city: Field required"),
    (("start", "report", "--input", '{"city": 3}'), 1, "city"),
    (("start", "report", "--input", '{"city": "Rome", "days": "two"}'), 1, "days"),
    (("start", "report", "--input", '{"city": "Rome", "town": 1}'), 1, "town"),
    (("start", "report", "--input", '{"city": "Rome"}', "--session", "x" * 201), 1, "session"),
    (("show", "nothing"), 1, "There is no flow 'nothing'"),
    (("list", "--state", "odd"), 1, "'odd' is not one of: running"),
    (("fork", "nothing", "--at", "2"), 1, "There is no flow 'nothing'"),
    (("fork", "nothing", "--at", "0"), 2, "--at"),
    (("fork", "nothing"), 2, "--at"),
)


async def test_wrong_commands_say_what_is_wrong_in_one_line(terminal: Terminal) -> None:
    for arguments, code, words in WRONG:
        done = await terminal("flow", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert words in done.stderr and "Traceback" not in done.stderr, done.stderr
        if code == 1:
            assert done.stderr.startswith("roost: ") and done.stderr.count("\n") == 1
    assert await terminal.json("flow", "list") == []


async def test_a_failed_flow_is_tried_again_and_forked(terminal: Terminal) -> None:
    DOWN.append(True)
    input = ("--input", '{"city": "Oslo"}', "--session", "weekly")
    id = (await terminal("flow", "start", "report", *input)).stdout.strip()
    await terminal.works("weekly")
    assert (await terminal.json("flow", "show", id))["state"] == "failed"
    DOWN.clear()
    retried = await terminal.json("retry", "weekly")
    assert retried["retries"] == 1
    refused = await terminal("retry", id)
    assert refused.returncode == 1 and "It runs" in refused.stderr
    await terminal.works("weekly")
    await terminal.world.answers(Which="Monday")
    await terminal.works("weekly")
    shown = await terminal.json("flow", "show", id)
    assert (shown["answer"], shown["retries"]) == ("Oslo is fine for 2: Monday", 1)
    refused = await terminal("flow", "fork", id, "--at", "9")
    assert refused.returncode == 1 and "from 1 to 3" in refused.stderr
    new = (await terminal("flow", "fork", id, "--at", "2")).stdout.strip()
    await terminal.works("weekly")
    shown = await terminal.json("flow", "show", new)
    assert (shown["state"], shown["kept"], shown["forked_from"]) == (
        "waiting",
        1,
        retried["turn_id"],
    )
    missing = await terminal("retry", "nobody")
    assert missing.returncode == 1 and "There is no turn 'nobody'" in missing.stderr
