"""Engines to measure, as processes of their own: the bundled one, llama-server, or a URL."""

import asyncio
import contextlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

import roost_inference
from roost_inference.benchmarking.parameters import Parameters
from roost_inference.benchmarking.timed_request import Call, ask, connect
from roost_inference.config import EngineConfig
from roost_inference.errors import EngineUnavailable
from roost_inference.process_environment import launch_environment

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
POLL_INTERVAL_S = 0.05
LOG_LINES_SHOWN = 8

OURS = "Roost"
LLAMA = "llama-server"


@dataclass(frozen=True, slots=True)
class BenchmarkServer:
    """A running server; `http` stays open as long as it runs."""

    name: str
    http: httpx2.AsyncClient
    model: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is the bundled engine."""
        return self.name.startswith(OURS)

    async def health(self) -> dict[str, Any]:
        """The body of /health, empty if it is not an object."""
        answer = await self.http.get("/health")
        value = answer.json()
        return value if isinstance(value, dict) else {}

    async def ask(
        self, messages: Sequence[Mapping[str, Any]], max_tokens: int, **options: Any
    ) -> Call:
        """See timed_request.ask."""
        return await ask(self.http, messages, max_tokens, model=self.model, **options)

    async def tiers(self) -> Mapping[str, Any]:
        """Tiers below the device that the engine reports, by name."""
        tiers = (await self.health()).get("kv")
        return tiers if isinstance(tiers, dict) else {}

    async def running(self) -> int | None:
        """Requests being computed; None where the server does not tell."""
        if self.is_ours:
            return int((await self.health())["running"])
        answer = await self.http.get("/slots")
        if answer.status_code != 200:
            return None
        return sum(bool(slot.get("is_processing")) for slot in answer.json())


def knows(setting: str) -> bool:
    """Whether this version of the engine has the setting."""
    return setting in EngineConfig.model_fields


@contextlib.asynccontextmanager
async def roost(
    model: Path, data: Path, threads: int, *, name: str = OURS, **settings: object
) -> AsyncIterator[BenchmarkServer]:
    """The bundled engine in a process of its own, stopped by SIGTERM as a service would be.
    Settings are EngineConfig's; `data` outlives it. Raises EngineUnavailable."""
    pairs = {"threads": threads, **settings}
    command = [sys.executable, "-m", "roost_inference", "--port", "0"]
    command += ["--model", str(model), "--data", str(data)]
    command += [part for key, value in pairs.items() for part in ("--set", f"{key}={value}")]
    source = str(Path(roost_inference.__file__).parents[1])
    environment = {"PYTHONPATH": source, **launch_environment()}
    with _process(command, name, environment) as (process, log):
        assert process.stdout is not None
        url = (await asyncio.to_thread(process.stdout.readline)).decode().strip()
        if not url:
            raise EngineUnavailable(_ended(name, process, log))
        async with connect(url) as http:
            await _until_ready(name, http, process, log)
            yield BenchmarkServer(name, http)


@contextlib.asynccontextmanager
async def llama_server(
    program: Path, model: Path, threads: int, flags: str, name: str
) -> AsyncIterator[BenchmarkServer]:
    """llama.cpp's server on the same model file. Raises EngineUnavailable."""
    port = _free_port()
    command = [str(program), "-m", str(model), "-t", str(threads), "--host", "127.0.0.1"]
    command += ["--port", str(port), *shlex.split(flags)]
    with _process(command, name, {}) as (process, log):
        async with connect(f"http://127.0.0.1:{port}") as http:
            await _until_ready(name, http, process, log)
            yield BenchmarkServer(name, http)


@contextlib.asynccontextmanager
async def elsewhere(url: str, key: str) -> AsyncIterator[BenchmarkServer]:
    """An OpenAI-compatible engine that runs already. Raises EngineUnavailable."""
    async with connect(url, key) as http:
        try:
            answer = await http.get("/v1/models")
            model = str(answer.json()["data"][0]["id"])
        except (httpx2.RequestError, ValueError, LookupError) as error:
            raise EngineUnavailable(f"PEER_URL={url} does not answer: {error!r}") from error
        yield BenchmarkServer(f"{model} at {httpx2.URL(url).host}", http, model)


@contextlib.asynccontextmanager
async def peers(
    parameters: Parameters, model: Path, *flags: tuple[str, str]
) -> AsyncIterator[list[BenchmarkServer]]:
    """The servers to compare with: llama-server once for each (label, flags), and PEER_URL."""
    async with contextlib.AsyncExitStack() as stack:
        servers: list[BenchmarkServer] = []
        program = parameters.llama_server
        for label, text in flags if program is not None else ():
            assert program is not None
            name = f"{LLAMA} {label}".strip()
            entered = llama_server(program, model, parameters.threads, text, name)
            servers.append(await stack.enter_async_context(entered))
        if parameters.peer_url is not None:
            url, key = parameters.peer_url, parameters.peer_key
            servers.append(await stack.enter_async_context(elsewhere(url, key)))
        yield servers


@contextlib.contextmanager
def _process(
    command: list[str], name: str, environment: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A child process whose stderr goes to a file; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        path = Path(folder) / "log"
        with path.open("wb") as log:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log if name.startswith(LLAMA) else subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, **environment},
                )
            except OSError as error:
                raise EngineUnavailable(f"{name} can't be started: {error}") from error
        try:
            yield process, path
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


async def _until_ready(
    name: str, http: httpx2.AsyncClient, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EngineUnavailable(_ended(name, process, log))
        with contextlib.suppress(httpx2.RequestError):
            if (await http.get("/health")).status_code == 200:
                return
        await asyncio.sleep(POLL_INTERVAL_S)
    raise EngineUnavailable(f"{name} was not ready after {START_TIMEOUT_S:.0f} s\n{_tail(log)}")


def _ended(name: str, process: subprocess.Popen[bytes], log: Path) -> str:
    code = process.wait(STOP_TIMEOUT_S)
    return f"{name} ended with code {code} instead of serving:\n{_tail(log)}"


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
