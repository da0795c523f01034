"""The stack that runs on a data folder: its lock, its ports, and how the command line finds it."""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from roost_platform.data_folder import process_identity
from roost_platform.errors import AlreadyRunning, ConfigError, StackNotFound

RUN_FILE = "run.json"
TOKEN_FILE = "api-token"
AUDIT_KEY_FILE = "audit-key"  # its owner alone can change the audit trail unseen
SETUP_FILE = "setup-link"
LOCK_FILE = "roost.lock"


@dataclass(frozen=True, slots=True)
class RunningStack:
    """What `roost up` wrote about itself: its pid and its ports; 0 for a process it does not run.

    url: the console's address on this machine. parts: pids of the parts that run, by name.
    started: when the process `pid` started, as the system writes it.
    """

    pid: int
    web: int
    engine: int
    temporal: int
    started_at: float
    url: str
    parts: Mapping[str, int] = field(default_factory=dict)
    sandbox: bool = False
    started: str = ""


@dataclass(frozen=True, slots=True)
class Stack:
    """Where to reach a stack and the token that opens its API."""

    url: str
    token: str
    data_dir: Path | None = None
    run: RunningStack | None = None


def make_data_dir(data_dir: Path) -> None:
    """Make the folder, for its owner only; raises ConfigError if it can't be made or written to."""
    problem = ""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(data_dir, os.W_OK | os.X_OK):
            problem = "it is not writable"
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
    if problem:
        raise ConfigError(
            f"The data folder {data_dir} can't be used: {problem}. Choose another with --data."
        )


@contextlib.contextmanager
def lock(data_dir: Path) -> Iterator[None]:
    """Hold the data folder for one `roost up`; raises AlreadyRunning with the other's address."""
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            run = read_run(data_dir)
            at = f" at {run.url}" if run else ""
            raise AlreadyRunning(
                f"Another `roost up` (pid {file.read().strip() or 'unknown'}) already runs on "
                f"{data_dir}{at}. Stop it, or choose another folder with --data."
            ) from None
        file.truncate(0)
        file.seek(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_run(data_dir: Path, run: RunningStack) -> None:
    """Write DATA/run.json for its owner only, and remember the folder for the command line."""
    write_private(data_dir / RUN_FILE, json.dumps(asdict(run)))
    pointer = _pointer(data_dir)
    with contextlib.suppress(OSError):  # a read-only home: the command line then needs --data
        pointer.parent.mkdir(parents=True, exist_ok=True)
        write_private(pointer, json.dumps({"data_dir": str(data_dir), "at": time.time()}))


def clear_run(data_dir: Path) -> None:
    """Remove what `write_run` wrote; called when the stack has stopped."""
    for file in (data_dir / RUN_FILE, _pointer(data_dir)):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def read_run(data_dir: Path) -> RunningStack | None:
    """DATA/run.json; None if the `roost up` that wrote it has ended."""
    try:
        data: dict[str, Any] = json.loads((data_dir / RUN_FILE).read_text(encoding="utf-8"))
        run = RunningStack(**data)
        return run if process_identity.is_running(run.pid, run.started) else None
    except (OSError, ValueError, TypeError):
        return None


def find(data_dir: Path, *, explicit: bool, web_url: str) -> Stack:
    """The stack to talk to: the one of ROOST_URL, else of the data folder, else the newest.

    explicit: the folder was named by the user, so no other is tried.
    web_url: the address of last resort, for processes that were started one by one.
    Raises StackNotFound.
    """
    if url := os.environ.get("ROOST_URL"):
        return Stack(url.rstrip("/"), os.environ.get("ROOST_API_TOKEN") or read_token(data_dir))
    if located := locate(data_dir, explicit=explicit):
        folder, run = located
        return Stack(run.url, read_token(folder), folder, run)
    if token := read_token(data_dir):
        return Stack(web_url, token, data_dir)
    raise StackNotFound(
        f"No running Roost found for {data_dir}. "
        "Start it with `roost up`, or name its folder with --data."
    )


def locate(data_dir: Path, *, explicit: bool) -> tuple[Path, RunningStack] | None:
    """The stack of this folder; if the folder was not named, else the newest stack elsewhere."""
    for folder in [data_dir] if explicit else [data_dir, *_pointed_at()]:
        if run := read_run(folder):
            return folder, run
    return None


def read_token(data_dir: Path) -> str:
    """The local API token, empty if there is none."""
    try:
        return (data_dir / TOKEN_FILE).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read; an old one is replaced in one step."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(scratch, file)


def _state_dir() -> Path:
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "roost"


def _pointer(data_dir: Path) -> Path:
    name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    return _state_dir() / f"{name}.json"


def _pointed_at() -> list[Path]:
    """Data folders of stacks started elsewhere, newest first."""
    pointers = []
    for file in _state_dir().glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            pointer = json.loads(file.read_text(encoding="utf-8"))
            pointers.append((float(pointer["at"]), Path(pointer["data_dir"])))
    return [folder for _, folder in sorted(pointers, reverse=True)]


def setup_link(data_dir: Path) -> str:
    """The address that makes the first administrator; empty when there is one already."""
    with contextlib.suppress(OSError):
        return (data_dir / SETUP_FILE).read_text(encoding="ascii").strip()
    return ""
