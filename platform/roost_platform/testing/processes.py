"""Child processes for tests: started, read, and stopped."""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[3]
SOURCES = ":".join(
    str(ROOT / folder) for folder in ("platform", "channels", "workflows", "inference")
)


def free_port() -> int:
    """A port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(what: str, probe: Callable[[], T | None], *, within_s: float = 30.0) -> T:
    """The first true result of `probe`; raises AssertionError, with `what`, when none comes."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        result = probe()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {within_s:.0f} s")


def descendants(pid: int) -> Iterator[tuple[int, list[str]]]:
    """(pid, command line) of every living process below `pid`, read from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    for child in parents:
        ancestor = child
        while ancestor in parents and ancestor != pid:
            ancestor = parents[ancestor]
        if ancestor == pid and child != pid:
            try:
                raw = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            yield child, raw.decode(errors="replace").rstrip("\0").split("\0")


@dataclass
class Process:
    """A child whose output is read; `lines` is what it printed so far."""

    argv: list[str]
    env: dict[str, str]
    lines: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start the child and read its output in a thread."""
        self.popen = subprocess.Popen(
            self.argv,
            env=self.env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._drain, daemon=True)
        self.reader.start()

    def _drain(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as output:
            for line in output:
                self.lines.append(line.rstrip())

    def wait_for(self, prefix: str, within_s: float) -> str:
        """The first line with this prefix; fails when the child ends or the time is over."""

        def look() -> str | None:
            if self.popen.poll() is not None:
                raise AssertionError(f"{self.argv} ended:\n" + "\n".join(self.lines[-40:]))
            return next((line for line in self.lines if line.startswith(prefix)), None)

        try:
            return eventually(f"a line {prefix!r}", look, within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n" + "\n".join(self.lines[-40:])) from None

    def stop(self) -> None:
        """SIGINT, then SIGKILL after 40 s."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
            try:
                self.popen.wait(40)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait(10)
        self.reader.join(5)
        if self.popen.stdout:
            self.popen.stdout.close()
