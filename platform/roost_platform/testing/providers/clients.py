"""Drives a client through one turn with a tool call, against a scripted engine behind a gateway."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roost_inference.testing.scripts import Call, Say
from roost_platform.gateway.launch.client import Client, LaunchModel, Offer
from roost_platform.gateway.launch.session import environment_of, write
from roost_platform.testing.providers.gateway import GatewayServer

TASK = "Run the tool once, then tell me that you have finished."
MARK = "marker-42"  # what the tool says; the arguments alone don't hold it
FINISHED = f"Done: {MARK}"  # how the scripted engine ends a turn with a tool
TURN_S = 240.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of it. tool_results: texts that the engine was told."""

    code: int
    output: str
    tool_results: Sequence[str]
    paths: Sequence[str]


def script(server: GatewayServer, tools: Mapping[str, Mapping[str, Any]]) -> None:
    """Call the tool that a request offers of these, then repeat what it said."""

    def offered(body: Mapping[str, Any]) -> set[str]:
        return {tool["function"]["name"] for tool in body.get("tools") or ()}

    def calls(name: str) -> Callable[[Mapping[str, Any]], bool]:
        return lambda body: name in offered(body) and not results(body)

    for name, arguments in tools.items():
        server.engine.when(calls(name), Call(name, json.dumps(arguments)))
    # Without this rule it would begin again where a client adds a message behind the result.
    server.engine.when(lambda body: bool(results(body)), Say(FINISHED))


def results(body: Mapping[str, Any]) -> list[str]:
    """The results of tools in a request."""
    return [str(m.get("content")) for m in body["messages"] if m.get("role") == "tool"]


async def drive(
    server: GatewayServer, client: Client, program: Path, folder: Path, arguments: Sequence[str]
) -> Turn:
    """Run the client as `roost launch` does, with a key of its own; its output is kept."""
    _, secret = await server.new_key(f"launch {client.name}", models=("fast",))
    offer = Offer(server.url, secret, folder / "profile", [LaunchModel("fast", 100_000)])
    profile = client.profile(offer)
    write(profile)
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    own = {"HOME": str(home), "PWD": str(work), "PYTHONPATH": ""}
    code, output = await run(
        [str(program), *profile.arguments, *arguments],
        environment_of(profile, {**os.environ, **own}),
        work,
    )
    return Turn(code, output, told(server), sorted(str(p.relative_to(home)) for p in files(home)))


def told(server: GatewayServer) -> list[str]:
    """Every result of a tool that the engine was told."""
    return [text for request in server.engine.requests for text in results(request)]


def files(folder: Path) -> list[Path]:
    """The files under a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> tuple[int, str]:
    """Run a command to its end, in a process group that is killed with it; code and output."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(TURN_S):
            output, _ = await process.communicate()
    finally:
        # Some clients leave helpers behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")
