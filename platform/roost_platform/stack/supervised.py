"""One supervised process: it is started, watched, restarted with back-off, and ended."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roost_platform.errors import EXIT_CONFIG, ProcessFailed
from roost_platform.masking import mask
from roost_platform.stack.addresses import inherited
from roost_platform.stack.beats import Beats
from roost_platform.stack.lifeline import (
    BEAT_PIPE,
    READY_FILE,
    SUPERVISOR_PID,
    die_with_parent,
    kill_group,
    send_signal,
)
from roost_platform.stack.process_log import ProcessLog
from roost_platform.stack.reporter import Reporter, how_it_ended, message_of

DRAIN_S = 2.0  # how long the last output of a process that ended is waited for
Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Every limit of supervision, in seconds unless named otherwise.

    A crash is *early* when the process lived for less than `early_s` and none was ever ready. After
    `early_crashes_max` early crashes in a row the whole stack ends. The wait before a restart
    doubles from `backoff_min_s` to `backoff_max_s`, and starts over once the process ran for
    `healthy_s`. A look that is more than `pause_s` late means that the supervisor itself was
    stopped: the silence of that time is not counted.
    """

    backoff_min_s: float = 0.5
    backoff_max_s: float = 30.0
    healthy_s: float = 10.0
    early_s: float = 10.0
    early_crashes_max: int = 5
    poll_s: float = 0.05
    look_s: float = 5.0  # between two looks for silence
    pause_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run as a child process, and how to tell that it works.

    probe: says when the process is ready; None: it is ready when `ready_file` holds its pid.
    sections: the settings that it may see besides common ones; None: all.
    grace_s: how long it may take to stop after SIGTERM before its process group is killed.
    silence_max_s: the longest time between two signs of life, once it is ready; after that it is
        killed and started again. None: it is not watched.
    alive: asked for a sign of life; None: the process writes a byte to its pipe (lifeline.beat).
    """

    name: str
    command: Sequence[str]
    ready_file: Path
    env: Mapping[str, str] = field(default_factory=dict)
    probe: Probe | None = None
    ready_timeout_s: float = 120.0
    grace_s: float = 15.0
    silence_max_s: float | None = None
    alive: Probe | None = None
    sections: Sequence[str] | None = None


class SupervisedProcess:
    """A process specification and the process that runs it now."""

    def __init__(
        self,
        spec: ProcessSpec,
        log: ProcessLog,
        reporter: Reporter,
        bounds: Bounds,
        on_pid: Callable[[], None],
    ) -> None:
        """on_pid: called when the process was started, and when it has ended."""
        self.spec = spec
        self.log = log
        self.ready = asyncio.Event()
        self.restarts = 0
        self._reporter = reporter
        self._bounds = bounds
        self._on_pid = on_pid
        self._down_since: float | None = None
        self._is_restarting = False
        self._process: asyncio.subprocess.Process | None = None
        self._drain: asyncio.Task[None] | None = None
        self._beats: Beats | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the running process; None while it is down."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def keep_running(self) -> None:
        """Run the process for ever, until this is cancelled.

        Raises ProcessFailed for a crash loop, and for a process that ends with EXIT_CONFIG before
        it was ever ready: no restart would help.
        """
        early_crashes = 0
        was_ready = False
        backoff_s = self._bounds.backoff_min_s
        while True:
            started = time.monotonic()
            code = await self._run_once()
            lived_s = time.monotonic() - started
            was_ready = was_ready or self.ready.is_set()
            self.ready.clear()
            if self._is_restarting:
                self._is_restarting = False
                continue
            if code == EXIT_CONFIG and not was_ready:
                raise ProcessFailed(self.spec.name, code, self.log.tail())
            # What was ready once can run; giving it up would stop all the others too.
            is_early = lived_s < self._bounds.early_s and not was_ready
            early_crashes = early_crashes + 1 if is_early else 0
            if early_crashes >= self._bounds.early_crashes_max:
                raise ProcessFailed(self.spec.name, code, self.log.tail(), too_often=True)
            if lived_s >= self._bounds.healthy_s:
                backoff_s = self._bounds.backoff_min_s
            self.restarts += 1
            self._down_since = self._down_since or time.monotonic()
            self._reporter.crashed(self.spec.name, code, backoff_s)
            if code > 0 and self.log.tail():  # it ended by itself: its last line says why
                self._reporter.note(f"{self.spec.name}: {mask(message_of(self.log.tail()[-1]))}")
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, self._bounds.backoff_max_s)

    async def run_to_end(self) -> None:
        """Run a process that does one thing and ends; raises ProcessFailed if it fails."""
        process = await self._spawn()
        code = await process.wait()
        await self._finish(process, code)
        if code:
            raise ProcessFailed(self.spec.name, code, self.log.tail())

    async def stop(self) -> None:
        """SIGTERM to the process; after `grace_s` SIGKILL to its whole process group."""
        process = self._process
        if process is None:
            return
        await self._end(process)
        await self._finish(process, process.returncode)

    async def restart(self) -> None:
        """Stop the process in order; `keep_running` starts it again at once, as no crash."""
        process = self._process
        if process is None or process.returncode is not None:
            return  # it's about to be started
        self._is_restarting = True
        self._down_since = time.monotonic()
        await self._end(process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        send_signal(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self.spec.grace_s)
        except TimeoutError:
            self._reporter.note(
                f"{self.spec.name} did not stop in {self.spec.grace_s:.0f} s; killed"
            )
            kill_group(process.pid)

    def kill(self) -> None:
        """SIGKILL at once."""
        if self._process is not None:
            kill_group(self._process.pid)

    async def _run_once(self) -> int:
        process = await self._spawn()
        exited = asyncio.create_task(process.wait())
        readiness = asyncio.create_task(self._until_ready(process.pid))
        try:
            await asyncio.wait({exited, readiness}, return_when=asyncio.FIRST_COMPLETED)
            if readiness.done() and not exited.done():
                if readiness.result():
                    self._became_ready()
                else:
                    self.log.write(f"not ready after {self.spec.ready_timeout_s:.0f} s; killed")
                    kill_group(process.pid)
            if self.ready.is_set() and self._beats is not None:
                silence = asyncio.create_task(self._beats.until_silent())
                try:
                    await asyncio.wait({exited, silence}, return_when=asyncio.FIRST_COMPLETED)
                    if silence.done() and not exited.done():
                        self._end_silent(process.pid)
                finally:
                    silence.cancel()
            code = await exited
        finally:
            exited.cancel()
            readiness.cancel()
        await self._finish(process, code)
        return code

    def _became_ready(self) -> None:
        self.ready.set()
        if self._down_since is None:
            self.log.note("up")
            return
        down_s = time.monotonic() - self._down_since
        self._down_since = None
        self.log.note(f"up again after {down_s:.1f} s", restarts=self.restarts)
        self._reporter.note(f"{self.spec.name}: up again after {down_s:.1f} s")

    def _end_silent(self, pid: int) -> None:
        reason = f"no sign of life for {self.spec.silence_max_s:.0f} s; killed"
        self.log.write(reason)
        self._reporter.note(f"{self.spec.name}: {reason}")
        kill_group(pid)

    async def _spawn(self) -> asyncio.subprocess.Process:
        self.spec.ready_file.unlink(missing_ok=True)
        env = {
            **inherited({**os.environ, **self.spec.env}, self.spec.sections),
            READY_FILE: str(self.spec.ready_file),
            SUPERVISOR_PID: str(os.getpid()),
        }
        if self._beats is not None:
            self._beats.close()
        self._beats = beats = None
        if self.spec.silence_max_s is not None:
            self._beats = beats = Beats(
                self.spec.silence_max_s, self.spec.alive, self._bounds.look_s, self._bounds.pause_s
            )
            env[BEAT_PIPE] = str(beats.child_end)
        # Our own pipe: with asyncio's, wait() lasts until every process that inherited it ends.
        output, child_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=child_end,
                stderr=asyncio.subprocess.STDOUT,
                env=env,
                start_new_session=True,
                pass_fds=() if beats is None else (beats.child_end,),
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )
        except OSError:
            os.close(output)
            raise
        finally:
            os.close(child_end)
            if beats is not None:
                beats.started()
        self._process = process
        self._drain = asyncio.create_task(self.log.copy(output, self._tell_line))
        self.log.note("started", pid=process.pid)
        self._on_pid()
        return process

    def _tell_line(self, line: str) -> None:
        self._reporter.output(self.spec.name, line)

    async def _until_ready(self, pid: int) -> bool:
        deadline = time.monotonic() + self.spec.ready_timeout_s
        while time.monotonic() < deadline:
            if await (self.spec.probe() if self.spec.probe else self._wrote_pid(pid)):
                return True
            await asyncio.sleep(self._bounds.poll_s)
        return False

    async def _wrote_pid(self, pid: int) -> bool:
        try:
            return self.spec.ready_file.read_text(encoding="ascii") == str(pid)
        except OSError:
            return False

    async def _finish(self, process: asyncio.subprocess.Process, code: int | None) -> None:
        """Kill what the process left in its group, and read its output to the end."""
        kill_group(process.pid)
        await process.wait()
        self._on_pid()
        if self._beats is not None:
            self._beats.close()
        if self._drain is not None:  # a process that left the group may hold the pipe open
            await asyncio.wait({self._drain}, timeout=DRAIN_S)
            self._drain.cancel()
        self.log.flush()
        if code is not None:
            level = "warning" if code else "info"
            self.log.note(how_it_ended(code), level=level, pid=process.pid)
        self.log.flush()
