"""Programs in process groups of their own, so that nothing of them outlives a stop."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

OUTPUT_BYTES_MAX: Final = 256 * 1024  # kept of each stream; the rest is read and dropped
KILL_GRACE_S: Final = 0.2  # between SIGTERM and SIGKILL: a stop has to be visible within a second
READ_BYTES: Final = 64 * 1024
PR_SET_PDEATHSIG: Final = 1
# Roost's settings, among them tokens, keys and passwords. Tools that need a secret of their own
# read it from a variable with another name.
PLATFORM_PREFIX: Final = "ROOST_"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a program did. Output is decoded leniently and cut at OUTPUT_BYTES_MAX."""

    exit_code: int
    stdout: str
    stderr: str


def tool_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of tools and their programs: every variable but the platform's own."""
    return {
        name: value
        for name, value in environ.items()
        if not name.upper().startswith(PLATFORM_PREFIX)
    }


async def run(
    argv: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    input: str | None = None,
) -> RunResult:
    """Run a program to its end. A cancellation kills the whole process group first.

    env: its environment; by default the worker's without the platform's settings.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=tool_environment() if env is None else dict(env),
            stdin=asyncio.subprocess.PIPE if input is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # A cancelled asyncio call would kill only the program and wait for its children's pipes.
        await _end_group(await starting)
        raise
    try:
        assert process.stdout is not None and process.stderr is not None
        stdout, stderr, _ = await asyncio.gather(
            _read(process.stdout), _read(process.stderr), _feed(process.stdin, input)
        )
        code = await process.wait()
    finally:
        await _end_group(process)
    return RunResult(code, stdout, stderr)


async def _read(stream: asyncio.StreamReader) -> str:
    kept = bytearray()
    while chunk := await stream.read(READ_BYTES):
        kept += chunk[: max(0, OUTPUT_BYTES_MAX - len(kept))]
    return kept.decode("utf-8", "replace")


async def _feed(stream: asyncio.StreamWriter | None, text: str | None) -> None:
    if stream is None or text is None:
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read its input
        stream.write(text.encode())
        await stream.drain()
    stream.close()


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the group: the program if it still runs, and children it left behind."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), KILL_GRACE_S)
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()
    # A pipe that a grandchild held open is closed with the transport, which otherwise warns at
    # exit.
    transport: asyncio.SubprocessTransport = process._transport  # type: ignore[attr-defined]
    transport.close()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _die_with_parent() -> Callable[[], None] | None:
    """A hook by which the Linux kernel kills the program when the worker dies by kill -9; None
    elsewhere.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return in_child
