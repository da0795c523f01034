"""One process that runs synchronous tools, call by call, and is killed to end a call."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from roost.context import Context
from roost.errors import ModelRetry, ToolFailed
from roost.execution.descendants import kill_all
from roost.program import tool_environment
from roost.text import RESULT_BYTES_MAX
from roost.tools import Tool
from roost.waits import Wait, wait_of

log = logging.getLogger(__name__)

START_S: Final = 60.0  # until a new process has imported the tools' modules
STOP_GRACE_S: Final = 0.1  # a stopped call may first return by itself, having seen `ctx.stopped`
LOOK_S: Final = 0.2  # how soon the end of a process is noticed
EXIT_LOOK_S: Final = 0.005
LINE_BYTES_MAX: Final = 2 * 1024 * 1024
# A fresh interpreter, never a fork of the worker and its threads, with the worker's import path.
PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from roost.execution.tool_child import main; main(int(sys.argv[2]))"
)


class NotLoaded(Exception):
    """A process can't import this tool, so the call has not begun."""


class ProcessDied(Exception):
    """The process ended while the call ran."""


class ToolError(Exception):
    """The tool raised something else than ModelRetry or ToolFailed.

    kind: the error's type, by name. trace: all of it, for operators.
    """

    def __init__(self, kind: str, trace: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.trace = trace


def address_of(tool: Tool) -> tuple[str, str] | None:
    """Module and name under which a fresh process finds this very tool; None where none would:
    a tool made inside a function, or in the program that was started (`__main__`).
    """
    name = tool.function.__module__
    module = sys.modules.get(name)
    if module is None or name == "__main__":
        return None
    held = vars(module)
    if held.get(tool.function.__name__) is tool:
        return name, tool.function.__name__
    return next(((name, key) for key, value in held.items() if value is tool), None)


class ToolProcess:
    """One process. Not shared: whoever has it runs one call at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.calls = 0
        self.is_usable = True

    @classmethod
    async def start(cls, modules: Iterable[str]) -> "ToolProcess":
        """A process that has imported `modules`. Raises ToolFailed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, json.dumps(sys.path), str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=tool_environment(),
            start_new_session=True,  # a kill takes along the programs that a tool started
            limit=LINE_BYTES_MAX,
        )
        self = cls(process)
        try:
            async with asyncio.timeout(START_S):
                await self._send({"modules": sorted(modules)})
                await self._read()
        except (TimeoutError, ProcessDied, OSError) as error:
            await self.discard()
            raise ToolFailed(f"No process for tools could be started: {error!r}.") from error
        except BaseException:  # whoever is cancelled here has no process to discard
            await self.discard()
            raise
        return self

    async def call(
        self,
        tool: Tool,
        arguments: str,
        context: Context,
        result_bytes: int = RESULT_BYTES_MAX,
        *,
        is_typed: bool = False,
    ) -> str | Wait:
        """The tool's result as text, or what it waits for. Cancelled, it kills the process unless
        the call returns at once; the result that it then has is given.
        """
        order = {
            "arguments": arguments,
            "result_bytes": result_bytes,
            "is_typed": is_typed,
            "context": {
                "key": context.key,
                "attempt": context.attempt,
                "payload": context.payload,
                "person": asdict(context.person),
                "session": asdict(context.session),
            },
        }
        end = await self._run(tool, order, context)
        return wait_of(json.loads(end["text"])) if end["end"] == "wait" else _text(end)

    async def check(self, tool: Tool, key: str) -> str | None:
        """What the tool's check says of the call `key`: its result, or None for no effect."""
        end = await self._run(tool, {"check": key}, None)
        return None if end["end"] == "none" else _text(end)

    def kill(self) -> None:
        """End the process and the programs it started, at once."""
        self.is_usable = False
        if self._process.returncode is None:
            kill_all(self._process.pid)
        else:  # its number may be another's by now; what is left of its group may not
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def discard(self) -> None:
        """End the process at once, and wait until nothing of it is left."""
        self.kill()
        await self.ended()

    @property
    def is_running(self) -> bool:
        """Whether the process can still take a call."""
        return self.is_usable and self._process.returncode is None

    async def ended(self) -> None:
        """Wait until the process has ended, and release its pipes."""
        await self._exit_code()
        # As in program.py: a pipe that somebody else holds open would be warned of at exit.
        transport: asyncio.SubprocessTransport = self._process._transport  # type: ignore[attr-defined]
        transport.close()

    async def _run(
        self, tool: Tool, order: dict[str, Any], context: Context | None
    ) -> dict[str, Any]:
        address = address_of(tool)
        if address is None:
            raise NotLoaded(tool.name)
        self.calls += 1
        order |= {"module": address[0], "attribute": address[1]}
        running = asyncio.ensure_future(self._until_end(order, context))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if context is not None:
                context.stop()
            self._write({"stop": True})  # not waited for: it may be reading nothing any more
            await asyncio.wait([running], timeout=STOP_GRACE_S)
            if running.done() and not running.cancelled() and running.exception() is None:
                return running.result()
            running.cancel()
            raise
        finally:
            if not running.done() or running.cancelled() or running.exception() is not None:
                self.kill()

    async def _until_end(self, order: dict[str, Any], context: Context | None) -> dict[str, Any]:
        try:
            await self._send(order)
        except OSError as error:
            raise ProcessDied(await self._how_it_ended()) from error
        while True:
            message = await self._read()
            if "end" in message:
                return message
            if context is not None:
                context.relay(message.get("progress"), message.get("plan"))

    async def _send(self, message: dict[str, Any]) -> None:
        self._write(message)
        assert self._process.stdin is not None
        await self._process.stdin.drain()

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = await self._line(self._process.stdout)
            message: Any = json.loads(line) if line else {}
        except (ValueError, RecursionError):  # something else writes there, or a line has no end
            message = {}
        if not _is_message(message):
            raise ProcessDied(await self._how_it_ended())
        told: dict[str, Any] = message
        return told

    async def _line(self, stream: asyncio.StreamReader) -> bytes:
        """The next line; empty at the end of the stream, or once the process has ended: a program
        that a tool left behind may hold the stream open."""
        reading = asyncio.ensure_future(stream.readline())
        try:
            while not (await asyncio.wait((reading,), timeout=LOOK_S))[0]:
                if self._process.returncode is not None:
                    await asyncio.wait((reading,), timeout=LOOK_S)
                    break
            return reading.result() if reading.done() else b""
        finally:
            reading.cancel()

    async def _exit_code(self) -> int:
        """The exit code once the process has ended. asyncio's own wait also waits for everybody who
        inherited a pipe."""
        while (code := self._process.returncode) is None:
            await asyncio.sleep(EXIT_LOOK_S)
        return code

    async def _how_it_ended(self) -> str:
        self.kill()  # it closed its stream: if it still lives it is of no use
        code = await self._exit_code()
        return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _is_message(value: Any) -> bool:
    """Whether this is what tool_child.py sends: a tool can find the stream and write there too."""
    if not isinstance(value, dict):
        return False
    plan = value.get("plan", [])
    return (
        bool(value)
        and all(isinstance(value.get(key, ""), str) for key in ("progress", "end", "text"))
        and isinstance(plan, list)
        and all(isinstance(step, str) for step in plan)
    )


def _text(end: dict[str, Any]) -> str:
    text = str(end.get("text", ""))
    match end["end"]:
        case "ok":
            return text
        case "retry":
            raise ModelRetry(text)
        case "failed":
            raise ToolFailed(text)
        case "unloaded":
            raise NotLoaded(text)
    trace = str(end.get("trace") or text)
    log.error("a tool raised in its process: %s", trace)
    raise ToolError(str(end.get("kind") or "Exception"), trace)
