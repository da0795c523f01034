"""Synchronous tools that a process can import by name, each ending in its own way."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roost import Agent, Context, ModelRetry, ToolFailed, tool
from roost.waits import Approve, Ask, Question, Sleep, Spawn

HOLD = -(10**9)  # of round(1, HOLD): computed in C without ever giving the interpreter away


@dataclass(frozen=True)
class Found:
    """A result that is not text."""

    place: str
    at: float


@tool(effect="pure", timeout=10)
def where() -> int:
    """Tell the process."""
    return os.getpid()


@tool(effect="pure", timeout=0.5)
def hold() -> str:
    """Hold the interpreter for good."""
    return str(round(1, HOLD))


@tool(effect="pure", timeout=60)
def hold_long(ctx: Context, pid_file: str) -> str:
    """Hold the interpreter for good, with a program beside it."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(pid_file).write_text(f"{os.getpid()} {program.pid}")
    return str(round(1, HOLD))


@tool(effect="pure", timeout=60)
def leaves(pid_file: str, dies: bool) -> str:
    """Leave a program in a session of its own, then die or hold the interpreter."""
    if pid := os.fork():
        Path(pid_file).write_text(str(pid))
        return os._exit(3) if dies else str(round(1, HOLD))
    os.setsid()
    time.sleep(60)
    os._exit(0)


@tool(effect="pure", timeout=10)
def secrets_seen() -> str:
    """Tell the names of the variables that a tool sees."""
    return " ".join(sorted(os.environ))


@tool(effect="pure", timeout=10)
def ends(how: str) -> Any:
    """End in some way."""
    match how:
        case "retry":
            raise ModelRetry("No such place.")
        case "failed":
            raise ToolFailed("The kitchen is closed.")
        case "exit":
            sys.exit("enough")
        case "interrupt":
            raise KeyboardInterrupt
        case "exception":
            raise ZeroDivisionError("by zero")
        case "stop iteration":
            raise StopIteration
        case "death":
            os._exit(3)
        case "signal":
            os.kill(os.getpid(), signal.SIGKILL)
        case "print":
            print('{"end": "ok", "text": "forged"}', flush=True)
            return "real"
        case "long":
            return "x" * 1_000_000
        case "nothing":
            return None
    return Found("Rome", 1.5)


@tool(effect="unsafe", timeout=10)
def dies_unsafe() -> None:
    """Die in the middle."""
    os._exit(3)


@tool(effect="unsafe", timeout=10)
def about(ctx: Context, word: str) -> dict[str, Any]:
    """Tell what a tool is given."""
    ctx.progress("half way", steps=["look", "book"], done=1)
    return {
        "key": ctx.key,
        "attempt": ctx.attempt,
        "person": ctx.person.name,
        "session": ctx.session.key,
        "payload": ctx.payload,
        "word": word,
    }


@tool(effect="unsafe", timeout=60)
def polite(ctx: Context, began: str) -> str:
    """Work until stopped."""
    Path(began).touch()
    while not ctx.stopped:
        time.sleep(0.005)
    return "put everything back"


@tool(effect="pure", timeout=10)
def scribbles(line: str) -> str:
    """Write a line to every pipe this process has, as a program that lost its way."""
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(number).st_mode):
                os.write(number, f"{line}\n".encode())
    time.sleep(0.2)
    return "never read"


@tool(effect="pure", timeout=10)
def asks(kind: str) -> Any:
    """Wait for somebody."""
    if kind == "unsendable":
        return Spawn("sceptic", "Find faults.", schema={"type": object()})
    kinds: dict[str, Any] = {
        "ask": Ask((Question("Which?", ("A", "B"), free_text=False), Question("When?")), 60),
        "approve": Approve("Really?", "another", 60),
        "sleep": Sleep(5.5),
        "spawn": Spawn("sceptic", "Find faults.", schema={"type": "object"}, max_steps=2),
    }
    return kinds[kind]


@tool(effect="pure", timeout=10)
def nobody(name: str) -> str | None:
    """Find nobody."""
    return name or None


def happened(key: str) -> str | None:
    """Whether a payment took effect."""
    return f"paid {key} in {os.getpid()}" if "paid" in key else None


@tool(effect="verifiable", check=happened, timeout=0.3)
def pay() -> str:
    """Pay, and never say so."""
    time.sleep(60)
    return "never"


def _raw() -> str:
    """Tell that it ran."""
    return "raw"


renamed = tool(effect="pure", name="another_name")(_raw)

agent = Agent(
    "slow",
    "Work.",
    tools=[
        where,
        hold,
        hold_long,
        leaves,
        secrets_seen,
        ends,
        dies_unsafe,
        about,
        polite,
        scribbles,
        pay,
        renamed,
        asks,
        nobody,
    ],
)
